//! What the kernel says: lines of the NVIDIA driver as they are printed, with the task they were printed in.
//!
//! - [`devices`] is what the eBPF programs see of the driver's devices: who has them open, and the calls on them.
//! - [`tracer`] is the eBPF source (feature `ebpf`): CAP_BPF and CAP_PERFMON, Linux 5.8+.
//! - [`kernel_log`] reads the kernel's log back, the past too: `/dev/kmsg`, else syslog(2) with CAP_SYSLOG.
//! - [`replay`] reads lines from a file or FIFO as if they were heard now, for demonstrations and where nothing else is allowed.
//! - `btf` and `layout` find where this kernel keeps what its program reads.
//! - [`record`] decodes what the BPF program sends.
//! - `ring` reads the ring buffer.
//! - [`source`] is what any of them reports about itself.
//!
//! Nothing here knows NVML or MCP, nor what a line means.

#[cfg(feature = "ebpf")]
mod btf;
pub mod devices;
#[cfg(feature = "ebpf")]
mod diagnostics;
pub mod kernel_log;
#[cfg(feature = "ebpf")]
mod layout;
#[cfg(feature = "ebpf")]
mod loader;
pub mod privileges;
pub mod ready;
pub mod record;
pub mod replay;
#[cfg(feature = "ebpf")]
mod ring;
pub mod source;
#[cfg(feature = "ebpf")]
pub mod tracer;
#[cfg(not(feature = "ebpf"))]
#[path = "no_tracer.rs"]
pub mod tracer;

use std::time::SystemTime;

use bytes::Bytes;

use crate::event::{Origin, Task};

/// One line as a source heard it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was printed; for a replay, when it was read.
    pub time: SystemTime,
    /// The task the kernel was running as, where the source knows it.
    pub task: Option<Task>,
    /// The text, without a newline at its end. Not necessarily UTF-8.
    pub text: Bytes,
    /// The kernel printed more than this.
    pub cut: bool,
    /// Who wrote it, where the source knows that and not the line's own prefix.
    pub origin: Origin,
}

/// An Xid as the driver's own tracepoint tells it (`nvidia:nvidia_dev_xid`, open kernel modules from 575.51.02).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverXid {
    pub time: SystemTime,
    pub task: Task,
    /// The PCI device's name, as in `0000:3b:00.0`.
    pub pci: Bytes,
    pub code: u32,
    /// What stands behind the number in the driver's line.
    pub message: Bytes,
}

/// How large the buffer is that the kernel fills and the tracer empties: the pod's memory from the start on, and not
/// part of the process's (`ring`). It is for the time in which the agent does not run. A line takes 160 to 288 bytes.
///
/// 100,000 lines of 130 bytes, written as fast as it goes (230,000 to 450,000 a second) on two cores that others used
/// too, of which were lost, in two runs each:
///
/// | buffer | one writer | two writers |
/// | --- | --- | --- |
/// | 2 MiB | 72,626, 33,970 | 51,986, 33,124 |
/// | 4 MiB | 17,552, 55,601 | 43,809, 54,475 |
/// | 8 MiB | 8,811, 0 | 34,811, 657 |
/// | 16 MiB | 0, 0 | 0, 0 |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buffer {
    /// Some ten thousand lines: for a session by itself, of which a pod may have several.
    Session,
    /// For the pod's one recorder.
    Recorder,
}

impl Buffer {
    #[must_use]
    pub fn bytes(self) -> u32 {
        match self {
            Self::Session => 2 << 20,
            Self::Recorder => 16 << 20,
        }
    }
}

/// What the tracer hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Line(Line),
    Xid(DriverXid),
}
