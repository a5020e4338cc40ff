//! The link to the host. What is possible is what both of its ends can: a slot older than its board is no fault.

use std::time::Duration;

use super::{Case, DCGM, NVML, OURS, Raised, Rule};
use crate::gpu::health::{Verdict, before::LOAD_PERCENT};

pub const RULES: &[Rule] = &[
    Rule { id: "pcie_width", source: NVML, judge: width },
    Rule { id: "pcie_generation", source: OURS, judge: generation },
    Rule { id: "pcie_replays", source: DCGM, judge: replays },
    Rule { id: "pcie_errors", source: NVML, judge: errors },
];

/// Packets sent again in a minute.
const REPLAYS_PER_MINUTE: f64 = 8.0;

/// Fewer lanes than both ends can: a width does not shrink to save power. A virtual machine does not see the slot's end, so that
/// there only a width that is less than it ever was counts.
fn width(case: &Case<'_>) -> Option<Raised> {
    let pcie = &case.now.pcie;
    let width = pcie.link.width?;
    let earlier = case.before.and_then(|before| before.best.pcie_width);
    let possible = if pcie.virtual_machine == Some(true) { None } else { pcie.link.width_max };
    let max = possible.max(earlier)?;
    (width < max).then(|| {
        let raised = Raised::new(
            Verdict::Degraded,
            format!("The PCIe link runs x{width} where x{max} is possible."),
            "Reseat the board and its riser; see analyze_xid_errors for AER lines of this address.",
        );
        let raised = raised.with("pcie_width", width).maybe("pcie_width_max", pcie.link.width_max);
        raised.maybe("pcie_width_before", earlier).action("CHECK_MECHANICALS")
    })
}

/// A slower generation than possible while the GPU works; in a virtual machine than there ever was while it worked.
fn generation(case: &Case<'_>) -> Option<Raised> {
    let pcie = &case.now.pcie;
    let load = case.now.gpu_utilization_percent.filter(|load| *load >= LOAD_PERCENT)?;
    let generation = pcie.link.generation?;
    let earlier = case.before.and_then(|before| before.best.pcie_generation);
    let of_gpu = pcie.generation_max_of_gpu.unwrap_or(u32::MAX);
    let possible = pcie.link.generation_max.filter(|_| pcie.virtual_machine != Some(true));
    let max = possible.map(|max| max.min(of_gpu)).max(earlier)?;
    (generation < max).then(|| {
        let raised = Raised::new(
            Verdict::Attention,
            format!("The PCIe link runs at Gen{generation} under load where Gen{max} is possible."),
            "Look again under load; if it stays, reseat the board and check the slot's BIOS setting.",
        );
        raised
            .with("pcie_generation", generation)
            .maybe("pcie_generation_max", pcie.link.generation_max)
            .maybe("pcie_generation_before", earlier)
            .with("gpu_utilization_percent", load)
    })
}

/// Packets that had to be sent again, by how fast they come: every link has had some.
fn replays(case: &Case<'_>) -> Option<Raised> {
    let before = case.before?;
    let grown = before.growth(case.now, |vitals| vitals.pcie.replays)?;
    let rate = before.rate(grown, Duration::from_mins(1))?;
    (rate > REPLAYS_PER_MINUTE).then(|| {
        let raised = Raised::new(
            Verdict::Attention,
            format!("The PCIe link sends {rate:.0} packets a minute again."),
            "Reseat the board and its riser; see analyze_xid_errors for AER lines of this address.",
        );
        let corrected = before.growth(case.now, |vitals| vitals.pcie.correctable_errors);
        raised
            .with("pcie_replays_grown_by", grown)
            .maybe("pcie_correctable_errors_grown_by", corrected)
            .since(before)
            .action("CHECK_MECHANICALS")
    })
}

/// Errors that the link could not correct by itself.
fn errors(case: &Case<'_>) -> Option<Raised> {
    let before = case.before?;
    let fatal = before.growth(case.now, |vitals| vitals.pcie.fatal_errors).unwrap_or(0);
    let other = before.growth(case.now, |vitals| vitals.pcie.non_fatal_errors).unwrap_or(0);
    (fatal > 0 || other > 0).then(|| {
        let verdict = if fatal > 0 { Verdict::Degraded } else { Verdict::Attention };
        let raised = Raised::new(
            verdict,
            "The PCIe link had errors that it could not correct.",
            "See analyze_xid_errors for AER lines of this address and for Xid 79; reseat the board and its riser.",
        );
        raised
            .with("pcie_fatal_errors_grown_by", fatal)
            .with("pcie_non_fatal_errors_grown_by", other)
            .since(before)
            .action("CHECK_MECHANICALS")
    })
}
