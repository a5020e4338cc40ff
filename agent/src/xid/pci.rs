//! PCI addresses as the driver and the kernel print them.

use std::fmt;

use super::reader::Reader;

/// The place of a device on the PCI bus, which is how a kernel line names a GPU.
///
/// Shown as the kernel and NVML's `busIdLegacy` have it: `0000:3b:00.0`, with more digits where the
/// domain needs them. The driver's Xid lines leave the function out; a GPU's is 0. Domains beyond 0
/// are ordinary (a GB200 node has its GPUs in 0008, 0009, 0018 and 0019). Ordered by domain, bus,
/// device, function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    /// PCI domain (segment).
    pub domain: u32,
    /// Bus number.
    pub bus: u8,
    /// Device (slot) number.
    pub device: u8,
    /// Function number; 0 where the line leaves it out.
    pub function: u8,
}

impl PciAddress {
    /// Reads an address that is all of `text`: `0000:3b:00.0`, NVML's `00000000:3B:00.0`, or
    /// without the function.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(text);
        let address = Self::read(&mut reader)?;
        reader.rest().is_empty().then_some(address)
    }

    /// Reads the address that stands at the reader, and leaves the reader behind it.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut here = *reader;
        let domain = group(&mut here, 8)?;
        here.expect(b":")?;
        let bus = group(&mut here, 2)?;
        here.expect(b":")?;
        let device = group(&mut here, 2)?;
        let mut after = here;
        let function = if after.eat(b".") { group(&mut after, 1) } else { None };
        *reader = if function.is_some() { after } else { here };
        Some(Self {
            domain,
            bus: u8::try_from(bus).ok()?,
            device: u8::try_from(device).ok()?,
            function: u8::try_from(function.unwrap_or(0)).ok()?,
        })
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, bus, device, function } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function:x}")
    }
}

fn group(reader: &mut Reader<'_>, max_digits: usize) -> Option<u32> {
    let digits = reader.take_while(|byte| byte.is_ascii_hexdigit());
    if digits.len() > max_digits {
        return None;
    }
    super::reader::hex(digits).and_then(|value| u32::try_from(value).ok())
}
