//! The answer of `get_gpu_inventory`.

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use super::{
    absent::{AbsentGroup, groups},
    detail::GpuDetail,
};
use crate::{
    gpu::{
        GpuError, GpuName,
        inventory::{Driver, Gpu, System},
        kernel_module::{self, KernelModule},
        raw::identity::Confidential,
        reading::{Absent, LOST},
    },
    mcp::tools::select::Detail,
    node::Node,
};

#[derive(Debug, Serialize, JsonSchema)]
pub struct Inventory {
    /// The GPUs are simulated and do not exist.
    pub simulated: bool,
    pub node: String,
    pub driver_version: Option<String>,
    /// Newest CUDA version this driver runs.
    pub cuda_version: Option<String>,
    pub nvml_version: Option<String>,
    /// The library that answered.
    pub nvml_library: String,
    /// What drives the GPUs in the kernel.
    pub kernel_module: Option<KernelModuleAnswer>,
    /// Whether the node computes confidentially.
    pub confidential_computing: Option<ConfidentialAnswer>,
    /// GPUs that NVML counts on this node.
    pub gpu_count: u32,
    pub gpus: Vec<GpuAnswer>,
    /// Why a value of the node is null.
    pub absent: Vec<AbsentGroup>,
    /// There are more GPUs: pass this as `cursor`.
    pub next_cursor: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct KernelModuleAnswer {
    /// `open` or `proprietary`.
    pub flavour: &'static str,
    pub version: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct ConfidentialAnswer {
    /// `unavailable`, `simulation` or `production`.
    pub environment: String,
    pub enabled: bool,
    pub dev_tools: bool,
    /// `none`, `protected_pcie` or `nvle`; null from drivers that do not tell.
    pub multi_gpu: Option<String>,
    /// The GPUs take work.
    pub gpus_ready: Option<bool>,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct GpuAnswer {
    pub index: u32,
    /// As the kernel and Xid lines name it.
    pub pci_address: Option<String>,
    pub uuid: Option<String>,
    pub product: Option<String>,
    /// Why this GPU could not be asked at all; null when it could.
    pub error: Option<String>,
    pub memory_total_bytes: Option<u64>,
    /// Without what driver and firmware reserve.
    pub memory_used_bytes: Option<u64>,
    pub temperature_celsius: Option<u32>,
    pub power_mw: Option<u32>,
    /// The limit in force.
    pub power_limit_mw: Option<u32>,
    /// Share of the last sample period in which a kernel ran.
    pub gpu_utilization_percent: Option<u32>,
    pub mig_enabled: Option<bool>,
    /// Of the GPU instances that it is divided into, as `3g.40gb`. Empty where MIG is off, null where it is not known.
    pub mig_profiles: Option<Vec<String>>,
    pub ecc_enabled: Option<bool>,
    /// With `detail: full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Box<GpuDetail>>,
    /// Why a value is null.
    pub absent: Vec<AbsentGroup>,
}

impl Inventory {
    /// What is about the node; its GPUs are added.
    pub fn of(node: &Node, driver: Driver, system: System) -> Self {
        let Driver { library, driver_version, nvml_version, cuda_version, gpu_count, mut absent } =
            driver;
        let System { confidential, ready, absent: unknown } = system;
        absent.extend(unknown);
        let module = kernel_module::read(node.devices.root());
        if let Err(reason) = &module {
            let (field, call, reason) = ("kernel_module", kernel_module::PATH, reason.clone());
            absent.push(Absent { field, call, reason, by_design: false });
        }
        Self {
            simulated: node.gpu.simulated(),
            node: node.name.clone(),
            driver_version,
            cuda_version,
            nvml_version,
            nvml_library: library,
            kernel_module: module.ok().map(|KernelModule { flavour, version }| {
                KernelModuleAnswer { flavour: flavour.name(), version }
            }),
            confidential_computing: confidential.map(|state| ConfidentialAnswer::of(state, ready)),
            gpu_count,
            gpus: Vec::new(),
            absent: groups(absent, |_| true),
            next_cursor: None,
        }
    }
}

impl ConfidentialAnswer {
    fn of(state: Confidential, gpus_ready: Option<bool>) -> Self {
        let Confidential { environment, feature, dev_tools, multi_gpu } = state;
        Self {
            environment: named(environment, &["unavailable", "simulation", "production"]),
            enabled: feature != 0,
            dev_tools: dev_tools != 0,
            multi_gpu: multi_gpu.map(|mode| named(mode, &["none", "protected_pcie", "nvle"])),
            gpus_ready,
        }
    }
}

/// The name of a number of NVML's, or the number.
fn named(number: u32, names: &[&str]) -> String {
    let name = usize::try_from(number).ok().and_then(|number| names.get(number));
    name.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

impl GpuAnswer {
    pub fn of(mut gpu: Gpu, detail: Detail) -> Self {
        let full = detail == Detail::Full;
        let details = gpu.details.take();
        let detail = details.map(|details| Box::new(GpuDetail::of(details, &gpu)));
        Self {
            index: gpu.name.index,
            pci_address: gpu.name.pci.map(|pci| pci.to_string()),
            uuid: gpu.name.uuid,
            product: gpu.product,
            error: gpu.lost.then(|| LOST.to_owned()),
            memory_total_bytes: gpu.memory.total_bytes,
            memory_used_bytes: gpu.memory.used_bytes,
            temperature_celsius: gpu.temperature_celsius,
            power_mw: gpu.power_mw,
            power_limit_mw: gpu.power_limit_mw,
            gpu_utilization_percent: gpu.gpu_utilization_percent,
            mig_enabled: gpu.mig.enabled,
            mig_profiles: gpu.mig.instances.map(|instances| {
                let unknown = || "unknown".to_owned();
                instances.into_iter().map(|it| it.profile.unwrap_or_else(unknown)).collect()
            }),
            ecc_enabled: gpu.ecc_enabled,
            detail,
            absent: groups(gpu.absent, |field| full || SUMMARY.contains(&field)),
        }
    }

    pub fn failed(name: GpuName, error: &GpuError) -> Self {
        Self {
            index: name.index,
            pci_address: name.pci.map(|pci| pci.to_string()),
            uuid: name.uuid,
            error: Some(format!("{error}. {}", error.remedy())),
            ..Self::default()
        }
    }
}

/// The summary's own values that can be null.
const SUMMARY: [&str; 12] = [
    "pci_address",
    "uuid",
    "product",
    "memory_total_bytes",
    "memory_used_bytes",
    "temperature_celsius",
    "power_mw",
    "power_limit_mw",
    "gpu_utilization_percent",
    "mig_enabled",
    "mig_profiles",
    "ecc_enabled",
];
