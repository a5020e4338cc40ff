//! Which kernel module drives the GPUs: NVIDIA publishes it as open source and as a binary, and newer boards run with the
//! open one alone.

use std::path::Path;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelModule {
    pub flavour: Flavour,
    pub version: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    Open,
    Proprietary,
}

impl KernelModule {
    /// The driver's branch: 580 of 580.95.05.
    #[must_use]
    pub fn branch(&self) -> Option<u16> {
        self.version.as_ref()?.split_once('.')?.0.parse().ok()
    }
}

impl Flavour {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Proprietary => "proprietary",
        }
    }
}

/// Where the module says it, the same in every container.
pub const PATH: &str = "proc/driver/nvidia/version";

/// What the module that is loaded says of itself. `host` is where the host's files are. The error is why it is not known.
pub fn read(host: &Path) -> Result<KernelModule, String> {
    let text = std::fs::read_to_string(host.join(PATH))
        .map_err(|error| format!("cannot be read below {}: {error}", host.display()))?;
    parse(&text).ok_or_else(|| "has no line of NVIDIA's module".to_owned())
}

/// `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (…)`, or
/// `NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 …`.
fn parse(text: &str) -> Option<KernelModule> {
    let line = text.lines().find_map(|line| line.strip_prefix("NVRM version:"))?;
    let flavour =
        if line.contains("Open Kernel Module") { Flavour::Open } else { Flavour::Proprietary };
    let (_, behind) = line.split_once("Kernel Module")?;
    let is_version =
        |word: &&str| word.contains('.') && word.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let version = behind.split_whitespace().find(is_version).map(ToOwned::to_owned);
    Some(KernelModule { flavour, version })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_flavours_are_told_apart() {
        for (line, flavour, version, branch) in [
            (
                "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs-builder@U22)  Tue Sep 23",
                Flavour::Open,
                "580.95.05",
                580,
            ),
            (
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023",
                Flavour::Proprietary,
                "535.129.03",
                535,
            ),
            (
                "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  570.86.15  Release Build",
                Flavour::Open,
                "570.86.15",
                570,
            ),
        ] {
            let module = parse(&format!("{line}\nGCC version:  gcc version 12.3.0\n"));
            let expected = KernelModule { flavour, version: Some(version.to_owned()) };
            assert_eq!(expected.branch(), Some(branch));
            assert_eq!(module, Some(expected));
        }
        assert_eq!(parse(""), None);
        assert_eq!(parse("GCC version:  gcc version 12.3.0\n"), None);
    }
}
