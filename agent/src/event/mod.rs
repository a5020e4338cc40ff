//! What happened to the GPUs of this node: one [`Event`] a fault, and one for what a process did with a device
//! ([`access`]), kept in order in a bounded [`journal`].
//!
//! A fault keeps the line it was made of and is decoded again when it is read ([`Event::fault`]); that takes less than
//! a microsecond and means that nothing the line said is lost on the way. What a process does is never a fault: it is in no
//! [`group`] and no [`incident`]. Nothing here knows where an event comes from or who reads it.

pub mod access;
pub mod filter;
pub mod group;
pub mod incident;
pub mod journal;
pub mod kind;
pub mod limit;
pub mod next_step;
pub mod party;

use std::time::SystemTime;

use bytes::Bytes;

pub use access::Access;
pub use filter::{Filter, Kinds};
pub use group::{Group, Groups};
pub use incident::Incident;
pub use journal::{Cursor, Evicted, Journal, Page, Run, Snapshot};
pub use kind::{Class, Kind};
pub use party::{Attribution, KnownBy, Party, Pod};

pub use crate::xid::Origin;
use crate::xid::{self, Fault, MigInstance, PciAddress, Severity};

/// Who heard an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The kernel's print, through the eBPF program.
    Ebpf,
    /// The driver's own tracepoint, through the eBPF program: GPU, number and the driver's words.
    Tracepoint,
    /// The kernel's log, read back: `/dev/kmsg` or syslog(2).
    KernelLog,
    /// NVML's event set: GPU and number, without the driver's words.
    Nvml,
    /// A line of a file that was given to be replayed.
    Replay,
    /// Opens, closes and calls of the driver's devices, through the eBPF program. Tells of no fault.
    Access,
}

impl Source {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ebpf => "ebpf",
            Self::Tracepoint => "nvidia_dev_xid",
            Self::KernelLog => "kernel_log",
            Self::Nvml => "nvml_events",
            Self::Replay => "replay",
            Self::Access => "device_tracer",
        }
    }
}

/// The task in whose context the kernel printed. For a driver's line from an interrupt or a work queue it is whoever
/// happened to run, so it is evidence and not a culprit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Process id in the initial PID namespace.
    pub pid: u32,
    pub tid: u32,
    pub cgroup_id: u64,
    /// `task_struct::comm`, which the process itself can set.
    pub comm: String,
}

/// One event, before the journal has given it its number.
#[derive(Debug, Clone)]
pub struct Report {
    pub time: SystemTime,
    pub source: Source,
    pub task: Option<Task>,
    pub what: What,
    /// Whose fault it may be, where more is known than the line says. None for an [`Access`], which has its party inside.
    pub attribution: Option<Attribution>,
    /// Who wrote the line, as far as the source or the line itself tells.
    pub origin: Origin,
    /// The line goes on with an event that was told before: shown with it, counted with nothing.
    pub follows: bool,
}

impl Report {
    /// What a process did at this time.
    #[must_use]
    pub fn access(time: SystemTime, access: Access) -> Self {
        Self {
            time,
            source: Source::Access,
            task: None,
            what: What::Access(Box::new(access)),
            attribution: None,
            origin: Origin::Kernel,
            follows: false,
        }
    }
}

/// What a report may do to the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Become an event, if no other source has told of it.
    Tells,
    /// The same, unless it is older than all that a full journal still holds: then it may have been told, and evicted.
    Recovers,
    /// Confirm one and no more: another source has heard everything at that time, and a fault that is not found has been
    /// evicted meanwhile.
    Confirms,
}

/// What a source knows of an event.
#[derive(Debug, Clone)]
pub enum What {
    /// The driver's line or lines, as printed.
    Line {
        text: Bytes,
        /// The kernel printed more than this.
        cut: bool,
    },
    /// An Xid by its number, with what stands behind it in the driver's line; NVML knows nothing of that.
    Xid { pci: Option<PciAddress>, code: u32, instance: MigInstance, message: Bytes },
    /// What a process did with a device: no fault.
    Access(Box<Access>),
}

impl What {
    /// The fault, decoded. `None` is for what a process did, and for lines that the parser does not take for an event.
    #[must_use]
    pub fn fault(&self) -> Option<Fault<'_>> {
        match self {
            Self::Line { text, cut: _ } => xid::parse(text),
            Self::Xid { pci, code, instance, message } if message.is_empty() => {
                Some(Fault { instance: *instance, ..Fault::of_xid(*pci, *code, b"") })
            }
            Self::Xid { pci, code, instance: _, message } => {
                Some(Fault::of_xid(*pci, *code, message))
            }
            Self::Access(_) => None,
        }
    }
}

/// One fault, or one thing that a process did.
#[derive(Debug, Clone)]
pub struct Event {
    /// Position in this journal, from 1, without gaps.
    pub seq: u64,
    pub severity: Severity,
    pub report: Report,
    /// Sources that told of it besides the one that reported it.
    pub confirmed_by: Vec<Source>,
}

impl Event {
    /// The fault, decoded; `None` for what a process did.
    #[must_use]
    pub fn fault(&self) -> Option<Fault<'_>> {
        self.report.what.fault()
    }

    /// What a process did; `None` for a fault.
    #[must_use]
    pub fn access(&self) -> Option<&Access> {
        match &self.report.what {
            What::Access(access) => Some(access),
            What::Line { .. } | What::Xid { .. } => None,
        }
    }

    #[must_use]
    pub fn class(&self) -> Class {
        self.access().map_or(Class::Fault, Access::class)
    }

    /// Everybody who told of it.
    pub fn sources(&self) -> impl Iterator<Item = Source> {
        std::iter::once(self.report.source).chain(self.confirmed_by.iter().copied())
    }
}
