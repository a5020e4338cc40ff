//! GPUs that are lost, do not start, or wait for a reset, told without an Xid.

use super::reader::{Reader, contains, decimal, find};
use super::{Details, Fault, Kind, PciAddress};

/// A GPU that the driver could not bring up.
///
/// ```text
/// GPU 0000:0a:00.0: RmInitAdapter failed! (0x24:0x72:1568)
/// GPU 0000:0a:00.0: rm_init_adapter failed, device minor number 5
/// ```
/// The first is the resource manager's own, with where it gave up; the second follows it and has
/// the device's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InitFailure {
    /// Stage of start-up that failed (RM_INIT_STATUS).
    pub stage: Option<u32>,
    /// NV_STATUS it failed with: 0x65 is a timeout, 0x62 a reset that is due.
    pub status: Option<u32>,
    /// Source line in that driver version.
    pub line: Option<u32>,
    /// The N of /dev/nvidiaN.
    pub minor: Option<u32>,
}

/// `text` is what stands behind `NVRM: `.
pub(super) fn parse(text: &[u8]) -> Option<Fault<'_>> {
    lost(text).or_else(|| init_failure(text))
}

/// ```text
/// GPU 0000:a1:00.0: GPU has fallen off the bus.
/// The NVIDIA GPU 0000:b3:00.0⏎NVRM: (PCI ID: 10de:26b5) installed in this system has⏎NVRM: fallen off the bus and is not responding to commands.
/// ```
/// The second is one record of three lines (nvidia/osinit.c); most logs show it as three, and its
/// last line alone is an event without an address, which [`super::Combiner`] has from the first.
fn lost(text: &[u8]) -> Option<Fault<'_>> {
    let fault = Fault::new(Kind::BusLoss, text);
    let mut reader = Reader::new(text);
    if reader.eat(b"GPU ") {
        let pci = PciAddress::read(&mut reader)?;
        reader.expect(b":")?;
        reader.spaces();
        reader.expect(b"GPU has fallen off the bus")?;
        return Some(Fault { pci: Some(pci), ..fault });
    }
    if let Some(pci) = head(text) {
        return contains(text, b"fallen off the bus").then_some(Fault { pci: Some(pci), ..fault });
    }
    let alone = reader.eat(b"fallen off the bus and is not responding")
        || (reader.eat(b"installed in this system has ") || reader.eat(b"system has "))
            && reader.eat(b"fallen off the bus");
    alone.then_some(fault)
}

/// The address in `The NVIDIA GPU 0000:b3:00.0`, the first line of several messages.
pub(super) fn head(text: &[u8]) -> Option<PciAddress> {
    let mut reader = Reader::new(text);
    reader.expect(b"The NVIDIA GPU ")?;
    PciAddress::read(&mut reader)
}

fn init_failure(text: &[u8]) -> Option<Fault<'_>> {
    let mut fault = Fault::new(Kind::InitFailure, text);
    let mut reader = Reader::new(text);
    if reader.eat(b"GPU ") {
        fault.pci = Some(PciAddress::read(&mut reader)?);
        reader.expect(b":")?;
        reader.spaces();
    }
    let mut details = InitFailure::default();
    if reader.eat(b"RmInitAdapter failed!") {
        reader.spaces();
        if reader.eat(b"(") {
            details.stage = reader.hex32();
            reader.eat(b":");
            details.status = reader.hex32();
            reader.eat(b":");
            details.line = reader.decimal();
        }
    } else if reader.eat(b"rm_init_adapter failed") {
        const LABEL: &[u8] = b"minor number ";
        let rest = reader.rest();
        details.minor =
            find(rest, LABEL).and_then(|at| decimal(rest[at + LABEL.len()..].trim_ascii()));
    } else if !(reader.eat(b"RmInitAdapter:")
        && contains(reader.rest(), b"bailing out of RmInitAdapter"))
    {
        return None;
    }
    fault.details = Details::Init(details);
    Some(fault)
}

/// Any other line of the driver that carries NV_ERR_RESET_REQUIRED (0x62): by name, or as the
/// status of a failed call.
pub(super) fn reset_required(text: &[u8]) -> Option<Fault<'_>> {
    let named = contains(text, b"NV_ERR_RESET_REQUIRED");
    let numbered = contains(text, b"status=0x00000062") || contains(text, b"Status=0x00000062");
    if !named && !numbered {
        return None;
    }
    let mut reader = Reader::new(text);
    let pci = if reader.eat(b"GPU ") { PciAddress::read(&mut reader) } else { None };
    Some(Fault { pci, ..Fault::new(Kind::ResetRequired, text) })
}
