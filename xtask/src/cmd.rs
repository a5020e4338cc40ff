//! Running other programs: visibly, quietly with progress, or for their output.
//!
//! Whichever way, a failure names the command line and never hides what the program said.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{paths, ui};

/// Lines of a failed command's output that are shown; the whole stays in its log file.
const SHOWN: usize = 40;

/// The command as one could type it.
pub(crate) fn display(cmd: &Command) -> String {
    let words = std::iter::once(cmd.get_program()).chain(cmd.get_args());
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if word.is_empty() || word.contains([' ', '"', '\'', '$', ';', '(', ')']) {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        word.into_owned()
    }
}

/// Runs a command whose own output is the progress (cargo's).
pub(crate) fn visible(cmd: &mut Command) -> Result<()> {
    let status = cmd.status().with_context(|| cannot_start(cmd))?;
    if !status.success() {
        bail!("`{}` failed ({status}); what it said stands above", display(cmd));
    }
    Ok(())
}

/// Runs a command silently under a progress line that says what is being done, as in "installing
/// llvm-22-dev". When it fails, the last lines it wrote are printed.
pub(crate) fn quiet(cmd: &mut Command, doing: &str) -> Result<()> {
    let dir = paths::target()?.join("xtask");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let name: String = doing.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    let path = dir.join(format!("{}.log", name.chars().take(60).collect::<String>()));
    let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let log_too = log.try_clone().context("cannot share the log file's descriptor")?;

    let mut progress = ui::Progress::start(doing);
    let mut child = cmd
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_too)
        .spawn()
        .with_context(|| cannot_start(cmd))?;
    let status = loop {
        match child.try_wait().with_context(|| format!("waiting for `{}`", display(cmd)))? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(50)),
        }
        progress.tick();
    };
    if status.success() {
        progress.finish("done");
        return Ok(());
    }
    progress.finish("failed");
    let said = fs::read(&path).unwrap_or_default();
    for line in last_lines(&String::from_utf8_lossy(&said), SHOWN) {
        ui::line(format!("    {line}"));
    }
    bail!("`{}` failed ({status}); its whole output is in {}", display(cmd), path.display());
}

/// Runs a short command and returns its stdout.
pub(crate) fn output(cmd: &mut Command) -> Result<String> {
    let out = cmd.stdin(Stdio::null()).output().with_context(|| cannot_start(cmd))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        let said = last_lines(&said, SHOWN).join("\n");
        bail!("`{}` failed ({}): {said}", display(cmd), out.status);
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Whether a short command runs and succeeds; what it prints does not matter.
pub(crate) fn succeeds(cmd: &mut Command) -> bool {
    cmd.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn cannot_start(cmd: &Command) -> String {
    format!("cannot start `{}`", display(cmd))
}

/// The last `count` lines of what a program said.
pub(crate) fn last_lines(text: &str, count: usize) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_could_type_it() {
        let mut cmd = Command::new("cargo");
        cmd.args(["build", "--cfg", "a=\"b\""]);
        assert_eq!(display(&cmd), "cargo build --cfg 'a=\"b\"'");
    }

    #[test]
    fn only_the_end_of_a_long_output_is_shown() {
        assert_eq!(last_lines("a\nb\nc", 2), ["b", "c"]);
        assert_eq!(last_lines("a", 2), ["a"]);
    }

    #[test]
    fn a_failing_command_says_what_went_wrong() {
        let error = output(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"]));
        let error = format!("{:#}", error.unwrap_err());
        assert!(error.contains("no such thing") && error.contains("exit status: 3"), "{error}");
    }
}
