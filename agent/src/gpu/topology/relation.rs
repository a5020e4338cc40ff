//! How near two devices are by PCIe, in the words of `nvidia-smi topo -m`.

/// From near to far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// On one board.
    Board,
    /// Below one PCIe switch, or two functions of one card.
    Switch,
    /// Below several switches, and no host bridge between them.
    Switches,
    HostBridge,
    /// On one NUMA node, below different host bridges.
    NumaNode,
    /// On different NUMA nodes.
    System,
}

impl Relation {
    /// `NVML_TOPOLOGY_*`. A number that is none of them is no relation.
    #[must_use]
    pub fn of_level(level: u32) -> Option<Self> {
        Some(match level {
            0 => Self::Board,
            10 => Self::Switch,
            20 => Self::Switches,
            30 => Self::HostBridge,
            40 => Self::NumaNode,
            50 => Self::System,
            _ => return None,
        })
    }

    /// As `nvidia-smi` writes it, but for `PSB`, which is DCGM's: `nvidia-smi` has PIX there.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Board => "PSB",
            Self::Switch => "PIX",
            Self::Switches => "PXB",
            Self::HostBridge => "PHB",
            Self::NumaNode => "NODE",
            Self::System => "SYS",
        }
    }

    /// What the name stands for.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Board => "on one board",
            Self::Switch => "below one PCIe switch or bridge",
            Self::Switches => "below several PCIe switches of one host bridge",
            Self::HostBridge => "through one PCIe host bridge",
            Self::NumaNode => "through several host bridges of one NUMA node",
            Self::System => "through the interconnect between NUMA nodes",
        }
    }
}
