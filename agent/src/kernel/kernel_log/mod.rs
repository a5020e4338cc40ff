//! The kernel's own log, read back: what the driver said before this process was there, and what it says from now on.
//!
//! Two ways, the better one first:
//! - `/dev/kmsg`: numbered records, so that a lost one is counted. Container runtimes keep the device from ordinary
//!   containers.
//! - syslog(2): the log as one text, read again at each poll; where it was left is found by the last line. Needs
//!   CAP_SYSLOG or `kernel.dmesg_restrict=0`.
//!
//! Neither takes anything out of the log or keeps another reader from it.
//!
//! # Use
//! [`KernelLog::open`], [`KernelLog::resume`] where an earlier process left a [`Mark`], then [`KernelLog::read`] again
//! and again: the first call gives the past, each later one what has come since, in the log's order and each line once.
//! While [`Passed::more`] is set the next call is due at once; else when [`KernelLog::fd`] is readable, and in any case
//! after [`KernelLog::pace`]. Reading blocks for some milliseconds where the log is large.
//!
//! A line's time is when it was printed, never in the future, and as exact as the log was read often; `clock.rs` says how.

mod clock;
mod kmsg;
mod mark;
mod record;
mod syslog;
#[cfg(test)]
mod tests;

use std::{io, os::fd::BorrowedFd, time::Duration};

use self::{clock::Clock, kmsg::Kmsg, syslog::Syslog};
use super::{Line, source::State};
pub use mark::{Mark, Position};

/// Whether the log's reader passes a text on, by how it begins. The BPF program (`is_driver_line` in agent-ebpf) has
/// the same rule; a tag that is heard by one alone is never confirmed by the other.
#[must_use]
pub fn is_driver_line(text: &[u8]) -> bool {
    [&b"NVRM:"[..], b"nvidia", b"pcieport"].iter().any(|tag| text.starts_with(tag))
}

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KernelLogError {
    /// Give the container CAP_SYSLOG (chart: `xid.kernelLog=true`).
    #[error("no right to read the kernel's log (/dev/kmsg: {device}; syslog(2): {syslog})")]
    Refused { device: io::Error, syslog: io::Error },
    /// There is none to be read; the kernel was built without, or a sandbox stands in its place.
    #[error("this kernel gives no log (/dev/kmsg: {device}; syslog(2): {syslog})")]
    Absent { device: io::Error, syslog: io::Error },
}

impl KernelLogError {
    /// This error as the state of the source.
    #[must_use]
    pub fn state(&self) -> State {
        let remedy = match self {
            Self::Refused { .. } => {
                "Helm: --set xid.kernelLog=true gives the container CAP_SYSLOG. By hand: run as root, or `sysctl \
                 kernel.dmesg_restrict=0` where the seccomp profile lets syslog(2) pass."
            }
            Self::Absent { .. } => {
                "Needs a Linux kernel with CONFIG_PRINTK, and no sandbox before it."
            }
        };
        State::Unavailable { reason: self.to_string(), remedy: remedy.to_owned() }
    }
}

/// What one read came across, besides the lines it gave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Records of anybody that were overwritten before they were read. syslog(2) cannot count them and says 1.
    pub lost: u64,
    /// There is more already; nothing will be said of it by [`KernelLog::fd`].
    pub more: bool,
}

/// An open log and the place in it.
#[derive(Debug)]
pub struct KernelLog {
    way: Way,
    clock: Clock,
    /// None where /proc does not say; then there is no mark to be left or taken up.
    boot_id: Option<String>,
}

#[derive(Debug)]
enum Way {
    Kmsg(Kmsg),
    Syslog(Syslog),
}

/// Where a way stands: its own position and the time of the record there.
type Place = (Position, u64);

impl KernelLog {
    /// Opens the log by the best way there is. Reads nothing yet.
    pub fn open() -> Result<Self, KernelLogError> {
        let way = match Kmsg::open() {
            Ok(kmsg) => Way::Kmsg(kmsg),
            Err(device) => Way::Syslog(Syslog::open().map_err(|syslog| refused(device, syslog))?),
        };
        Ok(Self::by(way))
    }

    fn by(way: Way) -> Self {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        Self { way, clock: Clock::default(), boot_id: boot_id.ok().map(|id| id.trim().to_owned()) }
    }

    /// Goes on where an earlier process stopped. To be called before the first read.
    pub fn resume(&mut self, mark: &Mark) {
        let Mark { boot_id, position, timestamp_us, drift_us, read_us } = mark;
        if self.boot_id.as_ref() != Some(boot_id) {
            return;
        }
        self.clock = Clock { drift_us: *drift_us, read_us: *read_us };
        match &mut self.way {
            Way::Kmsg(kmsg) => kmsg.resume((*position, *timestamp_us)),
            Way::Syslog(syslog) => syslog.resume((*position, *timestamp_us)),
        }
    }

    /// Hands every driver's line that is new to `hear`, in the log's order. After an error the next call goes on where
    /// this one stopped.
    pub fn read(&mut self, hear: impl FnMut(Line)) -> io::Result<Passed> {
        let begun = clock::now_us();
        let passed = match &mut self.way {
            Way::Kmsg(kmsg) => kmsg.read(&mut self.clock, hear),
            Way::Syslog(syslog) => syslog.read(&mut self.clock, hear),
        }?;
        if !passed.more {
            self.clock.read_us = Some(begun);
        }
        Ok(passed)
    }

    /// How far it has been read; None before the first record.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        let (position, timestamp_us) = match &self.way {
            Way::Kmsg(kmsg) => kmsg.place(),
            Way::Syslog(syslog) => syslog.place(),
        }?;
        let Clock { drift_us, read_us } = self.clock;
        Some(Mark { boot_id: self.boot_id.clone()?, position, timestamp_us, drift_us, read_us })
    }

    /// By what means it reads.
    #[must_use]
    pub fn how(&self) -> &'static str {
        match &self.way {
            Way::Kmsg(_) => "/dev/kmsg",
            Way::Syslog(_) => "syslog(2)",
        }
    }

    /// Readable when there is something new, also where all of it is nobody's we pass on. None: it can only be polled.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.way {
            Way::Kmsg(kmsg) => Some(kmsg.fd()),
            Way::Syslog(_) => None,
        }
    }

    /// How long to wait for the next read at most. With `/dev/kmsg` it is there for the times alone, which are known as
    /// exactly as the log was read often.
    #[must_use]
    pub fn pace(&self) -> Duration {
        match &self.way {
            Way::Kmsg(_) => Duration::from_secs(10),
            Way::Syslog(syslog) => syslog.pace(),
        }
    }
}

fn refused(device: io::Error, syslog: io::Error) -> KernelLogError {
    if syslog.kind() == io::ErrorKind::PermissionDenied {
        KernelLogError::Refused { device, syslog }
    } else {
        KernelLogError::Absent { device, syslog }
    }
}
