//! GPUs that the driver has and NVML does not tell of.

use std::path::Path;

use super::answer::{EvidenceAnswer, FindingAnswer, VerdictAnswer};
use crate::{
    gpu::{
        GpuName,
        bus::{self, Listed, Untold},
    },
    node::Node,
    xid::PciAddress,
};

/// What NVML should tell of as well, and what this container was not given.
pub async fn untold(node: &Node, told: &[GpuName]) -> Untold {
    let root = node.devices.root().to_owned();
    // Simulated GPUs are none of this machine's; and one that hangs before it told its address may be any.
    let simulated = node.gpu.simulated() && root == Path::new("/");
    if simulated || told.iter().any(|name| name.pci.is_none()) {
        return Untold::default();
    }
    match node.gpu.read_files(bus::LISTED, move || bus::listed(&root)).await {
        Ok(listed) => bus::untold(listed, Path::new("/dev"), told),
        Err(_) => Untold::default(),
    }
}

pub fn finding(gpu: &Listed) -> (Option<PciAddress>, FindingAnswer) {
    let mut evidence = vec![
        EvidenceAnswer { name: "pci_address".to_owned(), value: gpu.pci.to_string() },
        EvidenceAnswer {
            name: "device_file".to_owned(),
            value: format!("/dev/nvidia{}", gpu.minor),
        },
    ];
    evidence
        .extend(gpu.model.clone().map(|value| EvidenceAnswer { name: "model".to_owned(), value }));
    let finding = FindingAnswer {
        id: "gpu_missing".to_owned(),
        severity: VerdictAnswer::Unreachable,
        summary: "The driver has this GPU and NVML does not tell of it: it fell off the bus, or it did not start."
            .to_owned(),
        evidence,
        advice: Some(
            "Ask analyze_xid_errors for this address: Xid 79 is a GPU off the bus, an init_failure one that did not start. \
             Drain the node and reboot it; if the GPU stays away, reseat or replace it."
                .to_owned(),
        ),
        nvidia_action: None,
    };
    (Some(gpu.pci), finding)
}

/// That the node has more GPUs than are judged, and why.
pub fn limits(untold: &Untold) -> impl Iterator<Item = String> {
    let limit = |gpus: &[Listed], why| {
        let addresses: Vec<_> = gpus.iter().map(|gpu| gpu.pci.to_string()).collect();
        (!addresses.is_empty())
            .then(|| format!("Not judged: {}, which {why}.", addresses.join(", ")))
    };
    let not_given = "the driver has and this container was not given; NVIDIA_VISIBLE_DEVICES=all gives it every GPU";
    let excluded = "the driver's setting NVreg_ExcludedGpus keeps from everybody";
    [limit(&untold.not_given, not_given), limit(&untold.excluded, excluded)].into_iter().flatten()
}
