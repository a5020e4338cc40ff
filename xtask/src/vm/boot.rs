//! Boots a kernel in QEMU and reads what its checks say.
//!
//! By emulation everywhere: it takes seconds, and needs no right and no device. KVM is not tried, because on a machine
//! that is a virtual one itself its device may be there and hang. The kernel's own messages go to a file, the checks' lines come by a serial port of their own, so that neither tears the other.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::packages::Kernel;
use crate::arch::Arch;

/// A machine that has not ended by then hangs. All checks take seconds; each that waits in vain takes up to half a minute.
const PATIENCE: Duration = Duration::from_mins(5);

/// A kernel that panics ends the machine; what the checks want to see on the console they ask for. What the kernel does
/// not know becomes the first process's environment: there the tests' harness looks for the agent and the simulator, and the guest for the stand-in's parameters.
const COMMAND_LINE: &str = "quiet panic=-1 rdinit=/init E2E_AGENT=/agent E2E_SIM_DIR=/";

/// The machine of a kind, and the names of its serial ports: for the console, and for the checks.
fn machine(arch: Arch) -> (&'static [&'static str], [&'static str; 2]) {
    match arch {
        // Without cmpxchg16b: QEMU 7.2 gets it wrong now and then with two processors, and Linux panics.
        Arch::Amd64 => (&["-cpu", "qemu64,-cx16"], ["ttyS0", "ttyS1"]),
        // The board has one port of its own. No pointer authentication: emulated it costs more than all the rest.
        Arch::Arm64 => (
            &[
                "-M",
                "virt,gic-version=3",
                "-cpu",
                "max,pauth=off",
                "-device",
                "pci-serial,chardev=checks",
            ],
            ["ttyAMA0", "ttyS0"],
        ),
    }
}

/// How one check went, in the guest's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Went {
    /// The word that is compared, and the rest.
    Ok(String, String),
    Failed(String),
}

/// What a machine said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) checks: BTreeMap<String, Went>,
    /// Why it ended before all was said.
    pub(crate) broke: Option<String>,
    /// Where the kernel's own messages are.
    pub(crate) console: PathBuf,
    pub(crate) took: Duration,
}

/// `standin` are the parameters of the stand-in.
pub(crate) fn boot(
    qemu: &Path,
    arch: Arch,
    kernel: &Kernel,
    standin: &str,
    initramfs: &[u8],
    dir: &Path,
) -> Result<Said> {
    fs::create_dir_all(dir)?;
    let archive = dir.join(format!("{}.cpio", kernel.release));
    fs::write(&archive, initramfs)
        .with_context(|| format!("cannot write {}", archive.display()))?;
    let console = dir.join(format!("{}.log", kernel.release));
    let mut machine = Command::new(qemu);
    machine.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    let (board, [log, report]) = self::machine(arch);
    machine.args(["-accel", "tcg", "-smp", "2", "-m", "512"]).args(board);
    machine.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&archive);
    machine
        .arg("-append")
        .arg(format!("console={log} {COMMAND_LINE} REPORT=/dev/{report} STANDIN={standin}"));
    machine.arg("-serial").arg(format!("file:{}", console.display()));
    machine.args(["-chardev", "stdio,id=checks"]);
    if arch == Arch::Amd64 {
        machine.args(["-serial", "chardev:checks"]);
    }
    let started = Instant::now();
    let mut child = machine
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", qemu.display()))?;
    let out = child.stdout.take().context("qemu has no stdout")?;
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    let mut said = Said { console, ..Said::default() };
    let end = started + PATIENCE;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => said.checks.extend(parse(&line)),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                child.kill().context("cannot end qemu")?;
                said.broke = Some(format!("it still ran after {PATIENCE:?}"));
                break;
            }
        }
    }
    let status = child.wait()?;
    said.took = started.elapsed();
    // Of no use any more, and as large as everything in it.
    fs::remove_file(&archive)?;
    if !status.success() && said.broke.is_none() {
        bail!("qemu ended with {status}: run `{}`", crate::cmd::display(&machine));
    }
    Ok(said)
}

/// A line of a check; anything else (the firmware's greeting) is none.
fn parse(line: &str) -> Option<(String, Went)> {
    let mut words = line.trim().strip_prefix("CHECK ")?.splitn(3, ' ');
    let (name, how, rest) = (words.next()?, words.next()?, words.next().unwrap_or_default());
    let went = match how {
        "ok" => {
            let (word, detail) = rest.split_once(' ').unwrap_or((rest, ""));
            Went::Ok(word.to_owned(), detail.trim().to_owned())
        }
        "fail" => Went::Failed(rest.to_owned()),
        _ => return None,
    };
    Some((name.to_owned(), went))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_lines_are_read() {
        let ok = |word: &str, rest: &str| Went::Ok(word.to_owned(), rest.to_owned());
        for (line, went) in [
            ("CHECK load ok live raw tracepoint\r", Some(ok("live", "raw tracepoint"))),
            ("CHECK load ok live ", Some(ok("live", ""))),
            ("CHECK load fail no event", Some(Went::Failed("no event".to_owned()))),
            ("CHECK load maybe", None),
            ("SeaBIOS (version 1.16)", None),
        ] {
            assert_eq!(parse(line).map(|(_, went)| went), went, "{line}");
        }
    }
}
