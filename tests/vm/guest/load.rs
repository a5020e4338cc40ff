//! What a process does with the driver's devices: `/init load WHAT [CGROUP…]`, as a child of the checks. It joins the
//! control groups, does it, says `ready`, and ends when its stdin does.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{Mode, OFlags};

use crate::standin::{self, BLOCKS, SUCCEEDS, fails, leaves_status, sleeps};

pub const GPU: &str = "/dev/nvidia0";
/// Its open fails with EIO.
const BROKEN_GPU: &str = "/dev/nvidia3";
/// `NV_ERR_GPU_IS_LOST`.
const GPU_IS_LOST: u8 = 0x0f;
const EIO: u8 = 5;
const EINVAL: u8 = 22;
/// So many calls are enough to be seen in any sample.
const CALLS: u32 = 1000;

pub fn run(arguments: &[String]) -> Result<()> {
    let [what, groups @ ..] = arguments else { bail!("load WHAT [CGROUP…]") };
    for group in groups {
        fs::write(format!("{group}/cgroup.procs"), "0")
            .with_context(|| format!("joining {group}"))?;
    }
    match what.as_str() {
        "open" => {
            let _devices = (open(GPU)?, open("/dev/nvidiactl")?, open("/dev/nvidia-uvm")?);
            ready(std::process::id())
        }
        "ioctl" => {
            let (gpu, uvm) = (open(GPU)?, open("/dev/nvidia-uvm")?);
            for _ in 0..CALLS {
                standin::rm_control(&gpu, SUCCEEDS)?;
                standin::uvm(&uvm, 37)?;
            }
            standin::rm_control(&gpu, sleeps(1))?;
            ready(std::process::id())
        }
        "failed" => failed(),
        "block" => {
            let gpu = open(GPU)?;
            // Before the call: it does not come back until it is woken.
            say(std::process::id())?;
            standin::rm_control(&gpu, BLOCKS)?;
            Ok(())
        }
        "fork" => {
            // Without O_CLOEXEC, which std would set: the child has it too.
            let _gpu = rustix::fs::open(GPU, OFlags::RDWR, Mode::empty())?;
            let child = Command::new("/init").args(["load", "hold"]).spawn()?;
            say(child.id())
        }
        // The child of the above: has what it was given, opens nothing, and outlives its parent.
        "hold" => wait(),
        other => bail!("load {other}?"),
    }
}

/// Three ways to fail. Each must fail as it should, or the check would wait in vain.
fn failed() -> Result<()> {
    let Err(error) = open(BROKEN_GPU) else { bail!("{BROKEN_GPU} opens") };
    anyhow::ensure!(
        error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error)
            == Some(EIO.into()),
        "{error:#}"
    );
    let gpu = open(GPU)?;
    let errno = standin::rm_control(&gpu, fails(EINVAL)).map_err(|error| error.raw_os_error());
    anyhow::ensure!(errno == Err(Some(EINVAL.into())), "{errno:?}");
    let status = standin::rm_control(&gpu, leaves_status(GPU_IS_LOST))?;
    anyhow::ensure!(status == u32::from(GPU_IS_LOST), "status {status}");
    ready(std::process::id())
}

fn open(path: &str) -> Result<File> {
    OpenOptions::new().read(true).write(true).open(path).map_err(Into::into)
}

fn ready(pid: u32) -> Result<()> {
    say(pid)?;
    wait()
}

fn say(pid: u32) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "ready {pid}")?)
}

fn wait() -> Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
