//! Xid 144 to 150: NVLink of the fifth generation (Blackwell).
//!
//! A line names a sub-unit and prints its registers; what that means, and what to do, stands in
//! NVIDIA's decode table (`agent/data/nvlink5.tsv`). The table has two layouts of the first
//! register, for drivers before R575 and from there on. The line does not say which driver printed
//! it, and does not have to: only the right layout gives a rule whose unit is the one that the line
//! prints. A test holds that for every complete line of the corpus: never both, never none.

use std::sync::OnceLock;

use super::catalogue::{given, rows};
use super::reader::Reader;
use super::{Action, Text};

/// `RLW_SRC_TRACK Nonfatal XC1 i0 Link 12 (0x040988e2 0x00000008 0x00000000 0x00000000 0x00000000
/// 0x00000000)`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NvLink5<'a> {
    /// Sub-unit that reports, as the driver printed it: `NETIR_LINK_EVT`, `RLW_REMAP`.
    pub unit: Text<'a>,
    /// `Fatal` rather than `Nonfatal`.
    pub fatal: bool,
    /// `XC1` rather than `XC0`: set where the error ends the applications it hit (the table's
    /// "XC/AppCrash").
    pub xc: Option<bool>,
    /// `i1` rather than `i0`: the error was injected for a test.
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

/// What NVIDIA's table says about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The Xid.
    pub code: u32,
    /// Names of the sub-unit, the older first, with a slash between them.
    pub units: &'static str,
    /// Bits of the interrupt information before R575.
    pub v1: Pattern,
    /// Bits of the interrupt information from R575 on.
    pub v2: Pattern,
    /// Values of the error status, with a bar between them; empty for any.
    pub error_status: &'static str,
    /// What to do at once.
    pub immediate: Option<Action>,
    /// What to look into then.
    pub investigatory: Option<Action>,
    /// How far it reaches.
    pub class: RuleClass,
    /// `hw`, `sw`, `fw`, as NVIDIA judges.
    pub cause: Option<&'static str>,
    /// What follows on this GPU.
    pub local_effect: Option<&'static str>,
    /// What follows on the peer.
    pub remote_effect: Option<&'static str>,
}

/// A pattern of 32 bits: those that count, and their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Bits that count.
    pub mask: u32,
    /// Their values.
    pub value: u32,
}

/// NVIDIA's severities of NVLink5 errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuleClass {
    /// Work goes on.
    NonFatal,
    /// The link is down.
    LinkFatal,
    /// The GPU's NVLink is down.
    Fatal,
}

impl RuleClass {
    /// Its name in the data file and in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NonFatal => "nonfatal",
            Self::LinkFatal => "link-fatal",
            Self::Fatal => "fatal",
        }
    }
}

/// Which layout of the interrupt information a line turned out to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Drivers before R575.
    V1,
    /// Drivers from R575 on.
    V2,
}

/// Finds the rule for a line of Xid `code`. `None`: the line was cut before its registers, or the
/// table has no such error.
#[must_use]
pub fn decode(code: u32, line: &NvLink5<'_>) -> Option<(&'static Rule, Layout)> {
    let (intr_info, error_status) = (line.intr_info?, line.error_status?);
    let fits = |rule: &Rule, pattern: Pattern| {
        rule.code == code
            && intr_info & pattern.mask == pattern.value
            && rule.has_status(error_status)
            && rule.has_unit(line.unit)
    };
    let find = |layout| {
        let pattern = |rule: &Rule| if layout == Layout::V1 { rule.v1 } else { rule.v2 };
        rules().iter().find(|rule| fits(rule, pattern(rule))).map(|rule| (rule, layout))
    };
    find(Layout::V1).or_else(|| find(Layout::V2))
}

/// The whole table.
pub fn rules() -> &'static [Rule] {
    static RULES: OnceLock<Box<[Rule]>> = OnceLock::new();
    RULES.get_or_init(|| rows(include_str!("../../data/nvlink5.tsv")).filter_map(rule).collect())
}

impl Rule {
    /// A printed unit is one of the rule's names or the beginning of one, since drivers shorten
    /// them (`NETIR` for `NETIR_INT`), or all of them as the table has it; which of several
    /// beginnings is meant, the registers tell.
    fn has_unit(&self, printed: Text<'_>) -> bool {
        let printed = printed.as_bytes();
        let fits = |unit: &str| unit.as_bytes().starts_with(printed);
        !printed.is_empty() && (self.units.as_bytes() == printed || self.units.split('/').any(fits))
    }

    pub(super) fn has_status(&self, error_status: u32) -> bool {
        self.error_status.is_empty()
            || self.error_status.split('|').any(|value| number(value) == Some(error_status))
    }
}

fn rule(mut fields: impl Iterator<Item = &'static str>) -> Option<Rule> {
    Some(Rule {
        code: fields.next()?.parse().ok()?,
        units: fields.next()?,
        v1: pattern(fields.next()?)?,
        v2: pattern(fields.next()?)?,
        error_status: fields.next()?,
        immediate: Action::from_name(fields.next()?),
        investigatory: Action::from_name(fields.next()?),
        class: match fields.next()? {
            "nonfatal" => RuleClass::NonFatal,
            "link-fatal" => RuleClass::LinkFatal,
            "fatal" => RuleClass::Fatal,
            _ => return None,
        },
        cause: given(fields.next()?),
        local_effect: given(fields.next()?),
        remote_effect: given(fields.next()?),
    })
}

/// `0x0000002a`
fn number(text: &str) -> Option<u32> {
    Reader::new(text.as_bytes()).hex32()
}

/// `------000000----------0000100001`, the highest bit first.
fn pattern(text: &str) -> Option<Pattern> {
    if text.len() != 32 {
        return None;
    }
    text.bytes().try_fold(Pattern { mask: 0, value: 0 }, |Pattern { mask, value }, byte| {
        let (counts, bit) = match byte {
            b'-' => (0, 0),
            b'0' => (1, 0),
            b'1' => (1, 1),
            _ => return None,
        };
        Some(Pattern { mask: mask << 1 | counts, value: value << 1 | bit })
    })
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
        xc: None,
        injected: None,
        link: None,
        intr_info: None,
        error_status: None,
        debug: None,
    };
    reader.spaces();
    if reader.eat(b"XC") {
        error.xc = reader.decimal().map(|value| value != 0);
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
