//! Xid 31: a page fault on the GPU.

use super::Text;
use super::graphics::value;
use super::reader::{Reader, find, hex};

/// An access to GPU memory that the MMU refused. Two wordings:
/// ```text
/// Ch 00000008, intr 00000000. MMU Fault: ENGINE GRAPHICS GPCCLIENT_T1_8 faulted @ 0x73ac_1c000000. Fault is of type FAULT_PDE ACCESS_TYPE_VIRT_WRITE
/// Ch 00000003, engmask 00000101, intr 10000000
/// ```
/// The second is of drivers before Pascal and tells neither address nor type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageFault<'a> {
    /// Engine that made the access: `GRAPHICS`, `CE2`.
    pub engine: Option<Text<'a>>,
    /// Graphics processing cluster the access came from, where the line names it.
    pub gpc: Option<u32>,
    /// Unit within it: `GPCCLIENT_T1_8` is texture unit 8 of a GPC, `HUBCLIENT_CE0` a copy engine.
    pub client: Option<Text<'a>>,
    /// Virtual address in the faulting process's GPU address space.
    pub address: Option<u64>,
    /// Why it was refused: `FAULT_PDE` and `FAULT_PTE` nothing mapped, `FAULT_RO_VIOLATION`,
    /// `FAULT_PRIV_VIOLATION`.
    pub fault_type: Option<Text<'a>>,
    /// What was tried: `ACCESS_TYPE_VIRT_READ`, `ACCESS_TYPE_VIRT_WRITE`, `…_ATOMIC`, `…_PREFETCH`.
    pub access: Option<Text<'a>>,
    /// Interrupt status word.
    pub interrupt: Option<u32>,
    /// Mask of engines, old wording.
    pub engine_mask: Option<u32>,
}

pub(super) fn page_fault(message: &[u8]) -> Option<PageFault<'_>> {
    let mut fault = PageFault { interrupt: value(message, b"intr "), ..PageFault::default() };
    let Some(at) = find(message, b"MMU Fault: ENGINE ") else {
        fault.engine_mask = value(message, b"engmask ");
        return (fault.interrupt.is_some() || fault.engine_mask.is_some()).then_some(fault);
    };
    let mut reader = Reader::new(&message[at + 18..]);
    fault.engine = word(&mut reader);
    // `GPC1 GPCCLIENT_T1_3` in lines of newer drivers (seen with 570), `GPCCLIENT_T1_3` before.
    reader.spaces();
    let mut cluster = reader;
    if cluster.eat(b"GPC") {
        fault.gpc = cluster.decimal();
        reader = if fault.gpc.is_some() { cluster } else { reader };
    }
    fault.client = word(&mut reader);
    if reader.skip_to(b"faulted @ ").is_some() {
        fault.address = address(&mut reader);
    }
    if reader.skip_to(b"Fault is of type ").is_some() {
        fault.fault_type = word(&mut reader);
        fault.access = word(&mut reader);
    }
    Some(fault)
}

fn word<'a>(reader: &mut Reader<'a>) -> Option<Text<'a>> {
    reader.spaces();
    let word = reader.word();
    (!word.is_empty()).then(|| Text::bounded(word, Text::MAX_NAME))
}

/// `0x73ac_1c000000`: the upper and the lower 32 bits.
fn address(reader: &mut Reader<'_>) -> Option<u64> {
    let high = reader.hex()?;
    if !reader.eat(b"_") {
        return Some(high);
    }
    let digits = reader.take_while(|byte| byte.is_ascii_hexdigit());
    let low = if digits.len() == 8 { hex(digits)? } else { return None };
    u32::try_from(high).is_ok().then_some(high << 32 | low)
}
