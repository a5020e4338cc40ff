//! What a process asks of the NVIDIA driver: pure numbers → names.
//!
//! Pure functions: no clock, no file, no allocation. A [`Call`] is an ioctl's request number and at most one number more
//! from its parameters; [`Call::name`] says in NVIDIA's words what it is, [`status`] what it came back with. What is in no
//! table is shown as its number, never guessed. Where those numbers stand in the parameters is in [`parameters`].
//!
//! | device | a request is | the name |
//! | --- | --- | --- |
//! | `nvidia0`, `nvidiactl` | `_IOWR('F', nr, parameters)` | by `nr`: `escapes.tsv`, and behind it what the parameters say |
//! | `nvidia-uvm`, `nvidia-uvm-tools` | a plain number | `uvm.tsv` |
//! | `nvidia-modeset` | `_IOWR('m', 0, …)` alone | by the command in the parameters |
//!
//! | escape | what its parameters say | table |
//! | --- | --- | --- |
//! | `NV_ESC_RM_CONTROL`, `…_LOCKLESS_DIAGNOSTIC` | the control command | `rm-controls.tsv` |
//! | `NV_ESC_RM_ALLOC`, `…_ALLOC_MEMORY`, `…_ALLOC_OBJECT`, `…_ALLOC_CONTEXT_DMA2` | the class | `rm-classes.tsv` |
//! | `NV_ESC_RM_VID_HEAP_CONTROL` | the function | `name.rs` |
//! | `NV_ESC_IOCTL_XFER_CMD` | the escape that it carries | `escapes.tsv` |
//!
//! # Editions
//! The tables are from NVIDIA's open-gpu-kernel-modules, releases 515.43.04, 515.105.01, 520.61.07, 525.60.11, 525.147.05,
//! 530.41.03, 535.43.02, 535.288.01, 545.29.06, 550.40.07, 550.163.01, 555.58.02, 560.35.03, 565.77, 570.86.15, 570.211.01,
//! 575.64.05, 580.65.06, 580.142, 590.48.01 and 595.45.04: each number that one of them has, by its newest name. Some
//! sixty numbers changed their name in that time, few of them their meaning. The files have 74 KB.

use std::fmt;

pub mod errno;
mod long;
mod name;
pub mod parameters;
mod status;
mod table;
#[cfg(test)]
mod tests;

pub use self::{
    name::Name,
    status::{is_serious, status},
};

/// A character device of the driver's, by what it is for and not by its path. Displays as below `/dev`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Device {
    /// `/dev/nvidia0`, by its minor number.
    Gpu(u32),
    /// `/dev/nvidiactl`.
    Control,
    /// `/dev/nvidia-modeset`.
    Modeset,
    /// `/dev/nvidia-uvm`.
    Uvm,
    /// `/dev/nvidia-uvm-tools`.
    UvmTools,
    /// `/dev/nvidia-caps/nvidia-cap1`, by its minor number.
    Capability(u32),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gpu(minor) => write!(f, "nvidia{minor}"),
            Self::Control => f.write_str("nvidiactl"),
            Self::Modeset => f.write_str("nvidia-modeset"),
            Self::Uvm => f.write_str("nvidia-uvm"),
            Self::UvmTools => f.write_str("nvidia-uvm-tools"),
            Self::Capability(minor) => write!(f, "nvidia-caps/nvidia-cap{minor}"),
        }
    }
}

/// A system call on one of these devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    Open,
    Close,
    Ioctl {
        /// The ioctl's request number, as passed.
        request: u32,
        /// What the parameters say further: the control command of `NV_ESC_RM_CONTROL`, the class of `NV_ESC_RM_ALLOC`. 0
        /// where there is none, and so for the class `NV01_ROOT` too.
        command: u32,
    },
}

impl Call {
    /// What it is on that device, to display.
    #[must_use]
    pub fn name(self, device: Device) -> Name {
        Name { call: self, device }
    }
}

/// The escape of a request to `nvidia0` or `nvidiactl`: its low byte. `None`: no request of type `'F'`.
fn escape(request: u32) -> Option<u8> {
    let [nr, kind, ..] = request.to_le_bytes();
    (kind == b'F').then_some(nr)
}

// The escapes that this room treats apart; the names of all are in `escapes.tsv`.
const ALLOC_MEMORY: u8 = 0x27;
const ALLOC_OBJECT: u8 = 0x28;
const CONTROL: u8 = 0x2a;
const ALLOC: u8 = 0x2b;
const IDLE_CHANNELS: u8 = 0x41;
const VID_HEAP_CONTROL: u8 = 0x4a;
const ALLOC_CONTEXT_DMA2: u8 = 0x54;
const LOCKLESS_DIAGNOSTIC: u8 = 0x5f;
const XFER_CMD: u8 = 211;
const WAIT_OPEN_COMPLETE: u8 = 218;
