//! Which events a reader wants.

use crate::xid::{PciAddress, Severity};

use super::{Class, Event, Kind};

/// Every condition that is set has to hold; none set lets everything through.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub kinds: Kinds,
    /// One of these Xid or SXid numbers.
    pub codes: Option<Vec<u32>>,
    /// About the GPU at this address.
    pub pci: Option<PciAddress>,
    /// At least this bad.
    pub min_severity: Option<Severity>,
}

/// Which kinds of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Kinds {
    #[default]
    All,
    /// What the driver reported.
    Faults,
    /// For somebody who asks for none in particular: all but [`Class::Routine`].
    Unasked,
    /// One of these.
    These(Vec<Kind>),
}

impl Filter {
    /// Faults alone.
    #[must_use]
    pub fn faults() -> Self {
        Self { kinds: Kinds::Faults, ..Self::default() }
    }

    /// What is told to somebody who asks for nothing in particular.
    #[must_use]
    pub fn unasked() -> Self {
        Self { kinds: Kinds::Unasked, ..Self::default() }
    }

    #[must_use]
    pub fn admits(&self, event: &Event) -> bool {
        let Self { kinds, codes, pci, min_severity } = self;
        if min_severity.is_some_and(|min| event.severity < min) || !self.may_admit(event.class()) {
            return false;
        }
        let of_kind = |kind| match kinds {
            Kinds::These(kinds) => kinds.contains(&kind),
            Kinds::All | Kinds::Faults | Kinds::Unasked => true,
        };
        let at = |address| pci.is_none_or(|pci| address == Some(pci));
        if let Some(access) = event.access() {
            return of_kind(access.kind()) && at(access.pci);
        }
        if !matches!(kinds, Kinds::These(_)) && codes.is_none() && pci.is_none() {
            return true;
        }
        event.fault().is_some_and(|fault| {
            of_kind(Kind::Fault(fault.kind))
                && at(fault.pci)
                && codes
                    .as_ref()
                    .is_none_or(|codes| fault.code.is_some_and(|code| codes.contains(&code)))
        })
    }

    /// Whether there can be an event of this class that it admits.
    #[must_use]
    pub fn may_admit(&self, class: Class) -> bool {
        let Self { kinds, codes, pci: _, min_severity } = self;
        // Nothing that a process does has a number, and what it does on any day is no error.
        (class == Class::Fault || codes.is_none())
            && (class != Class::Routine || min_severity.is_none_or(|min| min < Severity::Error))
            && match kinds {
                Kinds::All => true,
                Kinds::Faults => class == Class::Fault,
                Kinds::Unasked => class != Class::Routine,
                Kinds::These(kinds) => kinds.iter().any(|kind| kind.may_be(class)),
            }
    }
}
