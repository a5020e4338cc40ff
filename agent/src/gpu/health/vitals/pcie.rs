//! The link to the host.

use nvml_wrapper::{Device, enum_wrappers::device::GpuVirtualizationMode};

use super::{
    asker::{Asker, Batch},
    fields,
};
use crate::gpu::{pcie::PcieLink, raw};

#[derive(Debug, Clone, Default)]
pub struct Pcie {
    /// What it runs at, and what GPU and slot can do together.
    pub link: PcieLink,
    /// What the GPU alone can do; more than the slot where a board is newer than its host.
    pub generation_max_of_gpu: Option<u32>,
    /// The GPU is passed to a virtual machine, which does not see the slot's end of the link.
    pub virtual_machine: Option<bool>,
    /// Since the driver was loaded.
    pub replays: Option<u64>,
    pub correctable_errors: Option<u64>,
    pub non_fatal_errors: Option<u64>,
    pub fatal_errors: Option<u64>,
}

impl Pcie {
    pub fn read(d: &Device<'_>, r: &mut Asker<'_>, batch: &mut Batch) -> Self {
        let mode = r
            .read("virtual_machine", "nvmlDeviceGetVirtualizationMode", || d.virtualization_mode());
        Self {
            link: PcieLink::read(d, r.reader()),
            generation_max_of_gpu: r.read(
                "pcie_generation_max_of_gpu",
                "nvmlDeviceGetGpuMaxPcieLinkGeneration",
                || raw::pcie_generation_max_of_gpu(d),
            ),
            virtual_machine: mode.map(|mode| {
                matches!(mode, GpuVirtualizationMode::PassThrough | GpuVirtualizationMode::Vgpu)
            }),
            replays: r.count(batch, fields::REPLAYS),
            correctable_errors: r.count(batch, fields::PCIE_CORRECTED),
            non_fatal_errors: r.count(batch, fields::PCIE_NON_FATAL),
            fatal_errors: r.count(batch, fields::PCIE_FATAL),
        }
    }
}
