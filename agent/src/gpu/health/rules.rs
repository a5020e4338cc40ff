//! The rules: figures in, findings out. Each rule has a test that raises it and one that comes close and does not.

use nvml_wrapper_sys::bindings::{
    NVML_GPU_FABRIC_STATE_COMPLETED, NVML_GPU_FABRIC_STATE_NOT_SUPPORTED,
    nvmlClocksEventReasonSwThermalSlowdown, nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
    nvmlClocksThrottleReasonHwSlowdown, nvmlClocksThrottleReasonHwThermalSlowdown,
};

use super::{Evidence, Finding, Verdict, vitals::Vitals};

/// A margin at which the next warm minute slows the GPU down. Degrees Celsius.
const THIN_MARGIN_CELSIUS: i32 = 3;

/// Every finding about one GPU.
#[must_use]
pub fn findings(v: &Vitals) -> Vec<Finding> {
    // A GPU that is lost answers nothing else truthfully.
    if let Some(lost) = lost(v) {
        return vec![lost];
    }
    let rules = [
        recovery_action,
        rows,
        retired_pages,
        ecc,
        slowdown,
        heat,
        pcie_width,
        pcie_generation,
        nvlink,
        fabric,
    ];
    rules.iter().filter_map(|rule| rule(v)).collect()
}

fn lost(v: &Vitals) -> Option<Finding> {
    v.lost.then(|| Finding {
        id: "gpu_lost",
        verdict: Verdict::Unreachable,
        summary: "NVML no longer reaches this GPU (NVML_ERROR_GPU_IS_LOST).".to_owned(),
        evidence: vec![Evidence::new("nvml_return", "NVML_ERROR_GPU_IS_LOST")],
        advice: "Drain the node, then reboot it; if the GPU is lost again, reseat or replace it. analyze_xid_errors shows whether Xid 79 came first.",
        nvidia_action: Some("RESTART_BM"),
    })
}

/// The driver's own verdict, the number of Xid 154.
fn recovery_action(v: &Vitals) -> Option<Finding> {
    let (name, advice, nvidia_action) = match v.recovery_action? {
        0 => return None,
        1 => (
            "GPU reset",
            "Drain this GPU and reset it (nvidia-smi --gpu-reset -i <index>).",
            "RESET_GPU",
        ),
        2 => ("node reboot", "Drain the node and reboot it.", "RESTART_BM"),
        3 => (
            "drain P2P",
            "Let the work that shares this GPU's memory with its peers end; start none.",
            "DRAIN_P2P",
        ),
        4 => (
            "drain and reset",
            "Drain the work on this GPU and its peers, then reset it.",
            "DRAIN_AND_RESET",
        ),
        5 => (
            "reset of the IMEX domain",
            "Drain the nodes of this NVLink domain and restart its IMEX daemons.",
            "RESET_FABRIC",
        ),
        _ => (
            "one this version does not know",
            "Read the driver's release notes for the recovery action named.",
            "CONTACT_SUPPORT",
        ),
    };
    Some(Finding {
        id: "recovery_action",
        verdict: Verdict::Failed,
        summary: format!("The driver asks for a recovery action: {name}."),
        evidence: vec![Evidence::new("recovery_action", v.recovery_action?)],
        advice,
        nvidia_action: Some(nvidia_action),
    })
}

/// Row remapping of A100 and later: pending is Xid 63, failed is Xid 64.
fn rows(v: &Vitals) -> Option<Finding> {
    let rows = v.remapped_rows.filter(|rows| rows.pending || rows.failed)?;
    let evidence = vec![
        Evidence::new("remapped_rows_correctable", rows.correctable),
        Evidence::new("remapped_rows_uncorrectable", rows.uncorrectable),
        Evidence::new("remapping_pending", rows.pending),
        Evidence::new("remapping_failed", rows.failed),
    ];
    Some(if rows.failed {
        Finding {
            id: "row_remap_failed",
            verdict: Verdict::Failed,
            summary: "A memory row could not be remapped: the spare rows of its bank are used up."
                .to_owned(),
            evidence,
            advice: "Take the GPU out of service and replace it: the next error in that bank cannot be repaired.",
            nvidia_action: Some("CONTACT_SUPPORT"),
        }
    } else {
        Finding {
            id: "row_remap_pending",
            verdict: Verdict::Degraded,
            summary: "A memory row is marked for remapping, which happens at the next GPU reset."
                .to_owned(),
            evidence,
            advice: "Drain this GPU at the next opportunity and reset it (nvidia-smi --gpu-reset -i <index>).",
            nvidia_action: Some("RESET_GPU"),
        }
    })
}

/// Page retirement of boards before A100.
fn retired_pages(v: &Vitals) -> Option<Finding> {
    (v.retired_pages_pending == Some(true)).then(|| Finding {
        id: "retired_pages_pending",
        verdict: Verdict::Degraded,
        summary:
            "A memory page is marked for retirement, which happens when the driver next starts."
                .to_owned(),
        evidence: vec![Evidence::new("retired_pages_pending", true)],
        advice: "Drain the node and reload the driver or reboot.",
        nvidia_action: Some("RESET_GPU"),
    })
}

/// Uncorrected errors since the driver was loaded. Lifetime counts are history, not a state.
fn ecc(v: &Vitals) -> Option<Finding> {
    let count = v.ecc_uncorrected_volatile.filter(|count| *count > 0)?;
    Some(Finding {
        id: "ecc_uncorrected",
        verdict: Verdict::Degraded,
        summary: format!("{count} uncorrected ECC error(s) since the driver was loaded."),
        evidence: vec![Evidence::new("ecc_uncorrected_volatile", count)],
        advice: "Results computed on this GPU since then are suspect. See analyze_xid_errors for Xid 48, 63, 64, 94 and 95; drain and reset the GPU.",
        nvidia_action: Some("WORKFLOW_XID_48"),
    })
}

/// The hardware slows itself down: heat, the power brake, or a cause the driver does not name.
fn slowdown(v: &Vitals) -> Option<Finding> {
    let bits = v.clocks_event_reasons?;
    let has = |bit: u32| bits & u64::from(bit) != 0;
    let (id, summary, advice) = if has(nvmlClocksThrottleReasonHwThermalSlowdown) {
        (
            "hw_thermal_slowdown",
            "The hardware halves the clocks because it is too hot.",
            "Check fans, airflow, inlet temperature and the cooler's seat.",
        )
    } else if has(nvmlClocksThrottleReasonHwPowerBrakeSlowdown) {
        (
            "hw_power_brake",
            "The power brake is asserted: the board is told from outside to use less power.",
            "Check the power supplies and the rack's power capping; ask who asserts the brake.",
        )
    } else if has(nvmlClocksThrottleReasonHwSlowdown) {
        (
            "hw_slowdown",
            "The hardware slows the clocks down.",
            "Check power and cooling of this board.",
        )
    } else if has(nvmlClocksEventReasonSwThermalSlowdown) {
        (
            "sw_thermal_slowdown",
            "The driver lowers the clocks to stay under the temperature limit.",
            "Check fans, airflow and inlet temperature before the hardware has to step in.",
        )
    } else {
        return None;
    };
    let verdict = if id == "sw_thermal_slowdown" { Verdict::Attention } else { Verdict::Degraded };
    let mut evidence = vec![Evidence::new("clocks_event_reasons", format_args!("{bits:#x}"))];
    evidence.extend(v.temperature_celsius.map(|t| Evidence::new("temperature_celsius", t)));
    Some(Finding {
        id,
        verdict,
        summary: summary.to_owned(),
        evidence,
        advice,
        nvidia_action: None,
    })
}

/// Almost too hot: only said while nothing is slowed down yet.
fn heat(v: &Vitals) -> Option<Finding> {
    let margin = v.thermal_margin_celsius.filter(|margin| *margin <= THIN_MARGIN_CELSIUS)?;
    let mut evidence = vec![Evidence::new("thermal_margin_celsius", margin)];
    evidence.extend(v.temperature_celsius.map(|t| Evidence::new("temperature_celsius", t)));
    slowdown(v).is_none().then(|| Finding {
        id: "thermal_margin_thin",
        verdict: Verdict::Attention,
        summary: format!("{margin} °C are left until the clocks are slowed down for heat."),
        evidence,
        advice: "Check fans, airflow and inlet temperature.",
        nvidia_action: None,
    })
}

/// Fewer lanes than both ends can: a width does not shrink to save power.
fn pcie_width(v: &Vitals) -> Option<Finding> {
    let (width, max) = (v.pcie.width?, v.pcie.width_max?);
    (width < max).then(|| Finding {
        id: "pcie_width",
        verdict: Verdict::Degraded,
        summary: format!("The PCIe link runs x{width} where x{max} is possible."),
        evidence: vec![Evidence::new("pcie_width", width), Evidence::new("pcie_width_max", max)],
        advice: "Reseat the board and its riser; see analyze_xid_errors for AER lines of this address.",
        nvidia_action: Some("CHECK_MECHANICALS"),
    })
}

/// A slower generation than possible while the GPU works. Idle GPUs lower it on purpose.
fn pcie_generation(v: &Vitals) -> Option<Finding> {
    let (generation, max, load) =
        (v.pcie.generation?, v.pcie.generation_max?, v.gpu_utilization_percent?);
    (generation < max && load > 0).then(|| Finding {
        id: "pcie_generation",
        verdict: Verdict::Attention,
        summary: format!("The PCIe link runs at Gen{generation} under load where Gen{max} is possible."),
        evidence: vec![
            Evidence::new("pcie_generation", generation),
            Evidence::new("pcie_generation_max", max),
            Evidence::new("gpu_utilization_percent", load),
        ],
        advice: "Look again under load; if it stays, reseat the board and check the slot's BIOS setting.",
        nvidia_action: None,
    })
}

/// Links down on a GPU that is part of a switched fabric, where every link is wired. On boards joined by bridges
/// unused links are down by design.
fn nvlink(v: &Vitals) -> Option<Finding> {
    let in_fabric =
        v.fabric.is_some_and(|fabric| fabric.state != NVML_GPU_FABRIC_STATE_NOT_SUPPORTED);
    let list = |links: &[u32]| links.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    (in_fabric && !v.nvlink_down.is_empty()).then(|| Finding {
        id: "nvlink_down",
        verdict: Verdict::Degraded,
        summary: format!("{} of {} NVLinks are down.", v.nvlink_down.len(), v.nvlink_down.len() + v.nvlink_up.len()),
        evidence: vec![Evidence::new("nvlink_down", list(&v.nvlink_down)), Evidence::new("nvlink_up", list(&v.nvlink_up))],
        advice: "See analyze_xid_errors for Xid 74 or 144 to 150 and SXids; reset the GPU, then check the fabric manager's log.",
        nvidia_action: Some("WORKFLOW_NVLINK_ERR"),
    })
}

/// The names of the fabric health fields, two bits each from bit 0; 1 means yes (nvml.h).
const FABRIC_FAULTS: [(u32, &str); 4] = [
    (0, "degraded bandwidth"),
    (2, "route recovery in progress"),
    (4, "route unhealthy"),
    (6, "access timeout recovery"),
];

fn fabric(v: &Vitals) -> Option<Finding> {
    let fabric = v.fabric?;
    let evidence = vec![
        Evidence::new("fabric_state", fabric.state),
        Evidence::new("fabric_status", fabric.status),
        Evidence::new("fabric_health_mask", format_args!("{:#x}", fabric.health_mask)),
    ];
    let faults: Vec<&str> = FABRIC_FAULTS
        .iter()
        .filter(|(shift, _)| fabric.health_mask >> shift & 3 == 1)
        .map(|(_, name)| *name)
        .collect();
    let summary = match fabric.state {
        NVML_GPU_FABRIC_STATE_NOT_SUPPORTED => return None,
        NVML_GPU_FABRIC_STATE_COMPLETED if fabric.status != 0 => {
            format!("The GPU's registration with the NVLink fabric failed with NVML code {}.", fabric.status)
        }
        NVML_GPU_FABRIC_STATE_COMPLETED if faults.is_empty() => return None,
        NVML_GPU_FABRIC_STATE_COMPLETED => format!("The NVLink fabric reports: {}.", faults.join(", ")),
        _ => "The GPU has not finished its registration with the NVLink fabric; jobs over several GPUs cannot start.".to_owned(),
    };
    Some(Finding {
        id: "fabric",
        verdict: Verdict::Degraded,
        summary,
        evidence,
        advice: "Check that nvidia-fabricmanager runs and fits the driver's version, and read its log.",
        nvidia_action: None,
    })
}

#[cfg(test)]
#[path = "rules_test.rs"]
mod tests;
