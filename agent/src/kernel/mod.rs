//! What the kernel says: lines of the NVIDIA driver as they are printed, with the task they were printed in.
//!
//! - [`tracer`] is the eBPF source (feature `ebpf`): CAP_BPF and CAP_PERFMON, Linux 5.8+.
//! - [`kernel_log`] reads the kernel's log back, the past too: `/dev/kmsg`, else syslog(2) with CAP_SYSLOG.
//! - [`replay`] reads lines from a file or FIFO as if they were heard now, for demonstrations and where nothing else is allowed.
//! - `btf` and `layout` find where this kernel keeps what its program reads.
//! - [`record`] decodes what the BPF program sends.
//! - [`source`] is what any of them reports about itself.
//!
//! Nothing here knows NVML or MCP, nor what a line means.

#[cfg(feature = "ebpf")]
mod btf;
pub mod kernel_log;
#[cfg(feature = "ebpf")]
mod layout;
#[cfg(feature = "ebpf")]
mod loader;
pub mod privileges;
pub mod ready;
pub mod record;
pub mod replay;
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

/// What the tracer hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Line(Line),
    Xid(DriverXid),
}
