//! `get_gpu_inventory`: what GPUs this node has.
//!
//! Arguments, all optional: `gpu` (index, PCI address or UUID; all when left out), `detail` (`summary`; `full` adds `detail` to
//! each GPU, and what the node computes confidentially), `cursor` (`next_cursor` of an earlier answer: an answer is at most
//! 32 KiB, which is a dozen GPUs in full).
//!
//! Source: NVML, for which the agent needs the device files and nothing else; the kernel module's flavour is from
//! `/proc/driver/nvidia/version`, the host's NUMA node from sysfs where NVML names none.
//!
//! - A value that is null has its name and its reason in `absent`, those of one reason together. `by_design`: the board or
//!   the driver does not have it; everything else is a failure to read it.
//! - `memory_used_bytes` is what `nvidia-smi` shows: without what driver and firmware reserve.
//! - A GPU that MIG divides has no utilisation, and its figures are those of the whole board. `detail.mig` is the tree: GPU
//!   instances with profile, place and memory, and the compute instances in each. Places, and GPU instances in which
//!   there is no compute instance, the driver tells to UID 0 alone.
//! - `pcie_generation` of an idle GPU is lower than it could be, on purpose. `pcie_generation_max` is what GPU and slot can do
//!   together, `pcie_device_generation_max` what the GPU could in another slot.
//! - `numa_node` is that of the GPU's own memory on systems where CPUs reach it as theirs; `host_numa_node` is near any GPU.
//!
//! ```text
//! 4 GPUs, driver 580.95.05, CUDA 13.0, NVML 13.580.95.05
//! GPU 0  0000:1b:00.0  NVIDIA H100 80GB HBM3  79.6 GiB, 56.0 GiB used  29 °C  68 W of 700 W  97 % busy
//! ```

mod absent;
mod answer;
mod detail;
mod mig;
mod text;

use rmcp::schemars::{self, JsonSchema};
use serde::Deserialize;

pub use self::absent::AbsentAnswer;
use self::answer::{GpuAnswer, Inventory};
use super::select::{self, Detail, GpuArgument};
use crate::{
    gpu::inventory,
    mcp::{
        render,
        tool::{Call, Refusal, Tool},
    },
    node::Node,
};

#[derive(Debug)]
pub struct GetGpuInventory;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// One GPU by index, PCI address or UUID; all when left out.
    #[serde(default)]
    gpu: Option<GpuArgument>,
    /// `summary` (default), or `full` for every figure that is read.
    #[serde(default)]
    detail: Detail,
    /// `next_cursor` of an earlier answer: the GPUs behind it.
    #[serde(default)]
    cursor: Option<String>,
}

/// An answer is at most 32 KiB; what is about the node takes less than the rest.
const BYTES: usize = 30 << 10;

impl Tool for GetGpuInventory {
    const NAME: &'static str = "get_gpu_inventory";
    const TITLE: &'static str = "GPU inventory";
    const DESCRIPTION: &'static str = "What NVIDIA GPUs this node has: product, UUID, PCI address, memory, temperature, power and \
        load of the moment, MIG profiles, driver and CUDA version. With detail: full also board, firmware, power limits, clocks, PCIe, NUMA and \
        CPU affinity, the MIG tree, NVLink, fabric, confidential computing. A value that is null has its reason in `absent`. For whether \
        the GPUs are well, call get_gpu_health.";
    type Input = Input;
    type Answer = Inventory;

    async fn call(node: &Node, input: Input, _: &Call) -> Result<Inventory, Refusal> {
        let first = input.cursor.as_deref().map_or(Ok(0), first)?;
        let full = input.detail == Detail::Full;
        let driver = node.gpu.ask(inventory::driver).await?;
        let mut answer = Inventory::of(node, driver);
        if full {
            let system = node.gpu.ask(|session| Ok(inventory::system(session))).await?;
            answer.add_system(system);
        }
        let mut room = BYTES;
        let names = select::gpus(node, input.gpu.as_ref()).await?;
        for name in names.into_iter().filter(|name| name.index >= first) {
            let index = name.index;
            let host = node.devices.root().to_owned();
            let gpu = node.gpu.ask(move |session| {
                if full {
                    inventory::full(session, index, &host)
                } else {
                    inventory::summary(session, index)
                }
            });
            let gpu = gpu.await.map_or_else(
                |error| GpuAnswer::failed(name, &error),
                |gpu| GpuAnswer::of(gpu, input.detail),
            );
            let bytes = serde_json::to_string(&gpu).map_or(0, |text| text.len());
            // One at least, so that the pages come to an end.
            if bytes > room && !answer.gpus.is_empty() {
                answer.next_cursor = Some(index.to_string());
                break;
            }
            room = room.saturating_sub(bytes);
            answer.gpus.push(gpu);
        }
        Ok(answer)
    }
}

/// Reads a cursor: the index of the first GPU of the page.
fn first(text: &str) -> Result<u32, Refusal> {
    text.parse().map_err(|_| Refusal {
        what: format!("cursor is {:?}", render::bounded(text, 64)),
        next: "Pass next_cursor of an earlier answer, or leave cursor out to begin.".to_owned(),
    })
}
