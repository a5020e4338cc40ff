//! What the tasks say. Nothing else in this crate writes to the terminal.
//!
//! A line that cannot be written (a closed pipe) is no reason to stop a build, so write errors are
//! dropped here.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a long step says that it is still alive where there is no terminal to animate.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// One line on stdout.
pub(crate) fn line(text: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", text.as_ref());
    let _ = out.flush();
}

/// The title of a step whose own output follows.
pub(crate) fn step(title: impl AsRef<str>) {
    line(format!("==> {}", title.as_ref()));
}

/// One finding of `setup`, in two columns.
pub(crate) fn item(what: &str, found: impl AsRef<str>) {
    line(format!("  {:<17} {}", format!("{what}:"), found.as_ref()));
}

/// An error with all its causes on stderr, one a line.
pub(crate) fn error(error: &anyhow::Error) {
    let mut err = std::io::stderr().lock();
    let mut causes = error.chain();
    if let Some(first) = causes.next() {
        let _ = writeln!(err, "error: {first}");
    }
    for cause in causes {
        let _ = writeln!(err, "  because: {cause}");
    }
}

/// `93 s` as people read it: `1 min 33 s`; below ten seconds with tenths.
pub(crate) fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

/// A step that prints nothing by itself: a spinner with the elapsed time on a terminal, a line
/// every [`HEARTBEAT`] elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    what: String,
    started: Instant,
    said: Instant,
    spinner: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn start(what: &str) -> Self {
        let spinner = std::io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner().with_message(what.to_owned());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if spinner.is_none() {
            line(format!("  {what} …"));
        }
        let now = Instant::now();
        Self { what: what.to_owned(), started: now, said: now, spinner }
    }

    /// To be called often while the step runs.
    pub(crate) fn tick(&mut self) {
        if self.spinner.is_none() && self.said.elapsed() >= HEARTBEAT {
            self.said = Instant::now();
            line(format!("  … still {} ({})", self.what, elapsed(self.started.elapsed())));
        }
    }

    /// Clears the spinner and says how long the step took.
    pub(crate) fn finish(self, how: &str) {
        if let Some(spinner) = self.spinner {
            spinner.finish_and_clear();
        }
        line(format!("  {} {how} after {}", self.what, elapsed(self.started.elapsed())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elapsed_time_reads_as_people_say_it() {
        assert_eq!(elapsed(Duration::from_millis(840)), "0.8 s");
        assert_eq!(elapsed(Duration::from_secs(59)), "59 s");
        assert_eq!(elapsed(Duration::from_secs(106)), "1 min 46 s");
    }
}
