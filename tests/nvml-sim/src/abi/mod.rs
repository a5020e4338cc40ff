//! The C functions of NVML, one file per group.
//!
//! The files say which engine value goes into which argument and hold no `unsafe`. How an argument crosses the
//! boundary is in [`args`], what every call has in common in [`export`]; those two hold all of it.
//!
//! Left out on purpose are the first versions of calls whose struct has grown since under the same name in the header
//! (`nvmlDeviceGetPciInfo`, `nvmlDeviceGetComputeRunningProcesses`, `nvmlEventSetWait`): a client that still calls them
//! has allocated less than the bindings say, and a missing symbol is a better answer than a corrupted caller.

use crate::engine::faults::Subject;
use export::Kind;

#[macro_use]
pub mod export;
pub mod args;
pub mod handle;

pub mod affinity;
pub mod confidential;
pub mod ecc;
pub mod enumeration;
pub mod events;
pub mod fields;
pub mod identity;
pub mod lifecycle;
pub mod load;
pub mod marker;
pub mod memory;
pub mod mig;
pub mod nvlink;
pub mod pcie;
pub mod platform;
pub mod processes;
pub mod thermal;
pub mod throttle;

/// All exported NVML functions, group by group.
const GROUPS: &[&[(&str, Kind)]] = &[
    affinity::SYMBOLS,
    confidential::SYMBOLS,
    ecc::SYMBOLS,
    enumeration::SYMBOLS,
    events::SYMBOLS,
    fields::SYMBOLS,
    identity::SYMBOLS,
    lifecycle::SYMBOLS,
    load::SYMBOLS,
    memory::SYMBOLS,
    mig::SYMBOLS,
    nvlink::SYMBOLS,
    pcie::SYMBOLS,
    platform::SYMBOLS,
    processes::SYMBOLS,
    thermal::SYMBOLS,
    throttle::SYMBOLS,
];

/// The names of all exported NVML functions.
pub fn symbols() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().copied().flatten().map(|(symbol, _)| *symbol)
}

/// Whether there is such a function, and a scenario may name it in the faults of this subject.
#[must_use]
pub fn exports(symbol: &str, subject: Subject) -> bool {
    GROUPS.iter().copied().flatten().any(|(known, kind)| *known == symbol && kind.is_about(subject))
}
