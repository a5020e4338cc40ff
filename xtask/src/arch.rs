//! The kinds of machines that the agent is for, by each of their names.

use std::env::consts::ARCH;

use anyhow::{Result, bail};
use clap::ValueEnum;

/// Named as Kubernetes, container images and Debian do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    /// This machine's.
    pub(crate) fn here() -> Result<Self> {
        match ARCH {
            "x86_64" => Ok(Self::Amd64),
            "aarch64" => Ok(Self::Arm64),
            other => bail!("the agent's eBPF is for x86_64 and aarch64, and this is {other}"),
        }
    }

    /// As Debian says it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// As Rust says it, aya-ebpf and QEMU.
    pub(crate) fn rust(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// Rust's target.
    pub(crate) fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.rust())
    }

    /// The prefix of GNU's tools.
    pub(crate) fn gnu(self) -> String {
        format!("{}-linux-gnu", self.rust())
    }
}
