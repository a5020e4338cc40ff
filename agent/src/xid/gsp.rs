//! The GPU's system processor (GSP), whose firmware does most of the driver's work since Turing:
//! Xid 119 and 120, and notices that come without an Xid.

use super::reader::{Reader, contains, find};
use super::{Details, Fault, Kind, PciAddress, Text};

/// Xid 119: the GSP did not answer a remote procedure call. Two wordings:
/// ```text
/// Timeout after 6s of waiting for RPC response from GPU4 GSP! Expected function 76 (GSP_RM_CONTROL) (0x20801702 0x4).
/// Timeout waiting for RPC from GSP1! Expected function 76 (GSP_RM_CONTROL) (0x2080014b 0x5).
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GspTimeout<'a> {
    /// How long the driver waited.
    pub waited_seconds: Option<u32>,
    /// The driver's own number of the GPU, which is neither NVML's index nor the minor number.
    pub gpu_index: Option<u32>,
    /// Number of the function that was called.
    pub function: Option<u32>,
    /// Its name: `GSP_RM_CONTROL`, `GSP_RM_ALLOC`, `FREE`.
    pub function_name: Option<Text<'a>>,
    /// What it was called for: control command of `GSP_RM_CONTROL`, class of `GSP_RM_ALLOC`.
    pub command: Option<u32>,
    /// Size of the call's parameters, bytes.
    pub parameter_bytes: Option<u32>,
}

/// Xid 120: a task of the firmware crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GspException<'a> {
    /// What happened, in the firmware's words: `store access page fault`.
    pub reason: Text<'a>,
    /// RISC-V cause number.
    pub cause: Option<u32>,
    /// Program counter in the firmware.
    pub program_counter: Option<u64>,
    /// Firmware task.
    pub task: Option<u32>,
}

/// A notice without an Xid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GspNotice {
    /// The driver prints only one in so many RPC errors from here on: Xid 119 is undercounted.
    RateLimited {
        /// One line stands for this many errors.
        every: Option<u32>,
    },
    /// The firmware's heartbeat stopped.
    HeartbeatLost {
        /// The driver's own number of the GPU.
        gpu_index: Option<u32>,
        /// Time since the last beat, milliseconds.
        overdue_ms: Option<u32>,
    },
    /// The firmware says that the power management unit halted.
    PmuHalted {
        /// The driver's own number of the GPU.
        gpu_index: Option<u32>,
    },
}

pub(super) fn timeout(message: &[u8]) -> Option<GspTimeout<'_>> {
    let mut reader = Reader::new(message);
    reader.expect(b"Timeout ")?;
    let mut timeout = GspTimeout::default();
    if reader.eat(b"after ") {
        timeout.waited_seconds = reader.decimal();
    }
    let head = &message[..find(message, b"!").unwrap_or(message.len())];
    timeout.gpu_index = index_behind(head, b"from GPU").or_else(|| index_behind(head, b"from GSP"));
    if reader.skip_to(b"Expected function ").is_some() {
        timeout.function = reader.decimal();
        reader.spaces();
        // Drivers before 525 leave the number out and print the name without brackets.
        reader.eat(b"(");
        let name = reader.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        timeout.function_name = (!name.is_empty()).then(|| Text::bounded(name, Text::MAX_NAME));
        if reader.skip_to(b"(").is_some() {
            timeout.command = reader.hex32();
            reader.spaces();
            timeout.parameter_bytes = reader.hex32();
        }
    }
    Some(timeout)
}

pub(super) fn exception(message: &[u8]) -> Option<GspException<'_>> {
    let mut reader = Reader::new(message);
    reader.expect(b"GSP task exception: ")?;
    let rest = reader.rest();
    let end = find(rest, b" (cause").or_else(|| find(rest, b" @")).unwrap_or(rest.len());
    let behind = |label: &[u8]| find(rest, label).map(|at| Reader::new(&rest[at + label.len()..]));
    Some(GspException {
        reason: Text::bounded(&rest[..end], 200),
        cause: behind(b"cause:").and_then(|mut reader| reader.hex32()),
        program_counter: behind(b"pc:").and_then(|mut reader| reader.hex()),
        task: behind(b"task:").and_then(|mut reader| reader.decimal()),
    })
}

/// `text` is what stands behind `NVRM: `.
pub(super) fn notice(text: &[u8]) -> Option<Fault<'_>> {
    let mut fault = Fault::new(Kind::Gsp, text);
    let notice = if text.starts_with(b"Rate limiting GSP RPC error prints") {
        let mut reader = Reader::new(text);
        if reader.skip_to(b"PCI:").is_some() {
            fault.pci = PciAddress::read(&mut reader);
        }
        let every = reader.skip_to(b"1 of every ").and_then(|()| reader.decimal());
        GspNotice::RateLimited { every }
    } else {
        let mut reader = Reader::new(text);
        reader.expect(b"GPU")?;
        let gpu_index = reader.decimal();
        reader.spaces();
        if reader.eat(b"_kgspIsHeartbeatTimedOut:") && contains(text, b"timed out") {
            let overdue_ms = reader.skip_to(b" diff ").and_then(|()| reader.decimal());
            GspNotice::HeartbeatLost { gpu_index, overdue_ms }
        } else if reader.eat(b"_kgspRpcGspEventPmuHalted:") {
            GspNotice::PmuHalted { gpu_index }
        } else {
            return None;
        }
    };
    fault.details = Details::Gsp(notice);
    Some(fault)
}

fn index_behind(text: &[u8], label: &[u8]) -> Option<u32> {
    let at = find(text, label)?;
    Reader::new(&text[at + label.len()..]).decimal()
}
