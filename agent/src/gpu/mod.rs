//! NVML: what the GPUs of this node are and how they are.
//!
//! - [`library`] finds `libnvidia-ml.so.1` and tells the simulator from the real one.
//! - [`worker`] owns NVML on threads of its own, one for each GPU, and answers with a deadline ([`lane`]), because a sick
//!   driver hangs in calls.
//! - [`reading`] reads one value and remembers why it is absent when it is.
//! - [`events`] hears Xids by NVML's event set; [`bus`] is what the driver has and NVML does not tell of, [`device_files`] what
//!   keeps NVML from being asked.
//! - [`sample`] is one reading of what moves, for the timeline.
//! - [`inventory`], [`health`], [`processes`] and [`topology`] are the views, [`pcie`] is part of the first two; [`raw`] holds
//!   the calls nvml-wrapper does not wrap. [`kernel_module`] is what the driver's module says of itself.
//!
//! Nothing here knows MCP, eBPF or JSON.

pub mod bus;
mod device_files;
pub mod events;
pub mod health;
pub mod inventory;
pub mod kernel_module;
mod lane;
pub mod library;
mod links;
mod numbers;
pub mod pcie;
pub mod processes;
pub mod raw;
pub mod reading;
pub mod sample;
pub mod topology;
pub mod worker;

use std::time::{Duration, SystemTime};

pub use library::{Mode, Unavailable};
pub use worker::Worker;

use crate::xid::PciAddress;

/// Why a question to NVML has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GpuError {
    /// There is no NVML to ask. The remedy is in [`Unavailable::remedy`]; asking again tries to load it again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A call into the driver has not come back. Do not ask again before it does; the GPU or its driver is stuck.
    #[error("{call} has not come back for {} s: the driver is stuck in it", for_.as_secs())]
    Hung {
        /// What NVML was asked when it stopped answering.
        call: &'static str,
        /// When that call was made.
        since: SystemTime,
        /// How long it had been in the driver when this answer was given.
        for_: Duration,
    },
    /// The driver initialises a GPU, or is about to hang. Ask again in a minute.
    #[error("{call} has not come back for {} s: the driver initialises the GPU, or hangs", for_.as_secs())]
    Starting {
        /// What NVML was asked first.
        call: &'static str,
        /// How long it had been in the driver when this answer was given.
        for_: Duration,
    },
    /// Each call comes back in time, and all of them together do not. Ask for less, or later.
    #[error("NVML has not answered in {} s, though each of its calls comes back", for_.as_secs())]
    Slow {
        /// How long the answer was waited for.
        for_: Duration,
    },
    /// NVML answered with an error that concerns the whole question.
    #[error("{call}: {reason}")]
    Call {
        /// The NVML function.
        call: &'static str,
        /// NVML's own words.
        reason: String,
    },
    /// The question named a GPU that this node does not have.
    #[error("no GPU {wanted:?} on this node; it has {known}")]
    NoSuchGpu {
        /// What was asked for.
        wanted: String,
        /// The GPUs there are, as index, PCI address and UUID.
        known: String,
    },
}

impl GpuError {
    /// What to do next.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Unavailable(unavailable) => unavailable.remedy(),
            Self::Hung { .. } => "Look at analyze_xid_errors for what happened before it (Xid 119 and 120 are a GSP that \
                                  does not answer). The call cannot be cancelled; a GPU reset or a reboot of the node ends it."
                .to_owned(),
            Self::Starting { .. } => "Ask again in a minute. Without persistence mode the driver initialises a GPU that nobody has open with the first \
                                      call, which takes seconds and on some boards half a minute: nvidia-persistenced, or `nvidia-smi -pm 1`, spares that."
                .to_owned(),
            Self::Slow { .. } => "Ask again for one GPU. A driver that is slow for minutes is about to hang or works on a fault: see \
                                  analyze_xid_errors."
                .to_owned(),
            Self::Call { .. } => "Run `nvidia-smi -q` on the node to see whether the driver answers anybody; look at \
                                  analyze_xid_errors for a fault that explains it."
                .to_owned(),
            Self::NoSuchGpu { .. } => {
                "Name a GPU by its index, its PCI address (0000:1b:00.0) or its UUID (GPU-…); get_gpu_inventory lists them."
                    .to_owned()
            }
        }
    }
}

/// One GPU by any of its names. A GPU that fell off the bus keeps its PCI address only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuName {
    /// NVML's index, stable until the next driver load.
    pub index: u32,
    pub pci: Option<PciAddress>,
    /// `GPU-…`, stable over reboots.
    pub uuid: Option<String>,
    /// The N of `/dev/nvidiaN`, by which the kernel's view of a device is joined with this one. No name that people use.
    pub minor: Option<u32>,
}

impl GpuName {
    /// Whether `wanted` is this GPU's index, PCI address or UUID.
    #[must_use]
    pub fn matches(&self, wanted: &str) -> bool {
        let wanted = wanted.trim();
        wanted.parse() == Ok(self.index)
            || self.uuid.as_deref().is_some_and(|uuid| uuid.eq_ignore_ascii_case(wanted))
            || self.pci.is_some_and(|pci| pci_address(wanted) == Some(pci))
    }
}

/// A PCI address as people type it: with the domain or without, after `PCI:` or not.
#[must_use]
pub fn pci_address(text: &str) -> Option<PciAddress> {
    let text = text.strip_prefix("PCI:").unwrap_or(text);
    PciAddress::parse(text.as_bytes())
        .or_else(|| PciAddress::parse(format!("0000:{text}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_answers_to_each_of_its_names_and_to_no_other() {
        let (pci, uuid) = (pci_address("61:00.0"), Some("GPU-ab12".into()));
        let gpu = GpuName { index: 3, pci, uuid, minor: Some(13) };
        for name in ["3", "61:00.0", "00000000:61:00.0", "PCI:0000:61:00", "gpu-AB12", " 3 "] {
            assert!(gpu.matches(name), "{name}");
        }
        for name in ["0", "13", "0001:61:00.0", "GPU-ab1", "", "-3"] {
            assert!(!gpu.matches(name), "{name}");
        }
    }
}
