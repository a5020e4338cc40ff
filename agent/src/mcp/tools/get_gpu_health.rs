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
mod figures;
mod limits;
mod stalled;

use std::time::Instant;

use self::{
    answer::{FindingAnswer, GpuHealth, Health, VerdictAnswer, of_group},
    limits::Unread,
};
use super::{
    event,
    select::{self, GpuAndDetail},
};
use crate::{
    gpu::{GpuName, health},
    mcp::tool::{Call, Refusal, Tool},
    node::Node,
    xid::PciAddress,
};

#[derive(Debug)]
pub struct GetGpuHealth;

impl Tool for GetGpuHealth {
    const NAME: &'static str = "get_gpu_health";
    const TITLE: &'static str = "GPU health";
    const DESCRIPTION: &'static str = "Whether this node's GPUs are well: a verdict per GPU (healthy, attention, degraded, failed, unreachable) with findings, \
        the figures behind them, what to do, and NVIDIA's action. Judges ECC, row remapping, clocks, heat, PCIe, NVLink, fabric, the driver's recovery action, \
        Xids and processes stuck in the driver. No findings means healthy; `limits` says what could not be judged.";
    type Input = GpuAndDetail;
    type Answer = Health;

    async fn call(node: &Node, input: GpuAndDetail, _: &Call) -> Result<Health, Refusal> {
        let names = select::gpus(node, input.gpu.as_ref()).await?;
        node.sources.settled().await;
        let mut reported = reported(node);
        let (mut gpus, mut unread) = (Vec::new(), Unread::default());
        for (name, read) in node.gpu.ask_each(names, health::vitals).await {
            let read = read.map(|vitals| {
                unread.note(name.index, &vitals);
                let before = node.readings.exchange(&key(&name), Instant::now(), &vitals);
                (vitals, before)
            });
            let about = |of: &Option<PciAddress>| name.pci.is_some() && *of == name.pci;
            let (own, rest) = reported.into_iter().partition(|(of, _)| about(of));
            reported = rest;
            gpus.push(GpuHealth::of(&name, read, findings(own), input.detail));
        }
        // What happened to devices that were not asked about is another question.
        let other_devices = if input.gpu.is_some() { Vec::new() } else { findings(reported) };
        let mut limits = Vec::from_iter(event::unheard(node));
        limits.extend(unread.lines());
        let worst = gpus
            .iter()
            .map(|gpu| gpu.verdict)
            .chain(other_devices.iter().map(|finding| finding.severity));
        Ok(Health {
            simulated: node.gpu.simulated(),
            node: node.name.clone(),
            verdict: worst.max().unwrap_or(VerdictAnswer::Healthy),
            gpus,
            other_devices,
            xids_considered: node.sources.any_live(),
            limits,
        })
    }
}

type Reported = Vec<(Option<PciAddress>, FindingAnswer)>;

/// What the journal has: faults that the driver reported, and calls that do not come back.
fn reported(node: &Node) -> Reported {
    let groups = node.journal.groups();
    let faults = groups.iter().filter_map(|group| Some((group.key.pci, of_group(group)?)));
    faults.chain(stalled::findings(node)).collect()
}

fn findings(reported: Reported) -> Vec<FindingAnswer> {
    reported.into_iter().map(|(_, finding)| finding).collect()
}

/// What a GPU's readings are kept under.
fn key(name: &GpuName) -> String {
    name.uuid.clone().unwrap_or_else(|| select::pci_text(name))
}
