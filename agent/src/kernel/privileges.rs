//! What this process may do, read from the kernel and not from the user id.

use std::{fs, path::Path};

use rustix::thread::{CapabilitySet, capabilities};

/// Whether process ids as this process sees them are the node's: it is in the initial PID namespace. In a pod that is
/// `hostPID: true`. Not known is no.
#[must_use]
pub fn in_initial_pid_namespace() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| is_initial(&link))
}

/// The initial namespace has a number of its own: `PROC_PID_INIT_INO` of include/linux/proc_ns.h, 0xEFFFFFFC.
fn is_initial(link: &Path) -> bool {
    link == Path::new("pid:[4026531836]")
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_initial_pid_namespace_is_the_nodes() {
        assert!(is_initial(Path::new("pid:[4026531836]")));
        for other in ["pid:[4026532321]", "pid:[4026531837]", "net:[4026531836]", ""] {
            assert!(!is_initial(Path::new(other)), "{other}");
        }
        // The kernel's own threads are in the initial one alone, and the first of them has the number 2 there.
        let sees_kernel = fs::read_to_string("/proc/2/comm").is_ok_and(|comm| comm == "kthreadd\n");
        assert_eq!(in_initial_pid_namespace(), sees_kernel);
    }
}
