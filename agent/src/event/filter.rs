//! Which events a reader wants.

use crate::xid::{Fault, Kind, PciAddress, Severity};

use super::Event;

/// Every condition that is set has to hold; none set lets everything through.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// One of these kinds.
    pub kinds: Option<Vec<Kind>>,
    /// One of these Xid or SXid numbers.
    pub codes: Option<Vec<u32>>,
    /// About the GPU at this address.
    pub pci: Option<PciAddress>,
    /// At least this bad.
    pub min_severity: Option<Severity>,
}

impl Filter {
    #[must_use]
    pub fn admits(&self, event: &Event) -> bool {
        let Self { kinds, codes, pci, min_severity } = self;
        if min_severity.is_some_and(|min| event.severity < min) {
            return false;
        }
        if kinds.is_none() && codes.is_none() && pci.is_none() {
            return true;
        }
        let about = |fault: &Fault<'_>| {
            kinds.as_ref().is_none_or(|kinds| kinds.contains(&fault.kind))
                && codes
                    .as_ref()
                    .is_none_or(|codes| fault.code.is_some_and(|code| codes.contains(&code)))
                && pci.is_none_or(|pci| fault.pci == Some(pci))
        };
        event.fault().is_some_and(|fault| about(&fault))
    }
}
