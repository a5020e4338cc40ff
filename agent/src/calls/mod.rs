//! What a process asks of the driver: pure numbers → names.

pub mod errno;
mod stub;

pub use stub::{is_serious, status};

/// A character device of the driver's, by what it is for and not by its path.
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

/// A system call on one of these devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    Open,
    Close,
    Ioctl {
        /// The ioctl's request number, as passed.
        request: u32,
        /// What the parameters of an RM escape say further: the control command of `NV_ESC_RM_CONTROL`, the class of
        /// `NV_ESC_RM_ALLOC`. 0 where there is none.
        command: u32,
    },
}
