//! The Xid of the demo: written to the kernel's log where that is right, replayed elsewhere.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::{cmd, paths};

/// A device file to which root writes lines of the kernel's log.
const KMSG: &str = "/dev/kmsg";
/// There where NVIDIA's driver is.
const REAL_DRIVER: &str = "/proc/driver/nvidia";

/// What every line says that this demo writes where others read it.
const MARK: &str = "[k8s-gpu-mcp-server demo, not a real fault]";

/// A line from a real machine, as it was printed there (github.com/wilicc/gpu-burn, issue 1).
const RECORDED: &str = "NVRM: Xid (PCI:0000:02:00): 79, GPU has fallen off the bus.";
/// The GPU in it.
const RECORDED_GPU: &str = "0000:02:00.0";

/// A fault that the agent is going to hear.
#[derive(Debug)]
pub(super) struct Fault {
    /// The PCI address of the GPU that it is about.
    pub(super) gpu: String,
    pub(super) line: String,
    path: PathBuf,
    file: File,
}

impl Fault {
    /// Into the kernel's log, about one of the simulated GPUs. Fails where this user may not.
    pub(super) fn live(gpu: &str) -> Result<Self> {
        // The kernel's lines name the device without its function.
        let device = gpu.rsplit_once('.').map_or(gpu, |(device, _function)| device);
        let line = format!(
            "NVRM: Xid (PCI:{device}): 79, pid='<unknown>', name=<unknown>, \
             GPU has fallen off the bus. {MARK}"
        );
        let file = OpenOptions::new().write(true).open(KMSG);
        let file = file.with_context(|| format!("this user may not write to {KMSG}"))?;
        Ok(Self { gpu: gpu.to_owned(), line, path: KMSG.into(), file })
    }

    /// Into a FIFO from which the agent reads, as it was recorded.
    pub(super) fn replayed(fifo: &Fifo) -> Result<Self> {
        // Opening waits for the reader, which is the agent.
        let file = OpenOptions::new().write(true).open(&fifo.path);
        let file = file.with_context(|| format!("cannot open {}", fifo.path.display()))?;
        let (gpu, line) = (RECORDED_GPU.to_owned(), RECORDED.to_owned());
        Ok(Self { gpu, line, path: fifo.path.clone(), file })
    }

    /// Writes the line; returns the moment before.
    pub(super) fn strike(&mut self) -> Result<Instant> {
        let line = format!("{}\n", self.line);
        let before = Instant::now();
        // The kernel takes a record per write.
        self.file
            .write_all(line.as_bytes())
            .with_context(|| format!("cannot write to {}", self.path.display()))?;
        Ok(before)
    }
}

/// Why nothing must be written to this machine's kernel log, if so.
pub(super) fn why_not_live() -> Option<String> {
    Path::new(REAL_DRIVER).exists().then(|| {
        "this machine has NVIDIA's driver, and a made-up Xid in its kernel log could set off \
         somebody's alarm"
            .to_owned()
    })
}

/// A named pipe that goes with its owner.
#[derive(Debug)]
pub(super) struct Fifo {
    pub(super) path: PathBuf,
}

impl Fifo {
    pub(super) fn new() -> Result<Self> {
        let dir = paths::target()?.join("xtask");
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let path = dir.join(format!("demo-{}.fifo", std::process::id()));
        cmd::output(std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&path))?;
        Ok(Self { path })
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_through_the_fifo_is_the_recorded_one() {
        let fifo = Fifo::new().unwrap();
        let path = fifo.path.clone();
        let reader = std::thread::spawn(move || fs::read_to_string(path).unwrap());
        let mut fault = Fault::replayed(&fifo).unwrap();
        fault.strike().unwrap();
        drop(fault);
        assert_eq!(reader.join().unwrap(), format!("{RECORDED}\n"));
        let path = fifo.path.clone();
        drop(fifo);
        assert!(!path.exists());
    }
}
