//! Confidential computing, and what a GPU lends to virtual machines.

use nvml_wrapper_sys::bindings as sys;
use serde::Deserialize;

named! {
    Virtualization: sys::nvmlGpuVirtualizationMode_t {
        "none" = sys::nvmlGpuVirtualizationMode_NVML_GPU_VIRTUALIZATION_MODE_NONE,
        "passthrough" = sys::nvmlGpuVirtualizationMode_NVML_GPU_VIRTUALIZATION_MODE_PASSTHROUGH,
        "vgpu" = sys::nvmlGpuVirtualizationMode_NVML_GPU_VIRTUALIZATION_MODE_VGPU,
        "host_vgpu" = sys::nvmlGpuVirtualizationMode_NVML_GPU_VIRTUALIZATION_MODE_HOST_VGPU,
        "host_vsga" = sys::nvmlGpuVirtualizationMode_NVML_GPU_VIRTUALIZATION_MODE_HOST_VSGA,
    }
}

named! {
    HostVgpu: sys::nvmlHostVgpuMode_t {
        "non_sriov" = sys::nvmlHostVgpuMode_enum_NVML_HOST_VGPU_MODE_NON_SRIOV,
        "sriov" = sys::nvmlHostVgpuMode_enum_NVML_HOST_VGPU_MODE_SRIOV,
    }
}

named! {
    Environment: u32 {
        "unavailable" = sys::NVML_CC_SYSTEM_ENVIRONMENT_UNAVAILABLE,
        "simulation" = sys::NVML_CC_SYSTEM_ENVIRONMENT_SIM,
        "production" = sys::NVML_CC_SYSTEM_ENVIRONMENT_PROD,
    }
}

named! {
    MultiGpu: u32 {
        "none" = sys::NVML_CC_SYSTEM_MULTIGPU_NONE,
        "protected_pcie" = sys::NVML_CC_SYSTEM_MULTIGPU_PROTECTED_PCIE,
        "nvle" = sys::NVML_CC_SYSTEM_MULTIGPU_NVLE,
    }
}

/// The node's state of confidential computing.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ConfidentialComputing {
    pub environment: Environment,
    pub enabled: bool,
    pub dev_tools: bool,
    pub multi_gpu: MultiGpu,
    /// The GPUs take work.
    pub ready: bool,
}

/// Memory that only the virtual machine sees.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ProtectedMemory {
    pub total_bytes: u64,
    pub used_bytes: u64,
}

/// Where in its rack a GPU sits (`nvmlDeviceGetPlatformInfo`).
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// Sixteen bytes, as 32 hexadecimal digits.
    pub ib_guid: super::fabric::ClusterUuid,
    /// At most sixteen characters.
    pub chassis_serial: String,
    pub slot: u8,
    pub tray: u8,
    pub host: u8,
    pub peer_type: u8,
    pub module: u8,
}
