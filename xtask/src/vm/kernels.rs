//! Which kernels are booted, and what is expected on each: the one place that says so. `docs/kernels.md` says why.

use crate::arch::Arch;

/// A kernel of Debian's that is booted.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// What it is called here; the version, where that is the suite's for good.
    pub(crate) name: &'static str,
    /// Debian's suites that are looked through for it; the newest is taken.
    pub(crate) suites: &'static [&'static str],
    /// Parameters of the stand-in: old kernels have the device names of old drivers.
    pub(crate) standin: &'static str,
}

pub(crate) const KERNELS: &[Wanted] = &[
    Wanted { name: "5.10", suites: &["bullseye"], standin: "older=1" },
    Wanted { name: "6.1", suites: &["bookworm"], standin: "" },
    Wanted { name: "6.12", suites: &["trixie"], standin: "" },
    Wanted { name: "newest", suites: &["sid", "trixie-backports"], standin: "" },
];

/// Kernels that CI's machines cannot have, each with the reason. Any other that is not had fails CI.
pub(crate) const CI_CANNOT_HAVE: &[(&str, &str)] = &[];

/// Linux's version, as far as it decides.
pub(crate) type Version = (u32, u32);

const ANY: Version = (0, 0);

/// A check, and from which version on it must say which word; the last that applies counts.
pub(crate) type Expected = (&'static str, &'static [(Version, &'static str)]);

/// The checks in the order of the table, as `tests/vm/guest/main.rs` names them.
const CHECKS: &[Expected] = &[
    ("standin", &[(ANY, "works")]),
    ("load", &[(ANY, "live")]),
    ("xid_process", &[(ANY, "unknown"), ((6, 0), "kernel")]),
    ("xid_interrupt", &[(ANY, "unknown"), ((6, 0), "kernel")]),
    ("xid_softirq", &[(ANY, "unknown"), ((6, 0), "kernel")]),
    ("xid_workqueue", &[(ANY, "unknown"), ((6, 0), "kernel")]),
    ("xid_forged", &[(ANY, "unknown"), ((6, 0), "user")]),
    ("tracepoint", &[(ANY, "confirms")]),
    ("kernel_log", &[(ANY, "read")]),
    ("attach", &[(ANY, "fentry")]),
    ("open", &[(ANY, "told")]),
    ("ioctl", &[(ANY, "told")]),
    ("failed", &[(ANY, "told")]),
    ("stall", &[(ANY, "told")]),
    ("fork", &[(ANY, "told")]),
    ("attribution_v2", &[(ANY, "named")]),
    ("attribution_v1", &[(ANY, "named")]),
];

/// What differs on arm64: its trampolines are of 6.0, and what lets programs onto functions by them of 6.4.
const ON_ARM64: &[Expected] = &[("attach", &[(ANY, "tracepoints"), ((6, 4), "fentry")])];

/// The checks of a kind of machine.
pub(crate) fn checks(arch: Arch) -> impl Iterator<Item = Expected> {
    let others = if arch == Arch::Arm64 { ON_ARM64 } else { &[] };
    CHECKS
        .iter()
        .map(move |check| *others.iter().find(|(name, _)| *name == check.0).unwrap_or(check))
}

/// The word that a check must say on a kernel.
pub(crate) fn expected(words: &[(Version, &'static str)], on: Version) -> &'static str {
    let mut applies = words.iter().filter(|(since, _)| *since <= on);
    applies.next_back().map_or("", |(_, word)| word)
}

/// The version in a release: `6.1.0-50-cloud-amd64`.
pub(crate) fn version(release: &str) -> Option<Version> {
    let mut numbers = release.split(['.', '-', '+']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_that_applies_counts() {
        let words: &[_] = &[(ANY, "unknown"), ((6, 0), "kernel")];
        assert_eq!(expected(words, version("5.10.0-32-cloud-amd64").unwrap()), "unknown");
        assert_eq!(expected(words, version("6.12.107+deb13-cloud-amd64").unwrap()), "kernel");
        assert_eq!(version("nonsense"), None);
    }

    #[test]
    fn arm64_differs_where_it_says_so_and_nowhere_else() {
        let differ = |on| {
            let both = checks(Arch::Amd64).zip(checks(Arch::Arm64));
            let differ = both.filter(|(one, other)| expected(one.1, on) != expected(other.1, on));
            differ.map(|(one, _)| one.0).collect::<Vec<_>>()
        };
        assert_eq!(differ((6, 1)), ["attach"]);
        assert_eq!(differ((6, 12)), [""; 0]);
    }
}
