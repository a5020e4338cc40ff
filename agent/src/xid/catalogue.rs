//! What NVIDIA says about Xids and SXids by number.
//!
//! The facts are in `agent/data/xid.tsv` and `agent/data/sxid.tsv`, each with its edition at the
//! top, and are part of the binary. A table is read on first use, in about 50 µs, into references
//! to that text (some 20 KiB). Where other tools' tables contradict NVIDIA's, NVIDIA's stands: 109
//! asks for a reset and 63 for nothing, whatever else is written.

use std::sync::OnceLock;

use super::{Action, Severity, SeverityRule};

/// One Xid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub code: u32,
    /// NVIDIA's symbol for it.
    pub mnemonic: &'static str,
    /// Another symbol of the same number, where catalogue and driver header differ.
    pub alias: Option<&'static str>,
    /// How NVIDIA's catalogue has it.
    pub usage: Usage,
    /// What to do at once. `None`: the catalogue does not say.
    pub immediate: Option<Action>,
    /// What to look into then.
    pub investigatory: Option<Action>,
    /// How bad.
    pub severity: Severity,
    /// Where that comes from.
    pub severity_rule: SeverityRule,
    /// Architectures it can occur on, as far as the catalogue says.
    pub architectures: Architectures,
    /// Driver branch from which an Xid 154 goes with it (`R565`), or `introduced` for "as long as
    /// it exists".
    pub xid154_since: Option<&'static str>,
    /// What it means, in this project's words; `None` for numbers that the catalogue has as unused.
    pub meaning: Option<&'static str>,
}

/// How NVIDIA's catalogue has a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Usage {
    /// Described there.
    Catalogue,
    /// Listed there as unused. Drivers print some of these all the same.
    Unused,
    /// Not there, but in a driver's header.
    HeaderOnly,
}

/// The data-centre GPUs that the catalogue tells apart; all false where it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "four columns of a published table")]
pub struct Architectures {
    /// Ampere.
    pub a100: bool,
    /// Hopper.
    pub h100: bool,
    /// Blackwell.
    pub b100: bool,
    /// Grace Blackwell.
    pub gb200: bool,
}

/// Looks an Xid up. `None`: the number is in neither catalogue nor header.
#[must_use]
pub fn lookup(code: u32) -> Option<&'static Entry> {
    let entries = entries();
    entries.binary_search_by_key(&code, |entry| entry.code).ok().map(|at| &entries[at])
}

/// Every Xid, by number.
pub fn entries() -> &'static [Entry] {
    static ENTRIES: OnceLock<Box<[Entry]>> = OnceLock::new();
    ENTRIES.get_or_init(|| rows(include_str!("../../data/xid.tsv")).filter_map(entry).collect())
}

/// One SXid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SxidEntry {
    /// Its number.
    pub code: u32,
    /// NVIDIA's name.
    pub name: &'static str,
    /// What it does to the fabric.
    pub class: SxidClass,
}

/// NVIDIA's classes of SXids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SxidClass {
    /// Work goes on.
    NonFatal,
    /// Fatal to the work that uses the port where the switch reports it as fatal, else not.
    PotentiallyFatal,
    /// The fabric has to be reset.
    AlwaysFatal,
}

impl SxidClass {
    /// Its name in the data file and in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NonFatal => "non-fatal",
            Self::PotentiallyFatal => "potentially-fatal",
            Self::AlwaysFatal => "always-fatal",
        }
    }
}

/// Looks an SXid up.
#[must_use]
pub fn lookup_sxid(code: u32) -> Option<&'static SxidEntry> {
    let entries = sxid_entries();
    entries.binary_search_by_key(&code, |entry| entry.code).ok().map(|at| &entries[at])
}

/// Every SXid, by number.
pub fn sxid_entries() -> &'static [SxidEntry] {
    static ENTRIES: OnceLock<Box<[SxidEntry]>> = OnceLock::new();
    ENTRIES
        .get_or_init(|| rows(include_str!("../../data/sxid.tsv")).filter_map(sxid_entry).collect())
}

/// Lines of a data file that are neither comments nor empty, split at tabs.
pub(super) fn rows(text: &'static str) -> impl Iterator<Item = impl Iterator<Item = &'static str>> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split('\t'))
}

/// A field that may be empty.
pub(super) fn given(field: &'static str) -> Option<&'static str> {
    (!field.is_empty()).then_some(field)
}

fn entry(mut fields: impl Iterator<Item = &'static str>) -> Option<Entry> {
    let code = fields.next()?.parse().ok()?;
    let mnemonic = fields.next()?;
    let alias = given(fields.next()?);
    let usage = match fields.next()? {
        "catalogue" => Usage::Catalogue,
        "unused" => Usage::Unused,
        "header" => Usage::HeaderOnly,
        _ => return None,
    };
    let immediate = Action::from_name(fields.next()?);
    let investigatory = Action::from_name(fields.next()?);
    let (severity, severity_rule) = match (Severity::from_name(fields.next()?), immediate) {
        (Some(ours), _) => (ours, SeverityRule::Ours),
        (None, Some(action)) => (action.severity(), SeverityRule::NvidiaAction),
        (None, None) => (Severity::Warning, SeverityRule::Ours),
    };
    let architectures = fields.next()?;
    Some(Entry {
        code,
        mnemonic,
        alias,
        usage,
        immediate,
        investigatory,
        severity,
        severity_rule,
        architectures: Architectures {
            a100: architectures.contains('A'),
            h100: architectures.contains('H'),
            b100: architectures.contains('B'),
            gb200: architectures.contains('G'),
        },
        xid154_since: given(fields.next()?),
        meaning: given(fields.next()?),
    })
}

fn sxid_entry(mut fields: impl Iterator<Item = &'static str>) -> Option<SxidEntry> {
    let code = fields.next()?.parse().ok()?;
    let class = match fields.next()? {
        "non-fatal" => SxidClass::NonFatal,
        "potentially-fatal" => SxidClass::PotentiallyFatal,
        "always-fatal" => SxidClass::AlwaysFatal,
        _ => return None,
    };
    Some(SxidEntry { code, name: fields.next()?, class })
}
