//! What `detail: full` adds to a GPU.

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use super::mig::MigAnswer;
use crate::gpu::inventory::{Details, Fabric, Gpu, NvLinks, Platform};

#[derive(Debug, Serialize, JsonSchema)]
pub struct GpuDetail {
    pub brand: Option<String>,
    pub architecture: Option<String>,
    pub compute_capability: Option<String>,
    pub cuda_cores: Option<u32>,
    pub serial: Option<String>,
    pub board_part_number: Option<String>,
    /// The same for all GPUs of one board.
    pub board_id: Option<String>,
    /// On its baseboard.
    pub module_id: Option<u32>,
    pub vbios_version: Option<String>,
    pub inforom_image_version: Option<String>,
    /// Null where the driver runs without.
    pub gsp_firmware_version: Option<String>,
    pub gsp_firmware_enabled: Option<bool>,
    pub gsp_firmware_default: Option<bool>,
    /// Device and vendor, as `0x233010DE`.
    pub pci_device_id: Option<String>,
    pub pci_subsystem_id: Option<String>,
    /// The N of /dev/nvidiaN.
    pub minor_number: Option<u32>,
    /// Kept by driver and firmware.
    pub memory_reserved_bytes: Option<u64>,
    pub memory_free_bytes: Option<u64>,
    pub memory_bus_width_bits: Option<u32>,
    pub bar1_total_bytes: Option<u64>,
    pub bar1_used_bytes: Option<u64>,
    pub bar1_free_bytes: Option<u64>,
    /// Memory that only a confidential virtual machine sees.
    pub protected_memory_total_bytes: Option<u64>,
    pub protected_memory_used_bytes: Option<u64>,
    pub power_limit_default_mw: Option<u32>,
    pub power_limit_requested_mw: Option<u32>,
    pub power_limit_min_mw: Option<u32>,
    pub power_limit_max_mw: Option<u32>,
    pub graphics_clock_mhz: Option<u32>,
    pub graphics_clock_max_mhz: Option<u32>,
    pub sm_clock_mhz: Option<u32>,
    pub sm_clock_max_mhz: Option<u32>,
    pub memory_clock_mhz: Option<u32>,
    pub memory_clock_max_mhz: Option<u32>,
    pub video_clock_mhz: Option<u32>,
    pub video_clock_max_mhz: Option<u32>,
    /// Share of the last sample period in which memory was read or written.
    pub memory_utilization_percent: Option<u32>,
    pub pcie_generation: Option<u32>,
    /// Of GPU and slot together.
    pub pcie_generation_max: Option<u32>,
    /// Of the GPU alone.
    pub pcie_device_generation_max: Option<u32>,
    pub pcie_width: Option<u32>,
    pub pcie_width_max: Option<u32>,
    /// Of the GPU's own memory, where CPUs reach it as theirs.
    pub numa_node: Option<u32>,
    /// Of the host, nearest to the GPU.
    pub host_numa_node: Option<u32>,
    /// CPUs near the GPU: `0-31,64-95`.
    pub cpu_affinity: Option<String>,
    pub persistence_mode: Option<bool>,
    pub compute_mode: Option<String>,
    pub display_active: Option<bool>,
    pub display_mode: Option<bool>,
    /// After the next reset.
    pub ecc_pending: Option<bool>,
    /// `none`, `passthrough`, `vgpu`, `host_vgpu`, `host_vsga`.
    pub virtualization_mode: Option<String>,
    /// `sriov` or `non_sriov`.
    pub host_vgpu_mode: Option<String>,
    pub nvlink: Option<NvLinkAnswer>,
    pub fabric: Option<FabricAnswer>,
    /// Where in its rack the GPU sits.
    pub platform: Option<PlatformAnswer>,
    pub mig: Option<MigAnswer>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct NvLinkAnswer {
    pub link_count: u32,
    pub version: Option<String>,
    pub up: Option<u32>,
    pub down: Option<u32>,
}

/// All but the state is null until that is `completed`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FabricAnswer {
    /// `not_supported`, `not_started`, `in_progress`, `completed`.
    pub state: String,
    /// NVML's return code of the registration: 0 is success.
    pub status: Option<u32>,
    pub clique_id: Option<u32>,
    pub cluster_uuid: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct PlatformAnswer {
    pub ib_guid: String,
    pub chassis_serial: String,
    pub slot_number: u32,
    pub tray_index: u32,
    pub host_id: u32,
    /// NVML's number of what is at the other end of the `NVLinks`.
    pub peer_type: u32,
    pub module_id: u32,
}

impl GpuDetail {
    pub fn of(details: Details, gpu: &Gpu) -> Self {
        let Details {
            identity,
            windows,
            power_limits,
            clocks,
            pcie,
            pcie_device_generation_max,
            place,
            modes,
            nvlink,
            fabric,
        } = details;
        let id = |id: u32| format!("0x{id:08X}");
        Self {
            brand: identity.brand,
            architecture: identity.architecture,
            compute_capability: identity.compute_capability,
            cuda_cores: identity.cuda_cores,
            serial: identity.serial,
            board_part_number: identity.board_part_number,
            board_id: identity.board_id.map(|id| format!("{id:#x}")),
            module_id: identity.module_id,
            vbios_version: identity.vbios_version,
            inforom_image_version: identity.inforom_image_version,
            gsp_firmware_version: identity.gsp_firmware_version,
            gsp_firmware_enabled: identity.gsp_firmware_enabled,
            gsp_firmware_default: identity.gsp_firmware_default,
            pci_device_id: identity.pci_device_id.map(id),
            pci_subsystem_id: identity.pci_subsystem_id.map(id),
            minor_number: gpu.name.minor,
            memory_reserved_bytes: gpu.memory.reserved_bytes,
            memory_free_bytes: gpu.memory.free_bytes,
            memory_bus_width_bits: windows.bus_width_bits,
            bar1_total_bytes: windows.bar1_total_bytes,
            bar1_used_bytes: windows.bar1_used_bytes,
            bar1_free_bytes: windows.bar1_free_bytes,
            protected_memory_total_bytes: windows.protected_total_bytes,
            protected_memory_used_bytes: windows.protected_used_bytes,
            power_limit_default_mw: power_limits.default_mw,
            power_limit_requested_mw: power_limits.requested_mw,
            power_limit_min_mw: power_limits.min_mw,
            power_limit_max_mw: power_limits.max_mw,
            graphics_clock_mhz: clocks.graphics.now_mhz,
            graphics_clock_max_mhz: clocks.graphics.max_mhz,
            sm_clock_mhz: clocks.sm.now_mhz,
            sm_clock_max_mhz: clocks.sm.max_mhz,
            memory_clock_mhz: clocks.memory.now_mhz,
            memory_clock_max_mhz: clocks.memory.max_mhz,
            video_clock_mhz: clocks.video.now_mhz,
            video_clock_max_mhz: clocks.video.max_mhz,
            memory_utilization_percent: gpu.memory_utilization_percent,
            pcie_generation: pcie.generation,
            pcie_generation_max: pcie.generation_max,
            pcie_device_generation_max,
            pcie_width: pcie.width,
            pcie_width_max: pcie.width_max,
            numa_node: place.numa_node,
            host_numa_node: place.host_numa_node,
            cpu_affinity: place.cpu_affinity,
            persistence_mode: modes.persistence,
            compute_mode: modes.compute.map(ToOwned::to_owned),
            display_active: modes.display_active,
            display_mode: modes.display_mode,
            ecc_pending: gpu.ecc_pending,
            virtualization_mode: modes.virtualization,
            host_vgpu_mode: modes.host_vgpu,
            nvlink: nvlink.map(NvLinkAnswer::of),
            fabric: fabric.map(FabricAnswer::of),
            platform: place.platform.map(PlatformAnswer::of),
            mig: MigAnswer::of(&gpu.mig),
        }
    }
}

impl NvLinkAnswer {
    fn of(NvLinks { count, version, up, down }: NvLinks) -> Self {
        Self { link_count: count, version, up, down }
    }
}

impl FabricAnswer {
    fn of(Fabric { state, status, clique_id, cluster_uuid }: Fabric) -> Self {
        Self { state, status, clique_id, cluster_uuid }
    }
}

impl PlatformAnswer {
    fn of(platform: Platform) -> Self {
        let Platform { ib_guid, chassis_serial, slot, tray, host, peer_type, module } = platform;
        Self {
            ib_guid,
            chassis_serial,
            slot_number: slot,
            tray_index: tray,
            host_id: host,
            peer_type,
            module_id: module,
        }
    }
}
