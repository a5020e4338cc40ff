//! The answer of `get_gpu_topology`: its types.

use std::collections::BTreeMap;

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use super::tree::TreeNode;
use crate::mcp::tools::absent::AbsentAnswer;

#[derive(Debug, Serialize, JsonSchema)]
pub struct Topology {
    /// The GPUs are simulated and do not exist.
    pub simulated: bool,
    pub node: String,
    /// What each device is to each other. GPUs first; rows of NICs with `detail: full`.
    pub matrix: Vec<RowAnswer>,
    pub gpus: Vec<GpuPlace>,
    /// The NICs of the matrix. Empty where the kernel's PCI devices are not those of the GPUs, see `absent`.
    pub nics: Vec<NicAnswer>,
    /// NICs for which a summary has no room, and virtual functions, which are parts of a NIC.
    pub nics_left_out: usize,
    /// How many ordered pairs of GPUs have which P2P status, capability by capability.
    pub p2p: Vec<P2pAnswer>,
    /// What is not as it should be, or not alike where it should be.
    pub notes: Vec<NoteAnswer>,
    /// The PCIe tree of GPUs, NICs and NVSwitches, with `detail: full` and where there is one, see `absent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<Vec<TreeNode>>,
    /// Why there is no tree, and no NIC. Where a summary of many GPUs has no room for it at each, also why values of theirs
    /// are null, each reason once.
    pub absent: Vec<AbsentAnswer>,
    /// Why relations of the matrix are null, where a summary has no room for it in each entry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct RowAnswer {
    /// GPU0, NIC0.
    pub of: String,
    pub entries: Vec<EntryAnswer>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct EntryAnswer {
    pub to: String,
    /// NV# for # NVLinks; else by PCIe, from near to far: PSB (one board), PIX (one switch), PXB (several switches), PHB (host
    /// bridge), NODE (NUMA node), SYS. Null where it is not known.
    pub relation: Option<String>,
    /// NVLinks that are up between the two, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nvlinks: Option<u32>,
    /// By PCIe, where there are NVLinks as well, with `detail: full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcie: Option<&'static str>,
    /// Why `relation` is null, or with `detail: full` `pcie`. Of a GPU that could not be asked its `error` in `gpus` says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct GpuPlace {
    pub index: u32,
    pub pci_address: Option<String>,
    pub uuid: Option<String>,
    /// Why this GPU could not be asked; null when it could.
    pub error: Option<String>,
    /// CPUs near it, as `0-55,112-167`.
    pub cpu_affinity: Option<String>,
    /// NUMA nodes whose memory is near it.
    pub numa_affinity: Option<String>,
    /// The NUMA node that its own memory is, of a GPU coherent with its CPU.
    pub gpu_numa_node: Option<u32>,
    /// Null where the board has no NVLink, or NVML does not tell.
    pub nvlinks: Option<LinksAnswer>,
    /// Links to the chip of the CPU, where it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub c2c: Option<C2cAnswer>,
    /// Every NVLink, with `detail: full` and where `nvlinks` is not null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links: Option<Vec<LinkAnswer>>,
    /// P2P with each other GPU that answers, with `detail: full` and where this one could be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p2p: Option<Vec<PeerStatus>>,
    /// Why a value is null. `by_design`: this board or driver does not have it.
    pub absent: Vec<AbsentAnswer>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct LinksAnswer {
    pub total: usize,
    pub up: usize,
    /// By number.
    pub down: Vec<u32>,
    /// That have counted errors since the driver was loaded, by number.
    pub erring: Vec<u32>,
    pub version: Option<String>,
    /// Of one link in one direction; null where they differ.
    pub speed_mb_s: Option<u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct C2cAnswer {
    pub enabled: bool,
    pub links: Option<u64>,
    pub links_up: Option<u64>,
    /// Of all links together.
    pub max_bandwidth_mb_s: Option<u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct LinkAnswer {
    pub link: u32,
    /// up, sleep (up, and saving power) or down.
    pub state: &'static str,
    pub version: Option<String>,
    /// In one direction.
    pub speed_mb_s: Option<u64>,
    pub peer: PeerAnswer,
    /// What the link has counted since the driver was loaded: replay, recovery, crc_flit, crc_data, or what NVLink 5 has
    /// instead. A counter that this board does not have is not there.
    pub errors: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct PeerAnswer {
    /// gpu, nvswitch, cpu or unknown.
    pub kind: &'static str,
    /// Null where the peer is not on the PCI bus, or the link is down and does not know.
    pub pci_address: Option<String>,
    /// Of a GPU that this node's NVML lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct PeerStatus {
    /// GPU0.
    pub to: String,
    /// OK, CNS (chipset), GNS (GPU), TNS (topology), NS (not supported), DR (disabled), U (unknown); null where NVML fails.
    pub read: Option<&'static str>,
    pub write: Option<&'static str>,
    pub nvlink: Option<&'static str>,
    pub atomics: Option<&'static str>,
    pub pcie: Option<&'static str>,
    /// Why one is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct P2pAnswer {
    /// read, write, nvlink, atomics, pcie.
    pub capability: &'static str,
    /// Ordered pairs by status: OK, CNS, GNS, TNS, NS, DR, U, and `untold` where NVML fails.
    pub pairs: BTreeMap<&'static str, u32>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct NicAnswer {
    /// As in the matrix: NIC0.
    pub name: String,
    pub pci_address: String,
    /// The RDMA device, as `mlx5_0`; null where it is none.
    pub rdma_device: Option<String>,
    /// The network interface; null where it is in another network namespace than the agent, as most are from a pod.
    pub interface: Option<String>,
    /// Null where the kernel does not know.
    pub numa_node: Option<u32>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct NoteAnswer {
    /// Stable name: gpu_unreachable, nvlink_down, nvlink_errors, nvlink_speed, nvlink_unequal, nvlink_one_sided, nvlink_unused.
    pub id: &'static str,
    pub gpus: Vec<u32>,
    pub summary: String,
}
