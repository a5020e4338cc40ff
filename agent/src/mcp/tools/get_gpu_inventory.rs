//! `get_gpu_inventory`: what GPUs this node has.
//!
//! Arguments: `gpu` (index, PCI address or UUID; all when left out), `detail` (`summary` or `full`). Source: NVML; the
//! agent needs access to the device files and nothing else. Under MIG the figures are those of the whole board.
//!
//! ```text
//! 8 GPUs, driver 580.95.05, CUDA 13.0, NVML 13.580.95.05
//! GPU 0  0000:1b:00.0  NVIDIA H100 80GB HBM3  79.6 GiB, 79.0 GiB used  58 °C  698 W of 700 W  100 % busy
//! ```

use std::fmt::Write as _;

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use super::select::{self, Detail, GpuAndDetail};
use crate::{
    gpu::{
        GpuName,
        inventory::{self, Driver, Gpu},
        reading::Absent,
    },
    mcp::{
        render,
        tool::{Answer, Call, Refusal, Tool},
    },
    node::Node,
};

#[derive(Debug)]
pub struct GetGpuInventory;

#[derive(Debug, Serialize, JsonSchema)]
pub struct Inventory {
    /// The GPUs are simulated and do not exist.
    simulated: bool,
    node: String,
    driver_version: Option<String>,
    /// Newest CUDA version this driver runs.
    cuda_version: Option<String>,
    nvml_version: Option<String>,
    /// The library that answered.
    nvml_library: String,
    /// GPUs that NVML counts on this node.
    gpu_count: u32,
    gpus: Vec<GpuAnswer>,
    /// Why a value of the driver is null.
    absent: Vec<AbsentAnswer>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct GpuAnswer {
    index: u32,
    /// As the kernel and Xid lines name it.
    pci_address: Option<String>,
    uuid: Option<String>,
    product: Option<String>,
    /// Why this GPU could not be asked at all; null when it could.
    error: Option<String>,
    memory_total_bytes: Option<u64>,
    memory_used_bytes: Option<u64>,
    temperature_celsius: Option<u32>,
    power_mw: Option<u32>,
    power_limit_mw: Option<u32>,
    /// Share of the last sample period in which a kernel ran.
    gpu_utilization_percent: Option<u32>,
    mig_enabled: Option<bool>,
    ecc_enabled: Option<bool>,
    /// With `detail: full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<GpuDetail>,
    /// Why a value is null. `by_design`: this board or driver does not have it.
    absent: Vec<AbsentAnswer>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct GpuDetail {
    architecture: Option<String>,
    compute_capability: Option<String>,
    serial: Option<String>,
    board_part_number: Option<String>,
    vbios_version: Option<String>,
    gsp_firmware_version: Option<String>,
    /// The N of /dev/nvidiaN.
    minor_number: Option<u32>,
    numa_node: Option<u32>,
    memory_free_bytes: Option<u64>,
    bar1_total_bytes: Option<u64>,
    persistence_mode: Option<bool>,
    compute_mode: Option<String>,
    power_limit_min_mw: Option<u32>,
    power_limit_max_mw: Option<u32>,
    sm_clock_mhz: Option<u32>,
    sm_clock_max_mhz: Option<u32>,
    memory_clock_mhz: Option<u32>,
    memory_clock_max_mhz: Option<u32>,
    memory_utilization_percent: Option<u32>,
    pcie_generation: Option<u32>,
    pcie_generation_max: Option<u32>,
    pcie_width: Option<u32>,
    pcie_width_max: Option<u32>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AbsentAnswer {
    field: &'static str,
    reason: String,
    by_design: bool,
}

impl AbsentAnswer {
    /// For people.
    pub fn line(&self) -> String {
        format!("No {}: {}.", self.field, self.reason)
    }
}

impl From<Absent> for AbsentAnswer {
    fn from(absent: Absent) -> Self {
        let Absent { field, call, reason, by_design } = absent;
        Self { field, reason: format!("{call}: {reason}"), by_design }
    }
}

impl Tool for GetGpuInventory {
    const NAME: &'static str = "get_gpu_inventory";
    const TITLE: &'static str = "GPU inventory";
    const DESCRIPTION: &'static str = "What NVIDIA GPUs this node has: product, UUID, PCI address, memory, temperature, power and \
        load of the moment, driver and CUDA version. A value that is null has its reason in `absent`. For whether the GPUs are \
        well, call get_gpu_health.";
    type Input = GpuAndDetail;
    type Answer = Inventory;

    async fn call(node: &Node, input: GpuAndDetail, _: &Call) -> Result<Inventory, Refusal> {
        let driver = node.gpu.ask(inventory::driver).await?;
        let mut gpus = Vec::new();
        let names = select::gpus(node, input.gpu.as_ref()).await?;
        for (name, gpu) in node.gpu.ask_each(names, inventory::gpu).await {
            gpus.push(gpu.map_or_else(
                |error| GpuAnswer::failed(name, &error),
                |gpu| GpuAnswer::of(gpu, input.detail),
            ));
        }
        let Driver { library, driver_version, nvml_version, cuda_version, gpu_count, absent } =
            driver;
        Ok(Inventory {
            simulated: node.gpu.simulated(),
            node: node.name.clone(),
            driver_version,
            cuda_version,
            nvml_version,
            nvml_library: library,
            gpu_count,
            gpus,
            absent: absent.into_iter().map(Into::into).collect(),
        })
    }
}

/// Absences that concern the summary's own values.
const SUMMARY: [&str; 10] = [
    "pci",
    "uuid",
    "product",
    "memory",
    "temperature_celsius",
    "power_mw",
    "power_limit_mw",
    "utilization",
    "mig_enabled",
    "ecc_enabled",
];

impl GpuAnswer {
    fn of(gpu: Gpu, detail: Detail) -> Self {
        let full = detail == Detail::Full;
        let absent =
            gpu.absent.into_iter().filter(|absent| full || SUMMARY.contains(&absent.field));
        Self {
            index: gpu.name.index,
            pci_address: gpu.name.pci.map(|pci| pci.to_string()),
            uuid: gpu.name.uuid,
            product: gpu.product,
            error: gpu
                .lost
                .then(|| "NVML_ERROR_GPU_IS_LOST: the GPU is not reachable on the bus".to_owned()),
            memory_total_bytes: gpu.memory_total_bytes,
            memory_used_bytes: gpu.memory_used_bytes,
            temperature_celsius: gpu.temperature_celsius,
            power_mw: gpu.power_mw,
            power_limit_mw: gpu.power_limit_mw,
            gpu_utilization_percent: gpu.gpu_utilization_percent,
            mig_enabled: gpu.mig_enabled,
            ecc_enabled: gpu.ecc_enabled,
            absent: absent.map(Into::into).collect(),
            detail: full.then(|| GpuDetail {
                architecture: gpu.architecture,
                compute_capability: gpu.compute_capability,
                serial: gpu.serial,
                board_part_number: gpu.board_part_number,
                vbios_version: gpu.vbios_version,
                gsp_firmware_version: gpu.gsp_firmware_version,
                minor_number: gpu.name.minor,
                numa_node: gpu.numa_node,
                memory_free_bytes: gpu.memory_free_bytes,
                bar1_total_bytes: gpu.bar1_total_bytes,
                persistence_mode: gpu.persistence_mode,
                compute_mode: gpu.compute_mode.map(ToOwned::to_owned),
                power_limit_min_mw: gpu.power_limit_min_mw,
                power_limit_max_mw: gpu.power_limit_max_mw,
                sm_clock_mhz: gpu.sm_clock_mhz,
                sm_clock_max_mhz: gpu.sm_clock_max_mhz,
                memory_clock_mhz: gpu.memory_clock_mhz,
                memory_clock_max_mhz: gpu.memory_clock_max_mhz,
                memory_utilization_percent: gpu.memory_utilization_percent,
                pcie_generation: gpu.pcie.generation,
                pcie_generation_max: gpu.pcie.generation_max,
                pcie_width: gpu.pcie.width,
                pcie_width_max: gpu.pcie.width_max,
            }),
        }
    }

    fn failed(name: GpuName, error: &crate::gpu::GpuError) -> Self {
        Self {
            index: name.index,
            pci_address: name.pci.map(|pci| pci.to_string()),
            uuid: name.uuid,
            error: Some(format!("{error}. {}", error.remedy())),
            product: None,
            memory_total_bytes: None,
            memory_used_bytes: None,
            temperature_celsius: None,
            power_mw: None,
            power_limit_mw: None,
            gpu_utilization_percent: None,
            mig_enabled: None,
            ecc_enabled: None,
            detail: None,
            absent: Vec::new(),
        }
    }
}

impl GpuDetail {
    /// What of it people ask for; the structured answer has all.
    fn line(&self) -> String {
        let number =
            |value: Option<u32>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "?".to_owned());
        format!(
            "{}, serial {}, board {}, VBIOS {}, GSP {}, PCIe Gen{} x{} (at most Gen{} x{}), SM {} of {} MHz, NUMA {}",
            text(&self.architecture),
            text(&self.serial),
            text(&self.board_part_number),
            text(&self.vbios_version),
            text(&self.gsp_firmware_version),
            number(self.pcie_generation),
            number(self.pcie_width),
            number(self.pcie_generation_max),
            number(self.pcie_width_max),
            number(self.sm_clock_mhz),
            number(self.sm_clock_max_mhz),
            number(self.numa_node),
        )
    }
}

impl Answer for Inventory {
    fn text(&self) -> String {
        let or = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
        let mut text = format!(
            "{}, driver {}, CUDA {}, NVML {}",
            render::count(self.gpu_count.into(), "GPU"),
            or(&self.driver_version),
            or(&self.cuda_version),
            or(&self.nvml_version)
        );
        for gpu in &self.gpus {
            let _ =
                write!(text, "\nGPU {}  {}  {}", gpu.index, or(&gpu.pci_address), or(&gpu.product));
            if let Some(error) = &gpu.error {
                let _ = write!(text, "  {error}");
                continue;
            }
            if let (Some(total), Some(used)) = (gpu.memory_total_bytes, gpu.memory_used_bytes) {
                let _ = write!(text, "  {}, {} used", render::bytes(total), render::bytes(used));
            }
            if let Some(celsius) = gpu.temperature_celsius {
                let _ = write!(text, "  {celsius} °C");
            }
            if let (Some(power), Some(limit)) = (gpu.power_mw, gpu.power_limit_mw) {
                let _ = write!(text, "  {} W of {} W", power / 1000, limit / 1000);
            }
            if let Some(percent) = gpu.gpu_utilization_percent {
                let _ = write!(text, "  {percent} % busy");
            }
            if gpu.mig_enabled == Some(true) {
                text.push_str("  MIG");
            }
            if let Some(detail) = &gpu.detail {
                let _ = write!(text, "\n       {}", detail.line());
            }
        }
        text
    }
}
