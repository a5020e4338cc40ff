//! Arguments that say which events: kinds and severities.

use rmcp::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};

use crate::{
    event::Kind,
    xid::{self, Severity},
};

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KindArgument {
    /// An error report of the GPU driver, by number.
    Xid,
    /// An error report of the NVSwitch driver, by number.
    Sxid,
    /// A GPU that fell off the bus.
    BusLoss,
    /// The driver could not bring a GPU up.
    InitFailure,
    /// The driver refuses work until a reset.
    ResetRequired,
    /// A notice about the GPU's system processor.
    Gsp,
    /// A PCIe error of a GPU or of a port above one.
    Aer,
}

impl KindArgument {
    pub fn kind(self) -> xid::Kind {
        match self {
            Self::Xid => xid::Kind::Xid,
            Self::Sxid => xid::Kind::Sxid,
            Self::BusLoss => xid::Kind::BusLoss,
            Self::InitFailure => xid::Kind::InitFailure,
            Self::ResetRequired => xid::Kind::ResetRequired,
            Self::Gsp => xid::Kind::Gsp,
            Self::Aer => xid::Kind::Aer,
        }
    }

    pub fn of(kind: xid::Kind) -> Self {
        match kind {
            xid::Kind::Xid => Self::Xid,
            xid::Kind::Sxid => Self::Sxid,
            xid::Kind::BusLoss => Self::BusLoss,
            xid::Kind::InitFailure => Self::InitFailure,
            xid::Kind::ResetRequired => Self::ResetRequired,
            xid::Kind::Gsp => Self::Gsp,
            xid::Kind::Aer => Self::Aer,
        }
    }
}

/// Kinds of events: faults, and what processes do with the driver's devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKindArgument {
    Xid,
    Sxid,
    BusLoss,
    InitFailure,
    ResetRequired,
    Gsp,
    Aer,
    /// A process has a device open.
    GpuOpen,
    /// A process has it open no more.
    GpuClose,
    /// A call on a device failed.
    CallFailed,
    /// A call on a device does not come back.
    CallStalled,
}

impl EventKindArgument {
    pub fn kind(self) -> Kind {
        match self {
            Self::Xid => Kind::Fault(xid::Kind::Xid),
            Self::Sxid => Kind::Fault(xid::Kind::Sxid),
            Self::BusLoss => Kind::Fault(xid::Kind::BusLoss),
            Self::InitFailure => Kind::Fault(xid::Kind::InitFailure),
            Self::ResetRequired => Kind::Fault(xid::Kind::ResetRequired),
            Self::Gsp => Kind::Fault(xid::Kind::Gsp),
            Self::Aer => Kind::Fault(xid::Kind::Aer),
            Self::GpuOpen => Kind::GpuOpen,
            Self::GpuClose => Kind::GpuClose,
            Self::CallFailed => Kind::CallFailed,
            Self::CallStalled => Kind::CallStalled,
        }
    }

    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Fault(xid::Kind::Xid) => Self::Xid,
            Kind::Fault(xid::Kind::Sxid) => Self::Sxid,
            Kind::Fault(xid::Kind::BusLoss) => Self::BusLoss,
            Kind::Fault(xid::Kind::InitFailure) => Self::InitFailure,
            Kind::Fault(xid::Kind::ResetRequired) => Self::ResetRequired,
            Kind::Fault(xid::Kind::Gsp) => Self::Gsp,
            Kind::Fault(xid::Kind::Aer) => Self::Aer,
            Kind::GpuOpen => Self::GpuOpen,
            Kind::GpuClose => Self::GpuClose,
            Kind::CallFailed => Self::CallFailed,
            Kind::CallStalled => Self::CallStalled,
        }
    }
}

/// How bad, from nothing to do (info) to a node that has to be restarted (fatal).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum SeverityArgument {
    Info,
    Warning,
    Error,
    Critical,
    Fatal,
}

impl SeverityArgument {
    pub fn severity(self) -> Severity {
        match self {
            Self::Info => Severity::Info,
            Self::Warning => Severity::Warning,
            Self::Error => Severity::Error,
            Self::Critical => Severity::Critical,
            Self::Fatal => Severity::Fatal,
        }
    }

    pub fn of(severity: Severity) -> Self {
        match severity {
            Severity::Info => Self::Info,
            Severity::Warning => Self::Warning,
            Severity::Error => Self::Error,
            Severity::Critical => Self::Critical,
            Severity::Fatal => Self::Fatal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_written_as_it_is_called() {
        for name in [
            "xid",
            "sxid",
            "bus_loss",
            "init_failure",
            "reset_required",
            "gsp",
            "aer",
            "gpu_open",
            "gpu_close",
            "call_failed",
            "call_stalled",
        ] {
            let read: EventKindArgument = serde_json::from_value(name.into()).unwrap();
            assert_eq!((read.kind().name(), EventKindArgument::of(read.kind())), (name, read));
        }
    }
}
