//! What two GPUs are to each other, as NVML says it.

use super::relation::Relation;
use crate::gpu::{GpuError, inventory, raw, reading, worker::Session};

/// One GPU seen from another. An `Err` says why NVML does not tell.
#[derive(Debug, Clone)]
pub struct Pair {
    pub other: u32,
    pub relation: Result<Relation, Untold>,
    /// In the order of [`Capability::ALL`].
    pub p2p: [Result<P2pStatus, Untold>; Capability::ALL.len()],
}

/// Why NVML does not tell something of two GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untold {
    pub reason: String,
    /// The board or driver does not have it, as opposed to failing.
    pub by_design: bool,
}

/// What a GPU may do with another's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    Read,
    Write,
    Nvlink,
    Atomics,
    Pcie,
}

impl Capability {
    /// In NVML's order, which is that of their numbers.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::Nvlink, Self::Atomics, Self::Pcie];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Nvlink => "nvlink",
            Self::Atomics => "atomics",
            Self::Pcie => "pcie",
        }
    }

    /// `NVML_P2P_CAPS_INDEX_*`.
    fn number(self) -> u32 {
        match self {
            Self::Read => 0,
            Self::Write => 1,
            Self::Nvlink => 2,
            Self::Atomics => 3,
            Self::Pcie => 4,
        }
    }
}

/// `NVML_P2P_STATUS_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct P2pStatus(u32);

impl P2pStatus {
    pub const OK: Self = Self(0);

    /// As `nvidia-smi topo -p2p` writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            0 => "OK",
            1 => "CNS",
            2 => "GNS",
            3 => "TNS",
            4 => "DR",
            5 => "NS",
            _ => "U",
        }
    }

    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self.0 {
            0 => "ok",
            1 => "the chipset does not support it",
            2 => "a GPU does not support it",
            3 => "the topology does not support it",
            4 => "disabled by a registry key of the driver",
            5 => "not supported",
            _ => "unknown",
        }
    }
}

/// Asks what GPU `index` is to each of `others`. Ask about such as have just answered for themselves.
pub fn pairs(session: &Session<'_>, index: u32, others: &[u32]) -> Result<Vec<Pair>, GpuError> {
    let own = inventory::device(session.nvml, session, index)?;
    let pair = |other| {
        let device = match inventory::device(session.nvml, session, other) {
            Ok(device) => device,
            Err(error) => return Pair::untold(other, &error.to_string()),
        };
        let relation = ask(session, "nvmlDeviceGetTopologyCommonAncestor", || {
            raw::common_ancestor(&own, &device)
        })
        .and_then(|level| {
            Relation::of_level(level).ok_or_else(|| Untold {
                reason: format!("NVML_TOPOLOGY {level} is not known to this agent"),
                by_design: true,
            })
        });
        let p2p = Capability::ALL.map(|capability| {
            let status = || raw::p2p_status(&own, &device, capability.number());
            ask(session, "nvmlDeviceGetP2PStatus", status).map(P2pStatus)
        });
        Pair { other, relation, p2p }
    };
    Ok(others.iter().copied().filter(|other| *other != index).map(pair).collect())
}

fn ask<T>(
    session: &Session<'_>,
    call: &'static str,
    ask: impl FnOnce() -> Result<T, nvml_wrapper::error::NvmlError>,
) -> Result<T, Untold> {
    session.progress.during(call, ask).map_err(|error| Untold {
        reason: format!("{call}: {}", reading::reason(&error)),
        by_design: reading::is_by_design(&error),
    })
}

impl Pair {
    /// What NVML says of one capability.
    pub fn p2p(&self, what: Capability) -> Result<P2pStatus, &Untold> {
        let [read, write, nvlink, atomics, pcie] = &self.p2p;
        let status = match what {
            Capability::Read => read,
            Capability::Write => write,
            Capability::Nvlink => nvlink,
            Capability::Atomics => atomics,
            Capability::Pcie => pcie,
        };
        status.as_ref().copied()
    }

    fn untold(other: u32, reason: &str) -> Self {
        let untold = Untold { reason: reason.to_owned(), by_design: false };
        let p2p = Capability::ALL.map(|_| Err(untold.clone()));
        Self { other, relation: Err(untold), p2p }
    }
}
