//! The kernel's view of who has the driver's devices open, and what they do with them.
//!
//! [`Node::holders`] reads it when somebody asks, or says why there is none and what to do.

use std::time::SystemTime;

use super::Node;
use crate::{
    calls::{Call, Device},
    event::{Party, Source},
    kernel::source::State,
    xid::PciAddress,
};

/// A process that has at least one of the driver's devices open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its pid is of the initial PID namespace.
    pub party: Party,
    pub started: Option<SystemTime>,
    /// Never empty, each device once.
    pub devices: Vec<Held>,
    /// System calls on them since the tracer came, those that failed included.
    pub calls: u64,
    pub errors: u64,
    pub last_call: Option<SystemTime>,
    /// Calls that have not come back.
    pub inside: Vec<InCall>,
}

/// A device that a process has open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub device: Device,
    /// The GPU of a [`Device::Gpu`], where its minor number is known to be of one.
    pub pci: Option<PciAddress>,
    /// `None` is from before the tracer came.
    pub since: Option<SystemTime>,
}

/// A thread that is in a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InCall {
    pub tid: u32,
    pub call: Call,
    pub device: Device,
    pub since: SystemTime,
}

/// Why the kernel's view is not to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen {
    pub reason: String,
    /// What turns it on.
    pub remedy: String,
}

impl Node {
    /// Who has the driver's devices open, or why that is not known.
    pub fn holders(&self) -> Result<Vec<Holder>, Unseen> {
        self.devices.holders().ok_or_else(|| Unseen::of(self.sources.state(Source::Access)))
    }
}

impl Unseen {
    /// By how the source stands that follows the devices.
    fn of(tracer: Option<State>) -> Self {
        let (reason, remedy) = match tracer {
            Some(State::Unavailable { reason, remedy }) => (reason, remedy),
            Some(State::Starting | State::Live(_)) => {
                ("the eBPF programs are being loaded".into(), "Ask again in a moment.".into())
            }
            Some(State::Off(why)) => (why, ENABLE.into()),
            None => ("there is no eBPF program".into(), ENABLE.into()),
        };
        Self { reason, remedy }
    }
}

const ENABLE: &str = "Set ebpf.enabled=true in the chart, or start the agent with --ebpf on.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_reader_the_reason_is_the_programs() {
        let state = State::Unavailable { reason: "no CAP_BPF".into(), remedy: "Give it.".into() };
        let unseen = Unseen::of(Some(state));
        assert_eq!((&*unseen.reason, &*unseen.remedy), ("no CAP_BPF", "Give it."));
        for state in [None, Some(State::Off("--ebpf off".into()))] {
            assert!(Unseen::of(state).remedy.contains("ebpf.enabled"));
        }
    }
}
