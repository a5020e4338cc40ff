//! The C functions of NVML, one file per group.
//!
//! The files say which engine value goes into which argument and hold no `unsafe`. How an argument crosses the
//! boundary is in [`args`], what every call has in common in [`export`]; those two hold all of it.
//!
//! Left out on purpose are the first versions of calls whose struct has grown since under the same name in the header
//! (`nvmlDeviceGetPciInfo`, `nvmlEventSetWait`): a client that still calls them has allocated less than the bindings say,
//! and a missing symbol is a better answer than a corrupted caller.

use crate::engine::faults::Subject;
use export::Kind;

#[macro_use]
pub mod export;
pub mod args;
pub mod handle;

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
pub mod older;
pub mod pcie;
pub mod platform;
pub mod processes;
pub mod samples;
pub mod thermal;
pub mod throttle;
pub mod topology;

/// All exported NVML functions, group by group.
const GROUPS: &[&[(&str, Kind)]] = &[
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
    older::SYMBOLS,
    pcie::SYMBOLS,
    platform::SYMBOLS,
    processes::SYMBOLS,
    samples::SYMBOLS,
    thermal::SYMBOLS,
    throttle::SYMBOLS,
    topology::SYMBOLS,
];

/// The names of all exported NVML functions.
pub fn symbols() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().copied().flatten().map(|(symbol, _)| *symbol)
}

/// Whether there is such a function, and a scenario may name it in the faults of this subject. A name that ends in a star
/// stands for all functions that begin so; in the node's faults for those about a GPU too.
#[must_use]
pub fn exports(symbol: &str, subject: Subject) -> bool {
    let mut known = GROUPS.iter().copied().flatten();
    match symbol.strip_suffix('*') {
        None => known.any(|(known, kind)| *known == symbol && kind.is_about(subject)),
        Some(beginning) => known.any(|(known, kind)| {
            known.starts_with(beginning) && (subject == Subject::Node || kind.is_about(subject))
        }),
    }
}
