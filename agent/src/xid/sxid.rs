//! SXids: errors of an NVSwitch.
//!
//! The switch driver prints up to three lines for one error (src/common/nvswitch,
//! `NVSWITCH_PRINT_SXID`), which may come singly where a log is cut or rate limited:
//! ```text
//! nvidia-nvswitch1: SXid (PCI:0000:06:00.0): 20034, Fatal, Link 48 LTSSM Fault Up
//! nvidia-nvswitch1: SXid (PCI:0000:06:00.0): 20034, Severity 1 Engine instance 48 Sub-engine instance 00
//! nvidia-nvswitch1: SXid (PCI:0000:06:00.0): 20034, Data {0x00000000, …}
//! ```

use super::reader::Reader;
use super::{Details, Fault, Kind, PciAddress};

/// One line of an SXid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sxid {
    /// The switch's number: the N of `nvidia-nvswitchN`.
    pub switch: Option<u32>,
    /// How bad, as the switch says it: in words, or by the number behind `Severity`.
    pub severity: Option<SxidSeverity>,
    /// Which of the lines it is.
    pub part: SxidPart,
}

/// The switch driver's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SxidSeverity {
    /// Corrected by the switch.
    Correctable,
    /// Work goes on.
    NonFatal,
    /// Work on the port or the fabric is lost.
    Fatal,
}

impl SxidSeverity {
    /// Its name in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Correctable => "correctable",
            Self::NonFatal => "non-fatal",
            Self::Fatal => "fatal",
        }
    }
}

/// Which line of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SxidPart {
    /// The error itself.
    Report,
    /// Which engine of the switch saw it.
    Source {
        /// Engine of its kind; for link engines the link's number.
        engine: Option<u32>,
        /// Part of that engine.
        sub_engine: Option<u32>,
    },
    /// Register words, for NVIDIA; `None` from where the line was cut.
    Data {
        /// In the order printed.
        words: [Option<u32>; 9],
    },
}

/// `text` begins with `nvidia-nvswitch`.
pub(super) fn parse(text: &[u8]) -> Option<Fault<'_>> {
    let mut reader = Reader::new(text);
    reader.expect(b"nvidia-nvswitch")?;
    let switch = reader.decimal();
    reader.expect(b":")?;
    reader.spaces();
    reader.expect(b"SXid")?;
    reader.spaces();
    reader.expect(b"(")?;
    reader.eat(b"PCI:");
    let pci = PciAddress::read(&mut reader)?;
    reader.expect(b"):")?;
    reader.spaces();
    let code = reader.decimal()?;
    if reader.peek().is_some_and(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    reader.eat(b",");
    reader.spaces();
    let message = reader.rest();
    let mut sxid = Sxid { switch, severity: None, part: SxidPart::Report };
    let mut link = None;
    if reader.eat(b"Severity ") {
        sxid.severity = match reader.decimal() {
            Some(0) => Some(SxidSeverity::NonFatal),
            Some(1) => Some(SxidSeverity::Fatal),
            _ => None,
        };
        let engine = reader.skip_to(b"Engine instance ").and_then(|()| reader.decimal());
        let sub_engine = reader.skip_to(b"Sub-engine instance ").and_then(|()| reader.decimal());
        sxid.part = SxidPart::Source { engine, sub_engine };
    } else if reader.eat(b"Data {") {
        let mut words = [None; 9];
        for word in &mut words {
            *word = reader.hex32();
            if !reader.eat(b",") {
                break;
            }
            reader.spaces();
        }
        sxid.part = SxidPart::Data { words };
    } else {
        let words = [
            (&b"Fatal"[..], SxidSeverity::Fatal),
            (b"Non-fatal", SxidSeverity::NonFatal),
            (b"Correctable", SxidSeverity::Correctable),
        ];
        sxid.severity =
            words.into_iter().find_map(|(word, severity)| reader.eat(word).then_some(severity));
        reader.eat(b",");
        reader.spaces();
        if reader.eat(b"Link ") {
            link = reader.decimal();
        }
    }
    Some(Fault {
        code: Some(code),
        pci: Some(pci),
        link,
        details: Details::Sxid(sxid),
        ..Fault::new(Kind::Sxid, message)
    })
}
