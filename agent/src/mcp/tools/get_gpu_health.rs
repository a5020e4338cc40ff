//! `get_gpu_health`: whether the GPUs are well, and what to do where they are not.
//!
//! Arguments: `gpu` (index, PCI address or UUID; all when left out), `detail` (`summary` or `full`: adds the figures read).
//! The verdict of a GPU is that of its worst finding: `healthy`, `attention`, `degraded`, `failed`, `unreachable`; there
//! is no score. Findings come from NVML, by the rules of `docs/health.md`, which names each threshold with the document it is from,
//! and, where a source of events is live, from what the driver reported and which processes are stuck in it since the agent
//! listens. Full memory, the power cap under load, idle clocks and lifetime error counts are no findings.
//!
//! Growing counters are judged from the second answer of a process on: `compared_with_seconds_ago` says since when, and the
//! recorder's sessions have that in common. A figure that could not be read is in `limits`, and lowers no verdict; a GPU of which
//! none could be read is `unreachable`.
//!
//! ```text
//! degraded: 6 of 8 GPUs healthy
//! GPU 3  0000:61:00.0  degraded
//!   row_remap_pending: A memory row is marked for remapping, which happens at the next GPU reset.  → RESET_GPU
//!     remapped_rows_correctable = 0, remapped_rows_uncorrectable = 1, remapping_pending = true, remapping_failed = false, memory_banks_without_rows = 0.
//!     Drain this GPU at the next opportunity and reset it (nvidia-smi --gpu-reset -i <index>) once nothing has it open, monitoring such as this agent's pod and DCGM included.
//!   ecc_uncorrected: 1 uncorrected ECC error(s) since the driver was loaded.  → WORKFLOW_XID_48
//!     ecc_uncorrected_volatile = 1, ecc_uncorrected_dram_volatile = 1, sram_uncorrected_parity_volatile = 0, sram_uncorrected_secded_volatile = 0.
//!     Results computed on this GPU since then are suspect. See analyze_xid_errors for Xid 48, 63, 64, 94 and 95; drain and reset the GPU.
//! GPU 6  0000:d1:00.0  degraded
//!   nvlink_down: 1 of 18 NVLinks are down.  → WORKFLOW_NVLINK_ERR
//!     nvlink_down = 4, nvlink_up = 17.
//!     See analyze_xid_errors for Xid 74 or 144 to 150 and SXids; reset the GPU, then check the fabric manager's log.
//! ```

mod answer;
mod figures;
mod limits;
mod missing;
mod size;
mod stalled;

use std::time::Instant;

use rmcp::schemars::{self, JsonSchema};
use serde::Deserialize;

use self::{
    answer::{FindingAnswer, GpuHealth, Health, VerdictAnswer, of_group},
    limits::Unread,
};
use super::{
    event,
    select::{self, Detail, GpuArgument},
};
use crate::{
    gpu::{GpuName, bus::Untold, health},
    mcp::tool::{Call, Refusal, Tool},
    node::Node,
    xid::PciAddress,
};

#[derive(Debug)]
pub struct GetGpuHealth;

/// Which GPU, and how much of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// One GPU by index, PCI address or UUID; all when left out.
    #[serde(default)]
    gpu: Option<GpuArgument>,
    /// `summary` (default), or `full` for every figure that is read.
    #[serde(default)]
    detail: Detail,
}

impl Tool for GetGpuHealth {
    const NAME: &'static str = "get_gpu_health";
    const TITLE: &'static str = "GPU health";
    const DESCRIPTION: &'static str = "Whether this node's GPUs are well: a verdict per GPU (healthy, attention, degraded, failed, unreachable) with findings, \
        the figures behind them, what to do, and NVIDIA's action. Judges ECC, row remapping, clocks, heat, PCIe, NVLink, fabric, the driver's recovery action, \
        Xids and processes stuck in the driver. No findings means healthy; `limits` says what could not be judged.";
    type Input = Input;
    type Answer = Health;

    async fn call(node: &Node, input: Input, _: &Call) -> Result<Health, Refusal> {
        let names = select::gpus(node, input.gpu.as_ref()).await?;
        node.sources.settled().await;
        // What happened to devices that were not asked about is another question.
        let all = input.gpu.is_none();
        let untold = if all { missing::untold(node, &names).await } else { Untold::default() };
        let mut reported = reported(node);
        reported.extend(untold.missing.iter().map(missing::finding));
        let (mut gpus, mut unread) = (Vec::new(), Unread::default());
        let mut answers = node.gpu.ask_each(names, health::vitals).await;
        health::compare(answers.iter_mut().filter_map(|(_, read)| read.as_mut().ok()));
        for (name, read) in answers {
            let read = read.map(|vitals| {
                unread.note(name.index, &vitals);
                let before = key(&name)
                    .and_then(|key| node.readings.exchange(&key, Instant::now(), &vitals));
                (vitals, before)
            });
            let about = |of: &Option<PciAddress>| name.pci.is_some() && *of == name.pci;
            let (own, rest) = reported.into_iter().partition(|(of, _)| about(of));
            reported = rest;
            gpus.push(GpuHealth::of(&name, read, findings(own), input.detail));
        }
        let mut other_devices = if all { findings(reported) } else { Vec::new() };
        let mut limits = Vec::from_iter(event::unheard(node));
        limits.extend(unread.lines());
        limits.extend(missing::limits(&untold));
        if input.detail == Detail::Summary {
            let without = size::shorten(&mut gpus, &mut other_devices);
            limits.extend(without.gpus.first().map(|first| {
                format!(
                    "Of {} GPUs from GPU {first} on not everything fits: ask for one by `gpu`.",
                    without.gpus.len()
                )
            }));
            limits.extend((without.others > 0).then(|| {
                format!(
                    "{} more findings about other devices do not fit: analyze_xid_errors has the faults, `detail: full` has all.",
                    without.others
                )
            }));
        }
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

/// What a GPU's readings are kept under. One that tells no name may be another the next time: it is compared with nothing.
fn key(name: &GpuName) -> Option<String> {
    name.uuid.clone().or_else(|| Some(name.pci?.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_that_tell_no_name_are_not_taken_for_one() {
        let pci = crate::gpu::pci_address("61:00.0");
        let uuid = Some("GPU-ab12".to_owned());
        assert_eq!(key(&GpuName::default()), None);
        assert_eq!(key(&GpuName { pci, ..GpuName::default() }).unwrap(), "0000:61:00.0");
        assert_eq!(key(&GpuName { pci, uuid: uuid.clone(), ..GpuName::default() }), uuid);
    }
}
