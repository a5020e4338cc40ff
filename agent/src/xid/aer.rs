//! PCIe Advanced Error Reporting: lines of the kernel's PCI core about a device or the port above
//! it.
//!
//! Wordings from the kernel's drivers/pci/pcie/aer.c and err.c, which changed a few words over the
//! years (`Corrected` became `Correctable`, `id=0010` became an address).

use super::reader::{Reader, contains, find};
use super::{Details, Fault, Kind, PciAddress, Text};

/// What one AER line says. An error is told in up to four lines: that it was received, its severity
/// and layer, the device's status and mask words, and one line for each bit that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aer<'a> {
    /// The driver that the reporting device is bound to.
    pub driver: AerDriver,
    /// How bad.
    pub severity: Option<AerSeverity>,
    /// Layer of PCIe: `Physical Layer`, `Data Link Layer`, `Transaction Layer`.
    pub layer: Option<Text<'a>>,
    /// The device the error came from, where a port passes on another's message.
    pub source: Option<PciAddress>,
    /// Vendor and device number of the reporting device; NVIDIA's vendor number is 0x10de.
    pub device_id: Option<(u32, u32)>,
    /// The device's error status word.
    pub status: Option<u32>,
    /// Which of its bits are masked.
    pub mask: Option<u32>,
    /// A set bit of the status word.
    pub bit: Option<u32>,
    /// That bit's name: `BadTLP`, `Surprise Down Error`.
    pub error: Option<Text<'a>>,
    /// The kernel gave up on bringing the device back.
    pub recovery_failed: bool,
}

impl Aer<'_> {
    /// Whether the line only goes on with an error that another has told: severity, status or bit.
    pub(super) fn goes_on(&self) -> bool {
        self.layer.is_some() || self.status.is_some() || self.bit.is_some()
    }
}

/// Drivers whose AER lines can be about a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AerDriver {
    /// The GPU driver: the line is about a GPU.
    Nvidia,
    /// The PCIe port driver: a root port or a switch's port.
    PciePort,
    /// A device that is passed through to a guest.
    VfioPci,
    /// No driver is bound.
    Unbound,
}

/// How bad, in PCIe's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AerSeverity {
    /// The link corrected it.
    Correctable,
    /// A transaction was lost, the link stands.
    NonFatal,
    /// The link cannot be relied on.
    Fatal,
}

impl Fault<'_> {
    /// Whether the line is about a GPU, given a way to tell the addresses of GPUs and of the ports
    /// above them.
    ///
    /// Every kind but `aer` is. A port's AER lines do not say what is below the port, so whoever
    /// knows the machine's PCI tree has to be asked.
    #[must_use]
    pub fn concerns(&self, is_gpu_or_port_above: impl Fn(PciAddress) -> bool) -> bool {
        let Details::Aer(aer) = self.details else { return true };
        aer.driver == AerDriver::Nvidia
            || aer.device_id.is_some_and(|(vendor, _)| vendor == 0x10de)
            || [self.pci, aer.source].into_iter().flatten().any(is_gpu_or_port_above)
    }
}

/// `text` begins with a driver's name and a device's address.
pub(super) fn parse(text: &[u8]) -> Option<Fault<'_>> {
    let mut reader = Reader::new(text);
    let driver = match reader.word() {
        b"nvidia" => AerDriver::Nvidia,
        b"pcieport" => AerDriver::PciePort,
        b"vfio-pci" => AerDriver::VfioPci,
        b"pci" => AerDriver::Unbound,
        _ => return None,
    };
    reader.spaces();
    let pci = PciAddress::read(&mut reader)?;
    reader.expect(b":")?;
    reader.spaces();
    let mut aer = Aer {
        driver,
        severity: None,
        layer: None,
        source: None,
        device_id: None,
        status: None,
        mask: None,
        bit: None,
        error: None,
        recovery_failed: false,
    };
    let marked = reader.eat(b"AER:");
    reader.spaces();
    let body = reader.rest();
    let known = if reader.eat(b"PCIe Bus Error:") {
        aer.severity = reader.skip_to(b"severity=").and_then(|()| severity(reader.rest()));
        if reader.skip_to(b"type=").is_some() {
            let layer = reader.take_while(|byte| byte != b',');
            aer.layer = (!layer.is_empty()).then(|| Text::bounded(layer, Text::MAX_NAME));
        }
        true
    } else if reader.eat(b"device [") {
        aer.device_id = device_id(&mut reader);
        if reader.skip_to(b"status/mask=").is_some() {
            aer.status = reader.hex32();
            aer.mask = reader.eat(b"/").then(|| reader.hex32()).flatten();
        }
        aer.status.is_some()
    } else if reader.eat(b"[") {
        bit(&mut reader, &mut aer).is_some()
    } else if marked {
        aer.severity = severity(body);
        aer.source = source(body);
        aer.recovery_failed =
            contains(body, b"recovery failed") || contains(body, b"can't recover");
        true
    } else {
        false
    };
    (known || marked).then(|| Fault {
        pci: Some(pci),
        details: Details::Aer(aer),
        ..Fault::new(Kind::Aer, body)
    })
}

/// The wording differs by kernel version and by line: `Uncorrected (Fatal)`, `Uncorrectable
/// (Non-Fatal)`, `Corrected`, `Correctable`.
fn severity(text: &[u8]) -> Option<AerSeverity> {
    let text = text.strip_prefix(b"Multiple ").unwrap_or(text);
    if !text.starts_with(b"Uncorrect") {
        return text.starts_with(b"Correct").then_some(AerSeverity::Correctable);
    }
    let text = &text[..text.len().min(32)];
    if contains(text, b"(Fatal)") {
        Some(AerSeverity::Fatal)
    } else {
        contains(text, b"(Non-Fatal)").then_some(AerSeverity::NonFatal)
    }
}

/// `… received from 0000:00:00.0`, `… received: 0000:3b:00.0`.
fn source(text: &[u8]) -> Option<PciAddress> {
    let at = find(text, b"received")?;
    let mut reader = Reader::new(&text[at + 8..]);
    reader.eat(b":");
    reader.spaces();
    reader.eat(b"from ");
    PciAddress::read(&mut reader)
}

/// `10de:2330]`
fn device_id(reader: &mut Reader<'_>) -> Option<(u32, u32)> {
    let vendor = reader.hex32()?;
    reader.expect(b":")?;
    Some((vendor, reader.hex32()?))
}

/// ` 6] BadTLP`, ` 5] Surprise Down Error (First)`
fn bit<'a>(reader: &mut Reader<'a>, aer: &mut Aer<'a>) -> Option<()> {
    reader.spaces();
    let bit = reader.decimal().filter(|&bit| bit < 32)?;
    reader.expect(b"]")?;
    reader.spaces();
    let name = reader.rest();
    let name = name[..find(name, b"(First)").unwrap_or(name.len())].trim_ascii();
    aer.bit = Some(bit);
    aer.error = (!name.is_empty()).then(|| Text::bounded(name, Text::MAX_NAME));
    aer.error.map(|_| ())
}
