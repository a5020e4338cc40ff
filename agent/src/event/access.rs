//! What a process did with a device of the driver's.

use std::time::Duration;

use super::{Class, Kind, Party};
use crate::{
    calls::{self, Call, Device, errno},
    xid::{PciAddress, Severity},
};

/// One thing that a process did. [`KnownBy::Kernel`](super::KnownBy::Kernel) is how its party is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub party: Party,
    /// The thread that called; the process's own number where it was no call.
    pub tid: u32,
    pub device: Device,
    /// The GPU of a [`Device::Gpu`], where its minor number is known to be of one.
    pub pci: Option<PciAddress>,
    pub did: Did,
    /// As many of this kind by this pod (by this process where it has none) went before and were counted, not told.
    pub folded: u64,
}

/// What it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Did {
    /// Got its first file of the device.
    Opened(Way),
    /// Has no file of the device any more.
    Closed {
        /// How long it had one; `None` where it had before the tracer came.
        held: Option<Duration>,
        /// Because it ended.
        exited: bool,
    },
    /// A call failed: the first of this process, call and failure.
    Failed { call: Call, failure: Failure, took: Duration },
    /// A call has not come back.
    Stalled { call: Call, inside: Duration },
}

/// How a process came by an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Opened,
    /// From the process that forked it.
    Inherited,
    /// It had it when the tracer came, or was passed it by another process.
    Found,
}

/// What a failed call returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The system call's error number, positive.
    Errno(i32),
    /// The call came back, and its parameters hold this status of the driver's resource manager (`NV_STATUS`).
    Status(u32),
}

impl Access {
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.did {
            Did::Opened(_) => Kind::GpuOpen,
            Did::Closed { .. } => Kind::GpuClose,
            Did::Failed { .. } => Kind::CallFailed,
            Did::Stalled { .. } => Kind::CallStalled,
        }
    }

    #[must_use]
    pub fn severity(&self) -> Severity {
        match self.did {
            Did::Opened(_) | Did::Closed { .. } => Severity::Info,
            Did::Failed { failure, .. } if failure.is_serious() => Severity::Error,
            Did::Failed { .. } => Severity::Warning,
            Did::Stalled { .. } => Severity::Error,
        }
    }

    /// What keeping it costs.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() - size_of::<Party>() + self.party.bytes()
    }

    #[must_use]
    pub fn class(&self) -> Class {
        if self.severity() >= Severity::Error { Class::Trouble } else { Class::Routine }
    }
}

impl Failure {
    /// Whether it speaks of a GPU or a driver in trouble. Most failures do not: programs ask for what a GPU does not have.
    #[must_use]
    pub fn is_serious(self) -> bool {
        match self {
            Self::Errno(errno) => [errno::EIO, errno::ENXIO, errno::ENODEV].contains(&errno),
            Self::Status(status) => calls::is_serious(status),
        }
    }
}

#[cfg(test)]
impl Access {
    /// What `python3`, process 4711 of pod ml/train-7, did with nvidia0.
    pub fn example(did: Did) -> Self {
        let pod = super::Pod {
            uid: Some("7a6e7c1a-6f0e-4f0b-9a43-2f1d3c5b7e90".to_owned()),
            namespace: Some("ml".to_owned()),
            name: Some("train-7".to_owned()),
            container: Some("main".to_owned()),
            container_id: Some("ab".repeat(32)),
        };
        let party = Party { pid: 4711, name: "python3".to_owned(), pod: Some(pod.into()) };
        let pci = Some(PciAddress { domain: 0, bus: 0x3b, device: 0, function: 0 });
        Self { party, tid: 4712, device: Device::Gpu(0), pci, did, folded: 0 }
    }
}
