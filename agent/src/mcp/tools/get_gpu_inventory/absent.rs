//! Why values are null, those together that have one reason.

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use crate::gpu::reading::Absent;

/// Values that are null for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AbsentGroup {
    /// Their names, those in `detail` without it: `vbios_version`, `mig.devices_max`.
    fields: Vec<&'static str>,
    /// NVML's words; with its function where it failed.
    reason: String,
    /// This board or driver does not have them.
    by_design: bool,
}

/// The reasons of those values that `shown` says are in the answer.
pub fn groups(absent: Vec<Absent>, shown: impl Fn(&str) -> bool) -> Vec<AbsentGroup> {
    let mut groups: Vec<AbsentGroup> = Vec::new();
    for Absent { field, call, reason, by_design } in absent {
        let reason = if by_design { reason } else { format!("{call}: {reason}") };
        let own = [field];
        for field in names(field).unwrap_or(&own).iter().copied().filter(|field| shown(field)) {
            let same = |group: &&mut AbsentGroup| group.reason == reason;
            match groups.iter_mut().find(same) {
                Some(group) if group.fields.contains(&field) => {}
                Some(group) => group.fields.push(field),
                None => groups.push(AbsentGroup {
                    fields: vec![field],
                    reason: reason.clone(),
                    by_design,
                }),
            }
        }
    }
    groups
}

/// The values that one call has; `None` where it has one of its own name.
fn names(reading: &str) -> Option<&'static [&'static str]> {
    Some(match reading {
        "pci" => &["pci_address"],
        "pci_ids" => &["pci_device_id", "pci_subsystem_id"],
        "memory" => &[
            "memory_total_bytes",
            "memory_used_bytes",
            "memory_reserved_bytes",
            "memory_free_bytes",
        ],
        "bar1" => &["bar1_total_bytes", "bar1_used_bytes", "bar1_free_bytes"],
        "protected_memory" => &["protected_memory_total_bytes", "protected_memory_used_bytes"],
        "utilization" => &["gpu_utilization_percent", "memory_utilization_percent"],
        "ecc_enabled" => &["ecc_enabled", "ecc_pending"],
        "mig_enabled" => &["mig_enabled", "mig_profiles", "mig"],
        "mig.gpu_instances" => &["mig_profiles", "mig.gpu_instances"],
        "gsp_firmware_mode" => &["gsp_firmware_enabled", "gsp_firmware_default"],
        "power_limit_range" => &["power_limit_min_mw", "power_limit_max_mw"],
        "fabric.status" => &["fabric.status", "fabric.clique_id", "fabric.cluster_uuid"],
        "nvlink.up" => &["nvlink.up", "nvlink.down"],
        "mig.gpu_instances.placement" => {
            &["mig.gpu_instances.placement_start", "mig.gpu_instances.placement_size"]
        }
        "mig.gpu_instances.memory" => &[
            "mig.gpu_instances.memory_total_bytes",
            "mig.gpu_instances.memory_used_bytes",
            "mig.gpu_instances.memory_reserved_bytes",
            "mig.gpu_instances.memory_free_bytes",
        ],
        "mig.gpu_instances.compute_instances.attributes" => &[
            "mig.gpu_instances.compute_instances.sm_count",
            "mig.gpu_instances.compute_instances.slices",
        ],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absent(field: &'static str, reason: &str, by_design: bool) -> Absent {
        Absent { field, call: "nvmlAsk", reason: reason.to_owned(), by_design }
    }

    #[test]
    fn what_has_one_reason_is_told_together_and_under_the_names_of_the_answer() {
        let groups = groups(
            vec![
                absent("bar1", "not supported", true),
                absent("serial", "not supported", true),
                absent("vbios_version", "unknown", false),
                absent("pci", "not supported", true),
            ],
            |field| field != "pci_address",
        );
        let told: Vec<_> =
            groups.iter().map(|g| (g.fields.join(" "), &g.reason[..], g.by_design)).collect();
        let bar1 = "bar1_total_bytes bar1_used_bytes bar1_free_bytes serial".to_owned();
        assert_eq!(
            told,
            [
                (bar1, "not supported", true),
                ("vbios_version".to_owned(), "nvmlAsk: unknown", false)
            ]
        );
    }
}
