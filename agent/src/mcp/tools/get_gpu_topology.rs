//! `get_gpu_topology`: how the GPUs are linked, and what is near to what.
//!
//! TRANSCRIPT

mod answer;
mod making;
mod text;
mod tree;

use std::path::PathBuf;

use rmcp::schemars::{self, JsonSchema};
use serde::Deserialize;

use self::answer::Topology;
use super::select::{self, Detail, GpuArgument};
use crate::{
    gpu::topology::{self, Matrix, Read, Tree},
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
        Ok(Topology::of(node, &matrix, wanted, input.detail))
    }
}

/// Reads every GPU, and then what those that answered are to each other.
async fn read(node: &Node) -> Result<Matrix, Refusal> {
    let mut gpus = Vec::new();
    for name in select::gpus(node, None).await? {
        let index = name.index;
        let place = node.gpu.ask(move |session| topology::place(session, index)).await;
        gpus.push(Read { name, place, pairs: Ok(Vec::new()) });
    }
    let answering: Vec<u32> =
        gpus.iter().filter(|gpu| gpu.failure().is_none()).map(|gpu| gpu.name.index).collect();
    for gpu in gpus.iter_mut().filter(|gpu| answering.contains(&gpu.name.index)) {
        let (index, others) = (gpu.name.index, answering.clone());
        gpu.pairs = node.gpu.ask(move |session| topology::pairs(session, index, &others)).await;
    }
    let root: PathBuf = node.devices.root().to_owned();
    let addresses: Vec<PciAddress> = gpus.iter().filter_map(|gpu| gpu.name.pci).collect();
    let tree = tokio::task::spawn_blocking(move || Tree::read(&root, &addresses)).await;
    let tree = tree.unwrap_or_else(|error| Err(std::io::Error::other(error).into()));
    Ok(Matrix { gpus, tree })
}
