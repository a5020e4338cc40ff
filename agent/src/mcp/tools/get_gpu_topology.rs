//! `get_gpu_topology`: how the GPUs are linked, and what is near to what.
//!
//! Arguments: `gpu` (index, PCI address or UUID; all when left out), `detail` (`summary` or `full`: adds every NVLink with state,
//! speed, error counters and peer, P2P pair by pair, the rows of NICs and the PCIe tree).
//!
//! The matrix is that of `nvidia-smi topo -m`. `NV#` are # NVLinks that are up: those that lead from one GPU to the other, or
//! as many as both have to switches, which lead to every GPU of the fabric. Else it is PCIe, from near to far: `PSB` (one
//! board; `nvidia-smi` has `PIX` there), `PIX` (one switch), `PXB` (several), `PHB` (the host bridge), `NODE` (the NUMA node),
//! `SYS`. NICs are those with an RDMA device by its number, then the others; a summary has the first twelve. A GPU that is
//! lost or hangs is `?`, and null in the structured answer with its reason in `gpus[].error`; the rest of the matrix stays.
//! Where a summary of many GPUs has no room for each null's reason beside it, `reasons` and `absent` have each reason once.
//!
//! P2P statuses are those of `nvidia-smi topo -p2p`: `OK`, `CNS` (the chipset does not support it), `GNS` (a GPU), `TNS` (the
//! topology), `NS` (not supported), `DR` (disabled), `U` (unknown). `notes` say what is not alike where it should be; an error
//! that a link has counted since the driver was loaded is worth a look, and `get_gpu_health` judges the GPU.
//!
//! Sources: NVML for GPUs, their links, CPUs and memory; `/sys/bus/pci` for NICs and the tree, which a pod has without a mount.
//!
//! ```text
//!       GPU0  GPU1  GPU2  GPU3  NIC0  NIC1  CPU Affinity   NUMA Affinity  GPU NUMA ID
//! GPU0  X     NV12  SYS   SYS   PIX   SYS   48-63,176-191  3              N/A
//! GPU1  NV12  X     SYS   SYS   PXB   SYS   48-63,176-191  3              N/A
//! GPU2  SYS   SYS   X     NV11  SYS   PIX   16-31,144-159  1              N/A
//! GPU3  SYS   SYS   NV11  X     SYS   PXB   16-31,144-159  1              N/A
//! NV#: # NVLinks, bonded
//! PIX: below one PCIe switch or bridge
//! PXB: below several PCIe switches of one host bridge
//! SYS: through the interconnect between NUMA nodes
//! NIC0: mlx5_0 0000:0c:00.0
//! NIC1: mlx5_1 0000:4b:00.0
//! NVLink of GPU 0, 1: 12 of 12 up, version 3.0, each 25781 MB/s and direction
//! NVLink of GPU 2, 3: 11 of 12 up, down 11, version 3.0, each 25781 MB/s and direction
//! P2P by ordered pairs of GPUs: read OK 12, write OK 12, nvlink OK 12, atomics OK 12, pcie NS 12
//! nvlink_down: GPU 2: 1 of 12 NVLinks down: 11
//! nvlink_down: GPU 3: 1 of 12 NVLinks down: 11
//! ```

mod answer;
mod making;
mod size;
mod text;
mod tree;

use std::path::PathBuf;

use rmcp::schemars::{self, JsonSchema};
use serde::Deserialize;

use self::answer::Topology;
use super::select::{self, Detail, GpuArgument};
use crate::{
    gpu::{
        topology::{self, Matrix, Read, Tree},
        worker::Session,
    },
    mcp::tool::{Call, Refusal, Tool},
    node::Node,
    xid::PciAddress,
};

#[derive(Debug)]
pub struct GetGpuTopology;

/// Which GPU, and how much of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// One GPU by index, PCI address or UUID, and what the others are to it; all when left out.
    #[serde(default)]
    gpu: Option<GpuArgument>,
    /// `summary` (default), or `full` for every link, P2P status and the PCIe tree.
    #[serde(default)]
    detail: Detail,
}

impl Tool for GetGpuTopology {
    const NAME: &'static str = "get_gpu_topology";
    const TITLE: &'static str = "GPU topology";
    const DESCRIPTION: &'static str = "How this node's GPUs are linked: the matrix of nvidia-smi topo -m (NVLinks, PCIe nearness, NICs, CPU and NUMA affinity), \
        NVLinks up, down and erring, P2P status, and `notes` on what is not alike. detail=full adds every NVLink with state, speed, error counters and \
        peer, P2P pair by pair, and the PCIe tree. For whether a GPU is well, call get_gpu_health.";
    type Input = Input;
    type Answer = Topology;

    async fn call(node: &Node, input: Input, _: &Call) -> Result<Topology, Refusal> {
        let wanted = match &input.gpu {
            Some(gpu) => select::gpus(node, Some(gpu)).await?.first().map(|gpu| gpu.index),
            None => None,
        };
        let matrix = read(node).await?;
        let mut topology = Topology::of(node, &matrix, wanted, input.detail);
        if input.detail == Detail::Summary {
            size::shorten(&mut topology);
        }
        Ok(topology)
    }
}

/// Reads every GPU, and then what those that answered are to each other.
async fn read(node: &Node) -> Result<Matrix, Refusal> {
    let names = select::gpus(node, None).await?;
    let placed = node.gpu.ask_each(names, topology::place).await;
    let mut gpus: Vec<_> = placed
        .into_iter()
        .map(|(name, place)| Read { name, place, pairs: Ok(Vec::new()) })
        .collect();
    let answering: Vec<_> =
        gpus.iter().filter(|gpu| gpu.failure().is_none()).map(|gpu| gpu.name.clone()).collect();
    let others: Vec<u32> = answering.iter().map(|name| name.index).collect();
    let question =
        move |session: &Session<'_>, index: u32| topology::pairs(session, index, &others);
    for (name, pairs) in node.gpu.ask_each(answering, question).await {
        if let Some(gpu) = gpus.iter_mut().find(|gpu| gpu.name.index == name.index) {
            gpu.pairs = pairs;
        }
    }
    let root: PathBuf = node.devices.root().to_owned();
    let addresses: Vec<PciAddress> = gpus.iter().filter_map(|gpu| gpu.name.pci).collect();
    let tree =
        node.gpu.read_files(topology::tree::DEVICES, move || Tree::read(&root, &addresses)).await;
    let tree = tree.unwrap_or_else(|error| Err(std::io::Error::other(error).into()));
    Ok(Matrix { gpus, tree })
}
