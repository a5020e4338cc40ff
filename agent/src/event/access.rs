//! What a process did with a device of the driver's.

use std::time::Duration;

use super::Party;
use crate::{
    calls::{Call, Device},
    xid::PciAddress,
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
