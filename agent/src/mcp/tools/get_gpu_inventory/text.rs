//! The answer of `get_gpu_inventory` for people: a line a GPU, and with all details a short table of each.

use std::fmt::{Display, Write as _};

use super::{
    answer::{ConfidentialAnswer, GpuAnswer, Inventory},
    detail::GpuDetail,
    mig::{GpuInstanceAnswer, MigAnswer},
};
use crate::mcp::{render, tool::Answer};

/// A value, or that there is none.
fn or<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "N/A".to_owned(), |value| value.to_string())
}

fn bytes(value: Option<u64>) -> String {
    or(value.map(render::bytes))
}

fn watts(milliwatts: Option<u32>) -> String {
    or(milliwatts.map(|milliwatts| milliwatts / 1000))
}

fn switch(on: Option<bool>) -> &'static str {
    match on {
        Some(true) => "on",
        Some(false) => "off",
        None => "N/A",
    }
}

impl Answer for Inventory {
    fn text(&self) -> String {
        let mut text = format!(
            "{}, driver {}",
            render::count(self.gpu_count.into(), "GPU"),
            or(self.driver_version.as_ref())
        );
        if let Some(module) = &self.kernel_module {
            let _ = write!(text, " ({} kernel module)", module.flavour);
        }
        let (cuda, nvml) = (self.cuda_version.as_ref(), self.nvml_version.as_ref());
        let _ = write!(text, ", CUDA {}, NVML {}", or(cuda), or(nvml));
        if let Some(confidential) = self.confidential_computing.as_ref().filter(|c| c.enabled) {
            let _ = write!(text, "\n{}", confidential.line());
        }
        for gpu in &self.gpus {
            let _ = write!(text, "\n{}", gpu.line());
            if let Some(detail) = &gpu.detail {
                detail.lines(gpu).iter().for_each(|line| {
                    let _ = write!(text, "\n  {line}");
                });
            }
        }
        if let Some(cursor) = &self.next_cursor {
            let _ = write!(text, "\nThere are more: pass cursor {cursor}.");
        }
        text
    }
}

impl ConfidentialAnswer {
    fn line(&self) -> String {
        format!(
            "Confidential computing, environment {}, GPUs {}, several GPUs: {}",
            self.environment,
            match self.gpus_ready {
                Some(true) => "ready",
                Some(false) => "not ready",
                None => "N/A",
            },
            or(self.multi_gpu.as_ref())
        )
    }
}

impl GpuAnswer {
    fn line(&self) -> String {
        let (address, product) = (self.pci_address.as_ref(), self.product.as_ref());
        let mut line = format!("GPU {}  {}  {}", self.index, or(address), or(product));
        if let Some(error) = &self.error {
            let _ = write!(line, "  {error}");
            return line;
        }
        if let (Some(total), Some(used)) = (self.memory_total_bytes, self.memory_used_bytes) {
            let _ = write!(line, "  {}, {} used", render::bytes(total), render::bytes(used));
        }
        if let Some(celsius) = self.temperature_celsius {
            let _ = write!(line, "  {celsius} °C");
        }
        if let (Some(power), Some(limit)) = (self.power_mw, self.power_limit_mw) {
            let _ = write!(line, "  {} W of {} W", power / 1000, limit / 1000);
        }
        if let Some(percent) = self.gpu_utilization_percent {
            let _ = write!(line, "  {percent} % busy");
        }
        if self.mig_enabled == Some(true) {
            line.push_str("  MIG");
        }
        for profile in self.mig_profiles.iter().flatten() {
            let _ = write!(line, " {profile}");
        }
        line
    }
}

impl GpuDetail {
    fn lines(&self, gpu: &GpuAnswer) -> Vec<String> {
        let mut lines = vec![
            format!("UUID    {}", or(gpu.uuid.as_ref())),
            format!(
                "board   serial {}, part {}, id {}, module {}",
                or(self.serial.as_ref()),
                or(self.board_part_number.as_ref()),
                or(self.board_id.as_ref()),
                or(self.module_id),
            ),
            format!(
                "chip    {} {}, compute capability {}, {} cores",
                or(self.brand.as_ref()),
                or(self.architecture.as_ref()),
                or(self.compute_capability.as_ref()),
                or(self.cuda_cores),
            ),
            format!(
                "image   VBIOS {}, InfoROM {}, GSP firmware: {}",
                or(self.vbios_version.as_ref()),
                or(self.inforom_image_version.as_ref()),
                or(self.gsp_firmware_version.as_ref()),
            ),
            format!(
                "memory  {} free, {} reserved, {} bit; BAR1 {}, {} used; protected {}, {} used",
                bytes(self.memory_free_bytes),
                bytes(self.memory_reserved_bytes),
                or(self.memory_bus_width_bits),
                bytes(self.bar1_total_bytes),
                bytes(self.bar1_used_bytes),
                bytes(self.protected_memory_total_bytes),
                bytes(self.protected_memory_used_bytes),
            ),
            format!(
                "power   limit in W: default {}, requested {}, from {} to {}",
                watts(self.power_limit_default_mw),
                watts(self.power_limit_requested_mw),
                watts(self.power_limit_min_mw),
                watts(self.power_limit_max_mw),
            ),
            format!(
                "clocks  now/most in MHz: graphics {}/{}, SM {}/{}, memory {}/{}, video {}/{}",
                or(self.graphics_clock_mhz),
                or(self.graphics_clock_max_mhz),
                or(self.sm_clock_mhz),
                or(self.sm_clock_max_mhz),
                or(self.memory_clock_mhz),
                or(self.memory_clock_max_mhz),
                or(self.video_clock_mhz),
                or(self.video_clock_max_mhz),
            ),
            format!(
                "PCIe    Gen{} x{}; Gen{} x{} with this slot; the GPU can Gen{}; device {}, subsystem {}",
                or(self.pcie_generation),
                or(self.pcie_width),
                or(self.pcie_generation_max),
                or(self.pcie_width_max),
                or(self.pcie_device_generation_max),
                or(self.pci_device_id.as_ref()),
                or(self.pci_subsystem_id.as_ref()),
            ),
            format!(
                "place   /dev/nvidia{}, NUMA node {}, CPUs {}, own memory in node {}",
                or(self.minor_number),
                or(self.host_numa_node),
                or(self.cpu_affinity.as_ref()),
                or(self.numa_node),
            ),
            self.modes(gpu),
        ];
        lines.extend(self.links());
        lines.extend(self.mig.iter().flat_map(MigAnswer::lines));
        lines
    }

    fn modes(&self, gpu: &GpuAnswer) -> String {
        format!(
            "modes   persistence {}, compute {}, ECC {} ({} after a reset), display {}, virtualization {}, host vGPU {}",
            switch(self.persistence_mode),
            or(self.compute_mode.as_ref()),
            switch(gpu.ecc_enabled),
            switch(self.ecc_pending),
            switch(self.display_active),
            or(self.virtualization_mode.as_ref()),
            or(self.host_vgpu_mode.as_ref()),
        )
    }

    /// What only some boards have.
    fn links(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(nvlink) = &self.nvlink {
            lines.push(format!(
                "NVLink  {} of version {}, {} up, {} down",
                render::count(nvlink.link_count.into(), "link"),
                or(nvlink.version.as_ref()),
                or(nvlink.up),
                or(nvlink.down)
            ));
        }
        if let Some(fabric) = &self.fabric {
            lines.push(format!(
                "fabric  {}, status {}, clique {}, cluster {}",
                fabric.state,
                or(fabric.status),
                or(fabric.clique_id),
                or(fabric.cluster_uuid.as_ref())
            ));
        }
        if let Some(platform) = &self.platform {
            lines.push(format!(
                "rack    chassis {}, slot {}, tray {}, host {}, module {}",
                platform.chassis_serial,
                platform.slot_number,
                platform.tray_index,
                platform.host_id,
                platform.module_id
            ));
        }
        lines
    }
}

impl MigAnswer {
    fn lines(&self) -> Vec<String> {
        let (now, then) = (switch(Some(self.enabled)), switch(Some(self.pending)));
        let mut lines = vec![format!(
            "MIG     {now} ({then} after a reset), at most {} devices",
            or(self.devices_max)
        )];
        match &self.gpu_instances {
            Some(instances) => lines.extend(instances.iter().flat_map(GpuInstanceAnswer::lines)),
            None => lines.push("  GPU instances: N/A".to_owned()),
        }
        lines
    }
}

impl GpuInstanceAnswer {
    fn lines(&self) -> Vec<String> {
        let mut line = format!("  GPU instance {}  {}", self.id, or(self.profile.as_ref()));
        if let (Some(start), Some(size)) = (self.placement_start, self.placement_size) {
            let _ = match size {
                1 => write!(line, "  slice {start} of memory"),
                _ => write!(
                    line,
                    "  slices {start} to {} of memory",
                    start.saturating_add(size).saturating_sub(1)
                ),
            };
        }
        if let (Some(total), Some(used)) = (self.memory_total_bytes, self.memory_used_bytes) {
            let _ = write!(line, "  {}, {} used", render::bytes(total), render::bytes(used));
        }
        match &self.compute_instances {
            Some(instances) if instances.is_empty() => {
                line.push_str("  NO COMPUTE INSTANCE: nothing can run there");
            }
            Some(_) => {}
            None => line.push_str("  compute instances: N/A"),
        }
        let compute = self.compute_instances.iter().flatten().map(|compute| {
            let (uuid, sms) = (or(compute.uuid.as_ref()), or(compute.sm_count));
            format!("    compute instance {}  {uuid}  {sms} SMs", compute.id)
        });
        std::iter::once(line).chain(compute).collect()
    }
}
