//! A call's name: `NV_ESC_RM_CONTROL NV2080_CTRL_CMD_GPU_GET_INFO_V2`, `UVM_MIGRATE`, `open`.
//!
//! A number that is in no table stays one: `NV_ESC_RM_CONTROL 0x2080ffee (NV2080, in no table)`, where NV2080 is what the
//! command's upper digits say of the object it is for; `NV_ESC_RM_ALLOC 0x1234 (in no table)`; `ioctl 0xc0384600`.

use std::fmt;

use super::{
    ALLOC, ALLOC_CONTEXT_DMA2, ALLOC_MEMORY, ALLOC_OBJECT, CONTROL, Call, Device,
    LOCKLESS_DIAGNOSTIC, VID_HEAP_CONTROL, XFER_CMD, escape, table::find,
};

pub(super) const ESCAPES: &str = include_str!("../../data/escapes.tsv");
pub(super) const CONTROLS: &str = include_str!("../../data/rm-controls.tsv");
pub(super) const CLASSES: &str = include_str!("../../data/rm-classes.tsv");
pub(super) const UVM: &str = include_str!("../../data/uvm.tsv");

/// The commands of `nvidia-modeset`, as far as they are the same in all releases: they are an enum's places, into which
/// 570 and 590 put and from which they took some. 0, `NVKMS_IOCTL_ALLOC_DEVICE`, cannot be told from none.
const MODESET: [&str; 13] = [
    "",
    "FREE_DEVICE",
    "QUERY_DISP",
    "QUERY_CONNECTOR_STATIC_DATA",
    "QUERY_CONNECTOR_DYNAMIC_DATA",
    "QUERY_DPY_STATIC_DATA",
    "QUERY_DPY_DYNAMIC_DATA",
    "VALIDATE_MODE_INDEX",
    "VALIDATE_MODE",
    "SET_MODE",
    "SET_CURSOR_IMAGE",
    "MOVE_CURSOR",
    "SET_LUT",
];

/// What [`Call::name`] gives: looked up when it is displayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    pub(super) call: Call,
    pub(super) device: Device,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (request, command) = match self.call {
            Call::Open => return f.write_str("open"),
            Call::Close => return f.write_str("close"),
            Call::Ioctl { request, command } => (request, command),
        };
        match self.device {
            Device::Gpu(_) | Device::Control => rm(f, request, command),
            Device::Modeset if request & 0xffff == MODESET_REQUEST => modeset(f, command),
            Device::Uvm | Device::UvmTools => uvm(f, request),
            Device::Modeset | Device::Capability(_) => write!(f, "ioctl {request:#010x}"),
        }
    }
}

/// `NVKMS_IOCTL_CMD`, without size and direction: the one ioctl of `nvidia-modeset`.
const MODESET_REQUEST: u32 = (b'm' as u32) << 8;

fn uvm(f: &mut fmt::Formatter<'_>, request: u32) -> fmt::Result {
    match find(UVM, request) {
        Some(name) => f.write_str(name),
        None => write!(f, "ioctl {request:#010x}"),
    }
}

fn modeset(f: &mut fmt::Formatter<'_>, command: u32) -> fmt::Result {
    let name = usize::try_from(command).ok().and_then(|command| MODESET.get(command));
    match name {
        Some(&"") => f.write_str("NVKMS_IOCTL_CMD"),
        Some(name) => write!(f, "NVKMS_IOCTL_{name}"),
        None => write!(f, "NVKMS_IOCTL_CMD {command} (differs between releases)"),
    }
}

fn rm(f: &mut fmt::Formatter<'_>, request: u32, command: u32) -> fmt::Result {
    let nr = escape(request);
    let Some((nr, name)) = nr.and_then(|nr| Some((nr, find(ESCAPES, u32::from(nr))?))) else {
        return write!(f, "ioctl {request:#010x}");
    };
    f.write_str(name)?;
    match nr {
        _ if command == 0 => Ok(()),
        CONTROL | LOCKLESS_DIAGNOSTIC => control(f, command),
        ALLOC | ALLOC_MEMORY | ALLOC_OBJECT | ALLOC_CONTEXT_DMA2 => {
            further(f, find(CLASSES, command), command)
        }
        VID_HEAP_CONTROL => further(f, function(command), command),
        XFER_CMD => further(f, find(ESCAPES, command), command),
        _ => Ok(()),
    }
}

fn control(f: &mut fmt::Formatter<'_>, command: u32) -> fmt::Result {
    let class = command >> 16;
    match find(CONTROLS, command) {
        Some(name) if name.starts_with('_') => write!(f, " NV{class:04X}_CTRL_CMD{name}"),
        Some(name) => write!(f, " {name}"),
        None => write!(f, " {command:#010x} (NV{class:04X}, in no table)"),
    }
}

/// What stands in the parameters, behind the escape's name.
fn further(f: &mut fmt::Formatter<'_>, name: Option<&str>, number: u32) -> fmt::Result {
    match name {
        Some(name) => write!(f, " {name}"),
        None => write!(f, " {number:#x} (in no table)"),
    }
}

/// What `NV_ESC_RM_VID_HEAP_CONTROL` is to do: `NVOS32_FUNCTION_…` in nvos.h, those that all releases have.
fn function(number: u32) -> Option<&'static str> {
    Some(match number {
        2 => "NVOS32_FUNCTION_ALLOC_SIZE",
        3 => "NVOS32_FUNCTION_FREE",
        5 => "NVOS32_FUNCTION_INFO",
        6 => "NVOS32_FUNCTION_ALLOC_TILED_PITCH_HEIGHT",
        14 => "NVOS32_FUNCTION_ALLOC_SIZE_RANGE",
        15 => "NVOS32_FUNCTION_REACQUIRE_COMPR",
        16 => "NVOS32_FUNCTION_RELEASE_COMPR",
        18 => "NVOS32_FUNCTION_GET_MEM_ALIGNMENT",
        19 => "NVOS32_FUNCTION_HW_ALLOC",
        20 => "NVOS32_FUNCTION_HW_FREE",
        27 => "NVOS32_FUNCTION_ALLOC_OS_DESCRIPTOR",
        _ => return None,
    })
}
