//! Which fault leads to which.
//!
//! The relations are in `agent/data/cascades.tsv`, each with its source. They say what follows from what and not when:
//! how long a consequence may take is for whoever has the times.

use std::sync::OnceLock;

use super::catalogue::rows;
use super::{Fault, Kind, PciAddress, Severity};

/// One relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    first: Vec<Pattern>,
    then: Vec<Pattern>,
    place: Place,
    /// Why the second follows, for people.
    pub why: &'static str,
}

/// What is compared of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    pub kind: Kind,
    pub code: Option<u32>,
    pub pci: Option<PciAddress>,
    pub severity: Severity,
}

impl Subject {
    #[must_use]
    pub fn of(fault: &Fault<'_>, severity: Severity) -> Self {
        Self { kind: fault.kind, code: fault.code, pci: fault.pci, severity }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pattern {
    Xid(u32),
    Kind(Kind),
    /// Every fault that stands by itself.
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Same,
    Above,
    Any,
}

/// Xids that are the cause of nothing: clean-up, repairs that were noted, tests, and what sums up others.
const NOTES: [u32; 17] =
    [14, 45, 63, 92, 93, 106, 107, 121, 154, 156, 157, 160, 161, 162, 163, 164, 177];

/// The relations in which `then` can be the consequence.
pub fn causes_of(then: Subject) -> impl Iterator<Item = &'static Relation> {
    relations().iter().filter(move |row| row.then.iter().any(|pattern| pattern.fits(then)))
}

impl Relation {
    /// Whether `first` can be the cause of `then`, which is one of this relation's consequences.
    #[must_use]
    pub fn holds(&self, first: Subject, then: Subject) -> bool {
        self.first.iter().any(|pattern| pattern.fits(first)) && self.place.fits(first.pci, then.pci)
    }
}

impl Pattern {
    fn fits(self, subject: Subject) -> bool {
        match self {
            Self::Xid(code) => subject.kind == Kind::Xid && subject.code == Some(code),
            Self::Kind(kind @ (Kind::Aer | Kind::Sxid)) => {
                subject.kind == kind && subject.severity >= Severity::Error
            }
            Self::Kind(kind) => subject.kind == kind,
            Self::Any => match subject.kind {
                Kind::Xid => subject.code.is_some_and(|code| !NOTES.contains(&code)),
                kind => kind == Kind::BusLoss,
            },
        }
    }

    fn of(name: &str) -> Option<Self> {
        if name == "*" {
            return Some(Self::Any);
        }
        let kinds = [
            Kind::BusLoss,
            Kind::InitFailure,
            Kind::ResetRequired,
            Kind::Gsp,
            Kind::Aer,
            Kind::Sxid,
        ];
        let kind = kinds.into_iter().find(|kind| kind.name() == name).map(Self::Kind);
        kind.or_else(|| name.parse().ok().map(Self::Xid))
    }
}

impl Place {
    fn fits(self, first: Option<PciAddress>, then: Option<PciAddress>) -> bool {
        match (self, first, then) {
            (Self::Any, _, _) | (Self::Same | Self::Above, Some(_), None) => true,
            (Self::Same, first, then) => first.is_some() && first == then,
            // A bridge has a lower number than every bus below it.
            (Self::Above, Some(port), Some(device)) => {
                port.domain == device.domain && (port == device || port.bus < device.bus)
            }
            (Self::Above, None, _) => false,
        }
    }
}

fn relations() -> &'static [Relation] {
    static RELATIONS: OnceLock<Box<[Relation]>> = OnceLock::new();
    RELATIONS.get_or_init(|| {
        rows(include_str!("../../data/cascades.tsv")).filter_map(relation).collect()
    })
}

fn relation(mut fields: impl Iterator<Item = &'static str>) -> Option<Relation> {
    let mut patterns = || fields.next()?.split(',').map(Pattern::of).collect::<Option<Vec<_>>>();
    Some(Relation {
        first: patterns()?,
        then: patterns()?,
        place: match fields.next()? {
            "same" => Place::Same,
            "above" => Place::Above,
            "any" => Place::Any,
            _ => return None,
        },
        why: fields.next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{assess, catalogue, parse};
    use super::*;

    fn subject(line: &str) -> Subject {
        let fault = parse(line.as_bytes()).unwrap();
        Subject::of(&fault, assess(&fault).severity)
    }

    fn why(first: &str, then: &str) -> Option<&'static str> {
        let (first, then) = (subject(first), subject(then));
        causes_of(then).find(|relation| relation.holds(first, then)).map(|relation| relation.why)
    }

    #[test]
    fn every_row_of_the_file_is_read_and_names_what_a_catalogue_has() {
        let text = include_str!("../../data/cascades.tsv");
        assert_eq!(relations().len(), rows(text).count());
        for pattern in relations().iter().flat_map(|row| row.first.iter().chain(&row.then)) {
            let Pattern::Xid(code) = pattern else { continue };
            assert!(catalogue::lookup(*code).is_some(), "{code}");
        }
        assert!(NOTES.iter().all(|code| catalogue::lookup(*code).is_some()));
    }

    #[test]
    fn a_consequence_is_of_the_same_gpu() {
        let dbe = "NVRM: Xid (PCI:0000:3b:00): 48, pid=1, name=a, x";
        assert!(why(dbe, "NVRM: Xid (PCI:0000:3b:00): 63, pid=1, name=a, x").is_some());
        assert!(why(dbe, "NVRM: Xid (PCI:0000:5e:00): 63, pid=1, name=a, x").is_none());
        assert!(why("NVRM: Xid (PCI:0000:3b:00): 63, x", dbe).is_none());
        // The line that names no device may be of any.
        assert!(why(dbe, "NVRM: x: Reset required [NV_ERR_RESET_REQUIRED] (0x00000062)").is_some());
    }

    #[test]
    fn a_link_goes_down_with_what_is_at_its_other_end() {
        let lost = "NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.";
        let link = "NVRM: Xid (PCI:0000:5e:00): 74, NVLink: fatal error detected on link 1";
        let fatal =
            "nvidia-nvswitch1: SXid (PCI:0000:06:00.0): 20034, Fatal, Link 48 LTSSM Fault Up";
        let noted = "nvidia-nvswitch3: SXid (PCI:0000:04:00.0): 22013, Non-fatal, Link 44 Minion";
        assert!([why(lost, link), why(lost, fatal), why(fatal, link)].iter().all(Option::is_some));
        assert_eq!((why(noted, link), why(lost, noted)), (None, None));
    }

    #[test]
    fn an_uncorrected_pcie_error_of_a_port_above_comes_before_a_loss() {
        let lost = "NVRM: Xid (PCI:0000:02:00): 79, GPU has fallen off the bus.";
        let port =
            |at: &str| format!("pcieport {at}: AER: Uncorrected (Fatal) error received: id=0010");
        assert!(why(&port("0000:00:02.0"), lost).is_some());
        assert!(why(&port("0000:16:02.0"), lost).is_none());
        assert!(why(&port("0001:00:02.0"), lost).is_none());
        let corrected = "pcieport 0000:00:02.0: AER: Corrected error received: id=0010";
        assert!(why(corrected, lost).is_none());
    }

    #[test]
    fn a_note_is_the_cause_of_nothing() {
        let cleanup = "NVRM: Xid (PCI:0000:02:00): 45, pid=1, name=a, Ch 1";
        for code in NOTES {
            assert!(why(&format!("NVRM: Xid (PCI:0000:02:00): {code}, x"), cleanup).is_none());
        }
        assert!(why("NVRM: Xid (PCI:0000:02:00): 4711, x", cleanup).is_some());
    }
}
