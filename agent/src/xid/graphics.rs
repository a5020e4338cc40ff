//! Xid 13 and 69 (graphics and compute engine) and 109 (context switch timeout).

use super::Text;
use super::reader::{Reader, contains, find};

/// Xid 13 or 69: what the engine that runs kernels stumbled over.
///
/// One fault of an application is told in several lines: which SM (`Graphics SM Warp Exception on
/// …`), its error status registers (`ESR …`), and the channel and class it ran under (`ChID …`).
/// Each line fills its own fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GraphicsException<'a> {
    /// Where on the chip. Repeats of one GPC and TPC point to hardware, changing ones to the
    /// application (WORKFLOW_XID_13).
    pub location: Option<SmLocation>,
    /// The driver's word for what happened: `Out Of Range Address`, `Multiple Warp Errors`.
    pub reason: Option<Text<'a>>,
    /// Error status registers, address and value, in the line's order; unused places are `None`.
    pub registers: [Option<(u32, u32)>; 4],
    /// Class of the object that the failing method belongs to, `0xc6c0` for Ampere compute.
    pub class: Option<u32>,
    /// Offset of the failing method in its class.
    pub offset: Option<u32>,
    /// The method's argument.
    pub data: Option<u32>,
    /// Xid 69's own error code.
    pub error_code: Option<u32>,
}

/// A streaming multiprocessor's place: graphics processing cluster, texture processing cluster in
/// it, SM in that. Physical numbers, not those that a MIG instance or CUDA sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SmLocation {
    /// Graphics processing cluster.
    pub gpc: u32,
    /// Texture processing cluster within it.
    pub tpc: Option<u32>,
    /// Multiprocessor within that.
    pub sm: Option<u32>,
}

/// Xid 109: an engine did not switch contexts in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextSwitchTimeout {
    /// The scheduler's information word, as printed.
    pub info: Option<u32>,
}

pub(super) fn exception(message: &[u8]) -> Option<GraphicsException<'_>> {
    let mut exception = GraphicsException::default();
    if let Some(at) = find(message, b"(GPC ") {
        let mut reader = Reader::new(&message[at + 5..]);
        let gpc = reader.decimal()?;
        let tpc = reader.eat(b", TPC ").then(|| reader.decimal()).flatten();
        let sm = reader.eat(b", SM ").then(|| reader.decimal()).flatten();
        exception.location = Some(SmLocation { gpc, tpc, sm });
        if reader.skip_to(b"): ").is_some() && !reader.rest().is_empty() {
            exception.reason = Some(Text::bounded(reader.rest(), 200));
        }
        return Some(exception);
    }
    let colon = find(message, b": ")?;
    if !message.starts_with(b"Graphics") && !message.starts_with(b"Class Error") {
        return None;
    }
    let body = &message[colon + 2..];
    if body.starts_with(b"ESR ") {
        let mut reader = Reader::new(&body[4..]);
        for register in &mut exception.registers {
            reader.spaces();
            let Some(address) = reader.hex32() else { break };
            if !reader.eat(b"=") {
                break;
            }
            *register = reader.hex32().map(|value| (address, value));
        }
        return Some(exception);
    }
    exception.class = value(body, b"Class ");
    exception.offset = value(body, b"Offset ");
    exception.data = value(body, b"Data ");
    exception.error_code = value(body, b"ErrorCode ");
    if exception.class.is_none() || contains(body, b"Mismatch") {
        exception.reason = Some(Text::bounded(body, 200));
    }
    Some(exception)
}

pub(super) fn context_switch_timeout(message: &[u8]) -> Option<ContextSwitchTimeout> {
    contains(message, b"CTX SWITCH TIMEOUT")
        .then(|| ContextSwitchTimeout { info: value(message, b"Info ") })
}

/// The hexadecimal number behind `label`.
pub(super) fn value(text: &[u8], label: &[u8]) -> Option<u32> {
    let at = find(text, label)?;
    Reader::new(&text[at + label.len()..]).hex32()
}
