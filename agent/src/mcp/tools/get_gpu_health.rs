//! `get_gpu_health`: whether the GPUs are well, and what to do where they are not.
//!
//! Arguments: `gpu` (index, PCI address or UUID; all when left out), `detail` (`summary` or `full`: adds the figures read).
//! The verdict of a GPU is that of its worst finding: `healthy`, `attention`, `degraded`, `failed`, `unreachable`; there
//! is no score. Findings come from NVML and, where a source of events is live, from what the driver reported since the
//! agent listens. Full memory, the power cap under load, idle clocks and lifetime error counts are no findings.
//!
//! ```text
//! degraded: 7 of 8 GPUs healthy
//! GPU 3  0000:61:00.0  failed
//!   recovery_action: The driver asks for a recovery action: GPU reset.  → RESET_GPU
//!     recovery_action = 1. Drain this GPU and reset it (nvidia-smi --gpu-reset -i <index>).
//! ```

mod answer;

use self::answer::{FindingAnswer, GpuHealth, Health, VerdictAnswer, of_group, unread, verdict_of};
use super::{
    event,
    select::{self, GpuAndDetail},
};
use crate::{
    event::Group,
    gpu::health,
    mcp::tool::{Call, Refusal, Tool},
    node::Node,
};

#[derive(Debug)]
pub struct GetGpuHealth;

impl Tool for GetGpuHealth {
    const NAME: &'static str = "get_gpu_health";
    const TITLE: &'static str = "GPU health";
    const DESCRIPTION: &'static str = "Whether this node's GPUs are well: a verdict per GPU (healthy, attention, degraded, failed, unreachable) with findings, \
        the figures behind them, what to do, and NVIDIA's action. Judges ECC, row remapping, clocks, heat, PCIe, NVLink, fabric, the driver's recovery action \
        and Xids. No findings means healthy; `limits` says what could not be judged.";
    type Input = GpuAndDetail;
    type Answer = Health;

    async fn call(node: &Node, input: GpuAndDetail, _: &Call) -> Result<Health, Refusal> {
        let names = select::gpus(node, input.gpu.as_ref()).await?;
        node.sources.settled().await;
        let mut faults: Vec<Group> =
            node.journal.groups().into_iter().filter(|group| verdict_of(group).is_some()).collect();
        let mut gpus = Vec::new();
        let mut not_read = Vec::new();
        for (name, read) in node.gpu.ask_each(names, health::vitals).await {
            not_read.extend(read.as_ref().ok().and_then(|(_, vitals)| unread(name.index, vitals)));
            let about = |group: &Group| name.pci.is_some() && group.key.pci == name.pci;
            let own: Vec<Group> = faults.iter().filter(|group| about(group)).cloned().collect();
            faults.retain(|group| !about(group));
            gpus.push(GpuHealth::of(&name, read, &own, input.detail));
        }
        // What happened to devices that were not asked about is another question.
        let others = if input.gpu.is_some() { Vec::new() } else { faults };
        let other_devices: Vec<FindingAnswer> = others.iter().filter_map(of_group).collect();
        let xids_considered = node.sources.any_live();
        let mut limits = Vec::from_iter(event::unheard(node));
        limits.extend(not_read);
        let worst = gpus
            .iter()
            .map(|gpu| gpu.verdict)
            .chain(other_devices.iter().map(|finding| finding.severity));
        Ok(Health {
            simulated: node.gpu.simulated(),
            node: node.name.clone(),
            verdict: worst
                .max_by_key(|verdict| verdict.verdict())
                .unwrap_or(VerdictAnswer::Healthy),
            gpus,
            other_devices,
            xids_considered,
            limits,
        })
    }
}
