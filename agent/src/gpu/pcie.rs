//! The PCIe link of a GPU: what it runs at, and what both of its ends can.

use nvml_wrapper::Device;

use super::reading::Reader;

/// Generation and width, now and at most. The current generation of an idle GPU is lower on purpose; the width is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PcieLink {
    pub generation: Option<u32>,
    pub generation_max: Option<u32>,
    pub width: Option<u32>,
    pub width_max: Option<u32>,
}

impl PcieLink {
    /// Reads the link of one GPU.
    pub fn read(d: &Device<'_>, r: &mut Reader<'_>) -> Self {
        Self {
            generation: r.read("pcie_generation", "nvmlDeviceGetCurrPcieLinkGeneration", || {
                d.current_pcie_link_gen()
            }),
            generation_max: r.read(
                "pcie_generation_max",
                "nvmlDeviceGetMaxPcieLinkGeneration",
                || d.max_pcie_link_gen(),
            ),
            width: r.read("pcie_width", "nvmlDeviceGetCurrPcieLinkWidth", || {
                d.current_pcie_link_width()
            }),
            width_max: r.read("pcie_width_max", "nvmlDeviceGetMaxPcieLinkWidth", || {
                d.max_pcie_link_width()
            }),
        }
    }
}
