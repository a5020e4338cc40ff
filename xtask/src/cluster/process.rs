//! Processes that outlive the task that starts them, and end with `down`.
//!
//! Each is a line in the cluster's file `started`: its number, when the kernel says that it began, its name. A number that the
//! kernel has given to somebody else since is left alone.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::{cmd, ui};

/// Lines of a log that are shown when something does not come up.
const SHOWN: usize = 15;

/// How long anything of the cluster may take before it is given up. Only what hangs meets it.
const PATIENCE: Duration = Duration::from_mins(3);

/// One that this task started.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    /// What it and its children write.
    logs: Vec<PathBuf>,
}

impl Process {
    /// Starts it, in a process group of its own, so that Ctrl-C here is none there. Its own output goes to the first of `logs`.
    pub(crate) fn start(
        state: &Path,
        name: &str,
        mut cmd: Command,
        logs: Vec<PathBuf>,
    ) -> Result<Self> {
        let log = logs.first().context("a process has a log")?;
        let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let log_too = log.try_clone().context("cannot share the log file's descriptor")?;
        cmd.stdin(Stdio::null()).stdout(log).stderr(log_too).process_group(0);
        let child =
            cmd.spawn().with_context(|| format!("cannot start `{}`", cmd::display(&cmd)))?;
        let started = state.join("started");
        let began = began(child.id()).unwrap_or_default();
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&started)
            .and_then(|mut file| writeln!(file, "{} {began} {name}", child.id()))
            .with_context(|| format!("cannot write {}", started.display()))?;
        Ok(Self { name: name.to_owned(), child, logs })
    }

    fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn show_logs(&self) {
        for log in &self.logs {
            let said = fs::read(log).unwrap_or_default();
            if said.is_empty() {
                continue;
            }
            ui::line(format!("  the end of {}:", log.display()));
            for line in cmd::last_lines(&String::from_utf8_lossy(&said), SHOWN) {
                ui::line(format!("    {line}"));
            }
        }
    }
}

/// Waits until something is ready, for as long as every process that it needs runs.
pub(crate) fn wait(doing: &str, processes: &mut [Process], ready: impl Fn() -> bool) -> Result<()> {
    let mut progress = ui::Progress::start(doing);
    let end = Instant::now() + PATIENCE;
    while !ready() {
        if let Some(ended) = processes.iter_mut().position(Process::ended) {
            progress.finish("failed");
            processes[ended].show_logs();
            bail!("{} has ended; its log stands above", processes[ended].name);
        }
        if Instant::now() > end {
            progress.finish("failed");
            processes.iter().for_each(Process::show_logs);
            bail!("gave up {doing} after {}; all logs stand above", ui::elapsed(PATIENCE));
        }
        progress.tick();
        // Asking takes a process too, and the servers need the processor.
        std::thread::sleep(Duration::from_millis(250));
    }
    progress.finish("done");
    Ok(())
}

/// The number of the running process of this name, as the file `started` has it.
pub(crate) fn pid(state: &Path, name: &str) -> Option<u32> {
    let (pid, ..) = started(state).into_iter().find(|(_, _, found)| found == name)?;
    Some(pid)
}

/// Ends what was started and still runs, the last first, and waits for that.
pub(crate) fn end_all(state: &Path) -> Result<()> {
    let mut left = started(state);
    left.reverse();
    for (pid, ..) in &left {
        // Gone in the meantime is as good.
        cmd::succeeds(Command::new("sh").args(["-c", "kill -KILL \"$1\"", "sh", &pid.to_string()]));
    }
    let end = Instant::now() + Duration::from_secs(20);
    while let Some((pid, _, name)) =
        left.iter().find(|(pid, when, _)| began(*pid).as_ref() == Some(when))
    {
        if Instant::now() > end {
            bail!("{name} (process {pid}) does not end, although it was killed");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Whether everything that was started still runs.
pub(crate) fn all_run(state: &Path) -> bool {
    let lines = fs::read_to_string(state.join("started")).unwrap_or_default().lines().count();
    lines > 0 && started(state).len() == lines
}

/// Number, beginning and name of each that still runs.
fn started(state: &Path) -> Vec<(u32, String, String)> {
    let text = fs::read_to_string(state.join("started")).unwrap_or_default();
    let parse = |line: &str| {
        let mut words = line.splitn(3, ' ');
        Some((words.next()?.parse().ok()?, words.next()?.to_owned(), words.next()?.to_owned()))
    };
    let all = text.lines().filter_map(parse);
    all.filter(|(pid, when, _)| began(*pid).as_ref() == Some(when)).collect()
}

/// When a process began, in ticks since the machine did; `None` once it has ended.
fn began(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may have anything in it.
    let mut words = stat.rsplit_once(')')?.1.split_whitespace();
    let state = words.next()?;
    (state != "Z").then_some(())?;
    words.nth(18).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_started_is_found_again_and_ended_and_a_number_given_anew_is_not_ours() {
        let state = std::env::temp_dir().join(format!("xtask-process-{}", std::process::id()));
        fs::create_dir_all(&state).unwrap();
        let mut sleep = Command::new("sleep");
        sleep.arg("600");
        let mut process =
            Process::start(&state, "a sleep", sleep, vec![state.join("log")]).unwrap();
        assert_eq!(pid(&state, "a sleep"), Some(process.child.id()));
        let ours = std::process::id();
        fs::write(
            state.join("started"),
            format!(
                "{ours} 1 somebody else\n{}",
                fs::read_to_string(state.join("started")).unwrap()
            ),
        )
        .unwrap();
        assert_eq!(pid(&state, "somebody else"), None);
        end_all(&state).unwrap();
        assert!(process.ended());
        assert_eq!(pid(&state, "a sleep"), None);
        fs::remove_dir_all(&state).unwrap();
    }
}
