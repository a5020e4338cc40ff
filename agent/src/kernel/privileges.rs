//! What this process may do, read from the kernel and not from the user id.

use rustix::thread::{CapabilitySet, capabilities};

/// The capabilities that matter here and are effective now.
#[must_use]
pub fn effective() -> Vec<&'static str> {
    let has = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    [
        (CapabilitySet::BPF, "CAP_BPF"),
        (CapabilitySet::PERFMON, "CAP_PERFMON"),
        (CapabilitySet::SYSLOG, "CAP_SYSLOG"),
        (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    ]
    .into_iter()
    .filter_map(|(capability, name)| has.contains(capability).then_some(name))
    .collect()
}

/// The capabilities that loading the tracer needs and this process lacks. SYS_ADMIN stands in for both, as in the kernel.
#[must_use]
pub fn missing_for_tracer() -> Vec<&'static str> {
    let has = effective();
    if has.contains(&"CAP_SYS_ADMIN") {
        return Vec::new();
    }
    ["CAP_BPF", "CAP_PERFMON"].into_iter().filter(|name| !has.contains(name)).collect()
}
