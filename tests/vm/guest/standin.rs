//! The stand-in's numbers, as `../module/standin.h` has them, and its calls.

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::AsRawFd as _,
};

use anyhow::Result;

/// From which context it prints.
#[derive(Clone, Copy)]
pub enum Context {
    Process = 0,
    Interrupt = 1,
    Softirq = 2,
    Workqueue = 3,
}

/// The PCI device that its tracepoint names, as the driver's lines write it and as the agent does.
pub const PCI_IN_LINES: &str = "0000:00:01";
pub const PCI: &str = "0000:00:01.0";

/// What a call does, as its number: a command of `NV_ESC_RM_CONTROL`, or a request on /dev/nvidia-uvm.
pub const fn fails(errno: u8) -> u32 {
    0x5744_0100 | errno as u32
}
pub const fn leaves_status(status: u8) -> u32 {
    0x5744_0200 | status as u32
}
pub const fn sleeps(tenths: u8) -> u32 {
    0x5744_0300 | tenths as u32
}
pub const BLOCKS: u32 = 0x5744_0400;
/// `NV2080_CTRL_CMD_GPU_GET_INFO_V2`: like any other that the stand-in does not know, it succeeds.
pub const SUCCEEDS: u32 = 0x2080_0102;

/// A request number as `_IOC` composes it.
const fn request(direction: u32, kind: u8, number: u32, size: u32) -> u32 {
    direction << 30 | size << 16 | (kind as u32) << 8 | number
}
const RM_CONTROL: u32 = request(3, b'F', 0x2a, 32);
const PRINT: u32 = request(1, b'S', 1, 512);
const XID: u32 = request(1, b'S', 2, 512);
const WAKE: u32 = request(0, b'S', 3, 0);

/// `NVOS54_PARAMETERS` of the driver.
#[repr(C)]
#[derive(Default)]
struct RmControl {
    client: u32,
    object: u32,
    command: u32,
    flags: u32,
    params: u64,
    params_size: u32,
    status: u32,
}

/// `struct standin_print` and `struct standin_xid`.
#[repr(C)]
struct Asked {
    number: u32,
    text: [u8; 508],
}

// What the requests' numbers say.
const _: () = assert!(size_of::<RmControl>() == 32 && size_of::<Asked>() == 512);

/// Makes an `NV_ESC_RM_CONTROL` on a device of the driver's and returns the status that is left in its parameters.
pub fn rm_control(device: &File, command: u32) -> io::Result<u32> {
    let mut control = RmControl { client: 0xc1d0_0001, object: 1, command, ..RmControl::default() };
    ioctl(device, RM_CONTROL, &mut control)?;
    Ok(control.status)
}

/// Makes a call on /dev/nvidia-uvm.
pub fn uvm(device: &File, request: u32) -> io::Result<()> {
    ioctl(device, request, &mut 0u64)
}

/// Has the kernel print a line.
pub fn print(from: Context, line: &str) -> Result<()> {
    ask(PRINT, from as u32, line)
}

/// Has it fire the driver's tracepoint.
pub fn fire(code: u32, message: &str) -> Result<()> {
    ask(XID, code, message)
}

/// Waits until a process sleeps in a call on the driver's device: a wake before that would be for nobody.
pub fn wait_until_blocked(pid: u32) -> Result<()> {
    let end = std::time::Instant::now() + e2e::PATIENCE;
    // In the stand-in's wait, which only a deadly signal interrupts, it is in state D.
    while !std::fs::read_to_string(format!("/proc/{pid}/stat"))?.contains(") D ") {
        anyhow::ensure!(std::time::Instant::now() < end, "{pid} never blocked");
    }
    Ok(())
}

/// Lets every call that blocks come back.
pub fn wake() -> Result<()> {
    Ok(ioctl(&control()?, WAKE, &mut 0u64)?)
}

fn ask(request: u32, number: u32, text: &str) -> Result<()> {
    let mut asked = Asked { number, text: [0; 508] };
    anyhow::ensure!(text.len() < asked.text.len(), "too long for the stand-in: {text}");
    asked.text[..text.len()].copy_from_slice(text.as_bytes());
    Ok(ioctl(&control()?, request, &mut asked)?)
}

fn control() -> Result<File> {
    Ok(OpenOptions::new().read(true).write(true).open("/dev/standin")?)
}

fn ioctl<T>(device: &File, request: u32, argument: &mut T) -> io::Result<()> {
    // SAFETY: the stand-in reads and writes what its request's size says, and that is the size of the argument; a
    // request of /dev/nvidia-uvm touches no memory.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), request.into(), argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
