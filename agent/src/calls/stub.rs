//! Names by number alone, until the tables are here: this file goes when they come.

use std::fmt;

use super::{Call, Device};

impl Device {
    /// As its file is called below `/dev`.
    #[must_use]
    pub fn name(self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gpu(minor) => write!(f, "nvidia{minor}"),
            Self::Control => f.write_str("nvidiactl"),
            Self::Modeset => f.write_str("nvidia-modeset"),
            Self::Uvm => f.write_str("nvidia-uvm"),
            Self::UvmTools => f.write_str("nvidia-uvm-tools"),
            Self::Capability(minor) => write!(f, "nvidia-cap{minor}"),
        }
    }
}

/// A call, named as one on a device.
#[derive(Debug, Clone, Copy)]
pub struct Name(Call);

impl Call {
    #[must_use]
    pub fn name(self, _: Device) -> Name {
        Name(self)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Call::Open => f.write_str("open"),
            Call::Close => f.write_str("close"),
            Call::Ioctl { request, command: 0 } => write!(f, "ioctl {request:#x}"),
            Call::Ioctl { request, command } => write!(f, "ioctl {request:#x} {command:#x}"),
        }
    }
}

/// The name of a status of the resource manager.
#[must_use]
pub fn status(status: u32) -> Option<&'static str> {
    (status == 0x0f).then_some("NV_ERR_GPU_IS_LOST")
}

/// Whether it says that the GPU or the driver is in trouble, and not that the caller asked for what there is not.
#[must_use]
pub fn is_serious(status: u32) -> bool {
    status == 0x0f
}
