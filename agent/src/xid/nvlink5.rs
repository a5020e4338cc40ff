//! Xid 144 to 150: NVLink of the fifth generation (Blackwell).

use super::Text;
use super::text::Reader;

/// `RLW_SRC_TRACK Nonfatal XC1 i0 Link 12 (0x040988e2 0x00000008 0x00000000 0x00000000 0x00000000 0x00000000)`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NvLink5<'a> {
    /// Sub-unit that reports, as the driver printed it: `NETIR_LINK_EVT`, `RLW_REMAP`.
    pub unit: Text<'a>,
    /// `Fatal` rather than `Nonfatal`.
    pub fatal: bool,
    /// `XC1`: the error was contained to a channel or context.
    pub contained: Option<bool>,
    /// `i1`: the error was injected for a test.
    pub injected: Option<bool>,
    /// The link; `None` where the line says -1, which is no one link.
    pub link: Option<u32>,
    /// Interrupt information, the first word in brackets.
    pub intr_info: Option<u32>,
    /// Error status, the second word.
    pub error_status: Option<u32>,
    /// The four words behind those, for NVIDIA; `None` where the line was cut.
    pub debug: Option<[u32; 4]>,
}

pub(super) fn line(message: &[u8]) -> Option<NvLink5<'_>> {
    let mut reader = Reader::new(message);
    let unit = reader.word();
    reader.spaces();
    let fatal = match reader.word() {
        b"Fatal" => true,
        b"Nonfatal" | b"Non-fatal" => false,
        _ => return None,
    };
    let mut error = NvLink5 {
        unit: Text::bounded(unit, Text::MAX_NAME),
        fatal,
        contained: None,
        injected: None,
        link: None,
        intr_info: None,
        error_status: None,
        debug: None,
    };
    reader.spaces();
    if reader.eat(b"XC") {
        error.contained = reader.decimal().map(|value| value != 0);
        reader.spaces();
    }
    if reader.eat(b"i") {
        error.injected = reader.decimal().map(|value| value != 0);
        reader.spaces();
    }
    if reader.eat(b"Link ") {
        error.link = reader.signed().and_then(|link| u32::try_from(link).ok());
        reader.spaces();
    }
    // Round brackets in every line seen; square ones are said to occur before driver 575.
    if reader.eat(b"(") || reader.eat(b"[") {
        error.intr_info = word(&mut reader);
        error.error_status = word(&mut reader);
        error.debug = debug(&mut reader);
    }
    Some(error)
}

fn debug(reader: &mut Reader<'_>) -> Option<[u32; 4]> {
    Some([word(reader)?, word(reader)?, word(reader)?, word(reader)?])
}

fn word(reader: &mut Reader<'_>) -> Option<u32> {
    reader.take_while(|byte| matches!(byte, b' ' | b',' | b')' | b'(' | b']' | b'['));
    reader.hex32()
}
