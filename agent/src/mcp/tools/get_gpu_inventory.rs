//! `get_gpu_inventory`: what GPUs this node has.
//!
//! Arguments, all optional: `gpu` (index, PCI address or UUID; all when left out), `detail` (`summary`; `full` adds `detail` to
//! each GPU), `cursor` (`next_cursor` of an earlier answer: an answer is at most
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
//! GPU 1  0000:43:00.0  NVIDIA H100 80GB HBM3  79.6 GiB, 60.0 GiB used  29 °C  68 W of 700 W  0 % busy
//! GPU 2  0000:52:00.0  NVIDIA H100 80GB HBM3  79.6 GiB, 3.0 GiB used  29 °C  68 W of 700 W  0 % busy
//! GPU 3  0000:61:00.0  NVIDIA H100 80GB HBM3  79.6 GiB, 10.0 GiB used  29 °C  68 W of 700 W  MIG 3g.40gb 2g.20gb
//! ```
//!
//! With `{"detail": "full", "gpu": 3}`:
//!
//! ```text
//! 4 GPUs, driver 580.95.05, CUDA 13.0, NVML 13.580.95.05
//! GPU 3  0000:61:00.0  NVIDIA H100 80GB HBM3  79.6 GiB, 10.0 GiB used  29 °C  68 W of 700 W  MIG 3g.40gb 2g.20gb
//!   UUID    GPU-233010de-0000-4000-8000-000000000003
//!   board   serial 1650000000004, part 692-2G520-0200-000, id 0x6100, module 8
//!   chip    NVIDIA Hopper, compute capability 9.0, 16896 cores
//!   image   VBIOS 96.00.99.00.01, InfoROM G520.0200.00.05, GSP firmware: 580.95.05
//!   memory  69.1 GiB free, 480.0 MiB reserved, 5120 bit; BAR1 128.0 GiB, 1.0 MiB used; protected 0 B, 0 B used
//!   power   limit in W: default 700, requested 700, from 200 to 700
//!   clocks  now/most in MHz: graphics 345/1980, SM 345/1980, memory 2619/2619, video 765/1545
//!   PCIe    Gen5 x16; Gen5 x16 with this slot; the GPU can Gen5; device 0x233010DE, subsystem 0x16C110DE
//!   place   /dev/nvidia3, NUMA node 0, CPUs 0-55,112-167, own memory in node N/A
//!   modes   persistence on, compute default, ECC on (on after a reset), display off, virtualization none, host vGPU N/A
//!   NVLink  18 links of version 4.0, 18 up, 0 down
//!   fabric  completed, status 0, clique 0, cluster 00000000-0000-0000-0000-000000000000
//!   MIG     on (on after a reset), at most 7 devices
//!     GPU instance 1  3g.40gb  slices 4 to 7 of memory  39.5 GiB, 10.0 GiB used
//!       compute instance 0  MIG-5e1f0c6a-7a1b-5d53-9b0e-1d2c3b4a5f60  60 SMs
//!     GPU instance 2  2g.20gb  slices 0 to 1 of memory  19.6 GiB, 0 B used
//!       compute instance 0  MIG-9c2d7e44-1b0f-5c8a-8f3e-6a7b8c9d0e1f  32 SMs
//! ```

mod absent;
mod answer;
mod detail;
mod mig;
mod text;

use rmcp::schemars::{self, JsonSchema};
use serde::Deserialize;

use self::answer::{GpuAnswer, Inventory};
use super::select::{self, Detail, GpuArgument};
use crate::{
    gpu::{inventory, worker::Session},
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
        let system = node.gpu.ask(|session| Ok(inventory::system(session))).await?;
        let mut answer = Inventory::of(node, driver, system);
        let mut room = BYTES;
        let mut names = select::gpus(node, input.gpu.as_ref()).await?;
        names.retain(|name| name.index >= first);
        let host = node.devices.root().to_owned();
        let question = move |session: &Session<'_>, index| {
            if full {
                inventory::full(session, index, &host)
            } else {
                inventory::summary(session, index)
            }
        };
        for (name, gpu) in node.gpu.ask_each(names, question).await {
            let index = name.index;
            let gpu = gpu.map_or_else(
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
