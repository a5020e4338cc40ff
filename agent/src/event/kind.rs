//! Sorts of events.

use crate::xid;

/// What an event is: a fault that the driver reported, or what a process did with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Fault(xid::Kind),
    /// A process has a device open that it had not.
    GpuOpen,
    /// A process has a device open no more.
    GpuClose,
    /// A call on a device came back with an error.
    CallFailed,
    /// A call on a device does not come back.
    CallStalled,
}

impl Kind {
    /// Its name in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fault(kind) => kind.name(),
            Self::GpuOpen => "gpu_open",
            Self::GpuClose => "gpu_close",
            Self::CallFailed => "call_failed",
            Self::CallStalled => "call_stalled",
        }
    }

    /// Whether an event of this kind can be of this class.
    #[must_use]
    pub fn may_be(self, class: Class) -> bool {
        match self {
            Self::Fault(_) => class == Class::Fault,
            Self::GpuOpen | Self::GpuClose => class == Class::Routine,
            Self::CallFailed => class != Class::Fault,
            Self::CallStalled => class == Class::Trouble,
        }
    }
}

/// How much an event matters to somebody who asked for none in particular. Each class is kept apart from the others, so
/// that none is evicted because of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A fault.
    Fault,
    /// What a process did, where that is an error.
    Trouble,
    /// What processes do on any day.
    Routine,
}

impl Class {
    pub const ALL: [Self; 3] = [Self::Fault, Self::Trouble, Self::Routine];
}
