//! The switches of a GPU, and where they stand.

use nvml_wrapper::{Device, enum_wrappers::device::ComputeMode};

use crate::gpu::{raw, reading::Reader};

#[derive(Debug, Clone, Default)]
pub struct Modes {
    pub persistence: Option<bool>,
    pub compute: Option<&'static str>,
    pub display_active: Option<bool>,
    /// A display is connected.
    pub display_mode: Option<bool>,
    pub virtualization: Option<String>,
    pub host_vgpu: Option<String>,
}

impl Modes {
    pub fn read(d: &Device<'_>, r: &mut Reader<'_>) -> Self {
        Self {
            persistence: r.read("persistence_mode", "nvmlDeviceGetPersistenceMode", || {
                d.is_in_persistent_mode()
            }),
            compute: r
                .read("compute_mode", "nvmlDeviceGetComputeMode", || d.compute_mode())
                .map(|mode| compute_mode_name(mode)),
            display_active: r
                .read("display_active", "nvmlDeviceGetDisplayActive", || d.is_display_active()),
            display_mode: r
                .read("display_mode", "nvmlDeviceGetDisplayMode", || d.is_display_connected()),
            virtualization: r
                .read("virtualization_mode", "nvmlDeviceGetVirtualizationMode", || {
                    raw::identity::virtualization_mode(d)
                })
                .map(virtualization_name),
            host_vgpu: r
                .read("host_vgpu_mode", "nvmlDeviceGetHostVgpuMode", || {
                    raw::identity::host_vgpu_mode(d)
                })
                .map(host_vgpu_name),
        }
    }
}

fn compute_mode_name(mode: ComputeMode) -> &'static str {
    match mode {
        ComputeMode::Default => "default",
        ComputeMode::ExclusiveThread => "exclusive_thread",
        ComputeMode::Prohibited => "prohibited",
        ComputeMode::ExclusiveProcess => "exclusive_process",
    }
}

/// `NVML_GPU_VIRTUALIZATION_MODE_*`.
fn virtualization_name(number: u32) -> String {
    let name = match number {
        0 => "none",
        1 => "passthrough",
        2 => "vgpu",
        3 => "host_vgpu",
        4 => "host_vsga",
        _ => return format!("NVML_GPU_VIRTUALIZATION_MODE {number}"),
    };
    name.to_owned()
}

/// `NVML_HOST_VGPU_MODE_*`.
fn host_vgpu_name(number: u32) -> String {
    let name = match number {
        0 => "non_sriov",
        1 => "sriov",
        _ => return format!("NVML_HOST_VGPU_MODE {number}"),
    };
    name.to_owned()
}
