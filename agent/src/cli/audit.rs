//! Where the audit goes: the pod's log, which is what the first process of the container has as its stderr.
//!
//! A recorder writes it to its own. A session by itself opens that of PID 1, where that is this very program: beside `agent
//! pause`, or beside a recorder that it could not join. The kernel lets a process do so that has the same user and no
//! fewer capabilities, as everything has that `kubectl exec` starts in a container. Elsewhere, as on a workstation or where
//! the pod's containers share their processes, there is no log that would be ours to write to, and no audit.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

use crate::mcp::audit::Log;

/// This process's stderr.
pub fn own_stderr() -> Log {
    let stderr = rustix::stdio::stderr();
    let is_pipe =
        fstat(stderr).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
    // What is no pipe keeps its position only as long as it is not opened anew.
    let anew = if is_pipe { open("/proc/self/fd/2").ok() } else { None };
    log(anew.map_or_else(|| rustix::io::dup(stderr).map_err(Into::into), Ok))
}

/// The stderr of the pod's first process.
pub fn of_the_pod() -> Log {
    let program = |path: &str| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    match (program("/proc/1/exe"), program("/proc/self/exe")) {
        (Ok(first), Ok(own)) if first == own => log(open("/proc/1/fd/2")),
        _ => Log::NOWHERE,
    }
}

/// Opened anew, so that it blocks neither this process nor, by a flag that they would share, another.
fn open(path: &str) -> io::Result<OwnedFd> {
    let flags =
        OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

fn log(file: io::Result<OwnedFd>) -> Log {
    match file {
        Ok(file) => Log::to(file),
        Err(error) => {
            tracing::warn!(%error, "The pod's log cannot be written to; what is asked here is not told there.");
            Log::NOWHERE
        }
    }
}
