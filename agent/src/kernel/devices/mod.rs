//! Who has the driver's devices open and what they ask of it: the eBPF programs of `agent-ebpf/src/entries.rs`, loaded when the
//! driver is.
//!
//! Needs what the [`tracer`](super::tracer) needs, and the kernel's type information. Everything is bounded: a map that is
//! full costs knowledge of what does not fit, and that is counted ([`Unseen`]). What a process is and where it runs is
//! told in the kernel's numbers here; who that is in Kubernetes is for somebody else to say.

#[cfg(feature = "ebpf")]
mod attach;
#[cfg(feature = "ebpf")]
mod decode;
pub mod majors;
#[cfg(feature = "ebpf")]
mod maps;
#[cfg(feature = "ebpf")]
mod tracer;
#[cfg(not(feature = "ebpf"))]
#[path = "no_tracer.rs"]
mod tracer;
#[cfg(feature = "ebpf")]
mod walk;

use std::time::{Duration, SystemTime};

pub use agent_ebpf::access::{BUCKETS, Majors};
pub use tracer::{DeviceTracer, Error, Maps};

use crate::{
    calls::{Call, Device},
    event::access::{Failure, Way},
};

/// A process's identity: numbers are given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    /// In the initial PID namespace.
    pub pid: u32,
    /// When it started, since boot (`CLOCK_BOOTTIME`).
    pub started: Duration,
}

/// What the programs tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Acted(Acted),
    Place(Place),
}

/// What a process did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acted {
    pub time: SystemTime,
    pub process: ProcessId,
    pub tid: u32,
    pub name: String,
    /// Stands for its cgroup, see [`Place::id`].
    pub place: u64,
    pub did: Did,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Did {
    Got(Way, Vec<Device>),
    /// Has some of what it had no more: see [`majors::is_among`].
    Lost {
        held: u64,
    },
    /// Has nothing any more, as it has ended.
    Ended,
    Failed {
        device: Device,
        call: Call,
        failure: Failure,
        took: Duration,
    },
    /// It has become another program.
    Renamed,
}

/// Where in the cgroup tree a process is: names of directories, the innermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub id: u64,
    /// In the unified hierarchy.
    pub unified: Vec<String>,
    /// In another of a controller's, with cgroup v1.
    pub other: Vec<String>,
}

/// A process that has devices open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub process: ProcessId,
    pub name: String,
    pub place: u64,
    /// What it has: see [`majors::devices`] and [`majors::is_among`].
    pub held: u64,
    /// When it was first known to have one.
    pub since: SystemTime,
}

/// A thread that is in a call of the driver's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    pub process: ProcessId,
    pub tid: u32,
    pub name: String,
    pub device: Device,
    pub call: Call,
    /// When it entered the call, as the kernel wrote it down (`CLOCK_MONOTONIC`): with the thread it is the call's identity.
    pub entered: Duration,
    /// The same by the wall clock, which is read anew each time and so never twice the same.
    pub since: SystemTime,
}

/// What was counted of one call of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    pub process: ProcessId,
    pub device: Device,
    pub call: Call,
    pub stat: CallStat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallStat {
    pub count: u64,
    /// Calls that returned an error number.
    pub errors: u64,
    /// Calls that came back with a status of the driver's resource manager other than 0.
    pub statuses: u64,
    pub took: Duration,
    pub last: SystemTime,
    /// The slowest of the window that was asked for.
    pub slowest: Option<Slowest>,
    pub last_error: Option<u32>,
    pub last_status: Option<u32>,
    /// Calls that took at least 2^n and less than 2^(n+1) ns; the last has all longer ones.
    pub histogram: [u32; BUCKETS],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slowest {
    pub took: Duration,
    /// When it came back.
    pub at: SystemTime,
    pub tid: u32,
}

impl Default for CallStat {
    fn default() -> Self {
        Self {
            count: 0,
            errors: 0,
            statuses: 0,
            took: Duration::ZERO,
            last: SystemTime::UNIX_EPOCH,
            slowest: None,
            last_error: None,
            last_status: None,
            histogram: [0; BUCKETS],
        }
    }
}

/// Calls on a device since the tracer came, whether or not their processes are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// `None` for devices that are counted together: capabilities, and GPUs above the 32nd.
    pub device: Option<Device>,
    pub opens: u64,
    pub closes: u64,
    pub ioctls: u64,
    pub failed: u64,
}

/// What was not seen since the tracer came, for want of room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unseen {
    /// Events.
    pub events: u64,
    /// Calls that are in no [`Counted`].
    pub calls: u64,
    /// Calls of which neither the time nor the result is known.
    pub threads: u64,
    /// Processes that hold a device, each as often as it was seen to.
    pub holders: u64,
}
