//! NVLinks, and the fabric that switches make of them.

use std::time::Duration;

use nvml_wrapper_sys::bindings::{
    NVML_GPU_FABRIC_HEALTH_SUMMARY_LIMITED_CAPACITY, NVML_GPU_FABRIC_HEALTH_SUMMARY_UNHEALTHY,
    NVML_GPU_FABRIC_STATE_COMPLETED, NVML_GPU_FABRIC_STATE_IN_PROGRESS,
    NVML_GPU_FABRIC_STATE_NOT_SUPPORTED,
};

use super::{Case, DCGM, NVML, OURS, Raised, Rule};
use crate::gpu::{
    health::{
        Verdict,
        before::LATELY,
        vitals::{Link, Vitals},
    },
    raw::Fabric,
};

pub const RULES: &[Rule] = &[
    Rule { id: "nvlink_down", source: OURS, judge: down },
    Rule { id: "nvlink_recovery_failed", source: NVML, judge: recovery_failed },
    Rule { id: "nvlink_errors", source: DCGM, judge: errors },
    Rule { id: "fabric_not_ready", source: NVML, judge: not_ready },
    Rule { id: "fabric_failed", source: NVML, judge: failed },
    Rule { id: "fabric_unhealthy", source: NVML, judge: unhealthy },
    Rule { id: "fabric_misconfigured", source: NVML, judge: misconfigured },
];

/// Transfers with a wrong check sum in a second, of one link, that are more than the link is built to bear.
const CRC_PER_SECOND: f64 = 100.0;
/// A registration with the fabric that takes longer will not come to an end by itself.
const REGISTRATION: Duration = Duration::from_mins(5);

const FABRIC_MANAGER: &str =
    "Check that nvidia-fabricmanager runs and fits the driver's version, and read its log.";

fn list(links: impl Iterator<Item = u32>) -> String {
    links.map(|link| link.to_string()).collect::<Vec<_>>().join(",")
}

/// A link that should be up. On a board whose links go to switches every one is wired, so that one of them that is down while
/// others are up, of this GPU or of its peers, is a fault. On boards joined by bridges, unused links are down by design: there a
/// link counts that was ever seen up. All down is how a GPU is that works by itself: divided, or given to a virtual machine alone.
fn down(case: &Case<'_>) -> Option<Raised> {
    let nvlink = &case.now.nvlink;
    let up = nvlink.links.iter().filter(|link| link.up).count();
    let switched = nvlink.to_switches.unwrap_or(0) > 0
        || fabric(case.now).is_some_and(|it| it.state == NVML_GPU_FABRIC_STATE_COMPLETED);
    let alone = nvlink.peers_on_switches && case.now.mig_enabled == Some(false);
    let before = case.before.filter(|_| case.now.mig_enabled != Some(true));
    let was_up = |link| before.is_some_and(|before| before.best.links_up.contains(&link));
    let faulty = |link: &&Link| !link.up && ((switched && up > 0) || alone || was_up(link.number));
    let faulty: Vec<u32> = nvlink.links.iter().filter(faulty).map(|link| link.number).collect();
    (!faulty.is_empty()).then(|| {
        let raised = Raised::new(
            Verdict::Degraded,
            format!("{} of {} NVLinks are down.", faulty.len(), nvlink.links.len()),
            "See analyze_xid_errors for Xid 74 or 144 to 150 and SXids; reset the GPU, then check the fabric manager's log.",
        );
        raised
            .with("nvlink_down", list(faulty.into_iter()))
            .with("nvlink_up", up)
            .action("WORKFLOW_NVLINK_ERR")
    })
}

fn link_of(vitals: &Vitals, number: u32) -> Option<&Link> {
    vitals.nvlink.links.iter().find(|link| link.number == number)
}

/// The links whose counter has grown, and by how much in all.
fn grown(
    case: &Case<'_>,
    counter: impl Fn(&Link) -> Option<u64>,
    enough: impl Fn(u64) -> bool,
) -> (Vec<u32>, u64) {
    let (mut links, mut sum) = (Vec::new(), 0_u64);
    for link in &case.now.nvlink.links {
        let grown = case.before.and_then(|before| {
            before.growth(case.now, |vitals| link_of(vitals, link.number).and_then(&counter))
        });
        if let Some(grown) = grown.filter(|grown| enough(*grown)) {
            links.push(link.number);
            sum = sum.saturating_add(grown);
        }
    }
    (links, sum)
}

fn recovery_failed(case: &Case<'_>) -> Option<Raised> {
    let before = case.before?;
    let (links, sum) = grown(case, |link| link.failed_recoveries, |grown| grown > 0);
    (sum > 0).then(|| {
        let raised = Raised::new(
            Verdict::Failed,
            "An NVLink was lost and could not be brought back.",
            "See analyze_xid_errors for Xid 144 to 150; drain the jobs that span GPUs and reset this GPU.",
        );
        raised
            .with("nvlinks", list(links.into_iter()))
            .with("nvlink_failed_recoveries_grown_by", sum)
            .since(before)
            .action("WORKFLOW_NVLINK_ERR")
    })
}

/// Links that had to send again or to be brought back, or that see many wrong check sums. DCGM fails a GPU for each that it saw
/// in the last minute; a reading before may be older, and a single packet that was sent again on some day is no finding.
fn errors(case: &Case<'_>) -> Option<Raised> {
    let before = case.before?;
    let any = |grown: u64| grown > 0 && before.ago <= LATELY;
    let one_a_minute = |grown: u64| grown > 0 && grown >= before.ago.as_secs() / 60;
    let many = |grown| {
        before.rate(grown, Duration::from_secs(1)).is_some_and(|rate| rate >= CRC_PER_SECOND)
    };
    let (replayed, replays) = grown(case, |link| link.replays, one_a_minute);
    let (recovered, recoveries) = grown(case, |link| link.recoveries, any);
    let (crc, crc_errors) = grown(case, |link| link.crc_errors, many);
    let mut links = [replayed, recovered, crc].concat();
    links.sort_unstable();
    links.dedup();
    (!links.is_empty()).then(|| {
        let raised = Raised::new(
            Verdict::Degraded,
            format!("{} NVLink(s) have new errors.", links.len()),
            "Check the cables, the baseboard and the far end of the links named; see analyze_xid_errors for Xid 74 or 144 to 150 and SXids.",
        );
        raised
            .with("nvlinks", list(links.into_iter()))
            .with("nvlink_replays_grown_by", replays)
            .with("nvlink_recoveries_grown_by", recoveries)
            .with("nvlink_crc_errors_grown_by", crc_errors)
            .since(before)
            .action("WORKFLOW_NVLINK_ERR")
    })
}

/// Where the GPU stands with a fabric, on a board that has one.
fn fabric(vitals: &Vitals) -> Option<Fabric> {
    vitals.nvlink.fabric.filter(|fabric| fabric.state != NVML_GPU_FABRIC_STATE_NOT_SUPPORTED)
}

/// A fabric that the GPU is registered with.
fn joined(case: &Case<'_>) -> Option<Fabric> {
    fabric(case.now).filter(|it| it.state == NVML_GPU_FABRIC_STATE_COMPLETED && it.status == 0)
}

fn told(fabric: Fabric, raised: Raised) -> Raised {
    let raised = raised.with("fabric_state", fabric.state).with("fabric_status", fabric.status);
    let raised = raised.with("fabric_health_mask", format_args!("{:#x}", fabric.health_mask));
    raised.maybe("fabric_health_summary", fabric.health_summary)
}

fn not_ready(case: &Case<'_>) -> Option<Raised> {
    let fabric = fabric(case.now).filter(|it| it.state != NVML_GPU_FABRIC_STATE_COMPLETED)?;
    let began = case
        .before
        .filter(|before| before.vitals.nvlink.fabric.is_some_and(|it| it.state == fabric.state));
    let under_way = fabric.state == NVML_GPU_FABRIC_STATE_IN_PROGRESS
        && began.is_none_or(|before| before.ago < REGISTRATION);
    let verdict = if under_way { Verdict::Attention } else { Verdict::Degraded };
    let raised = Raised::new(
        verdict,
        "The GPU has not finished its registration with the NVLink fabric; jobs over several GPUs cannot start.",
        FABRIC_MANAGER,
    );
    Some(told(fabric, raised).maybe("seconds_at_least", began.map(|before| before.ago.as_secs())))
}

fn failed(case: &Case<'_>) -> Option<Raised> {
    let fabric = fabric(case.now)
        .filter(|it| it.state == NVML_GPU_FABRIC_STATE_COMPLETED && it.status != 0)?;
    let raised = Raised::new(
        Verdict::Degraded,
        format!(
            "The GPU's registration with the NVLink fabric failed with NVML code {}.",
            fabric.status
        ),
        FABRIC_MANAGER,
    );
    Some(told(fabric, raised))
}

/// The names of the fabric's health fields, two bits each from this bit; 1 means yes (nvml.h).
const FAULTS: [(u32, &str); 4] = [
    (0, "degraded bandwidth"),
    (2, "route recovery in progress"),
    (4, "route unhealthy"),
    (6, "access timeout recovery"),
];

fn unhealthy(case: &Case<'_>) -> Option<Raised> {
    let fabric = joined(case)?;
    let is_set = |shift: &u32| fabric.health_mask >> shift & 3 == 1;
    let named = FAULTS.iter().filter(|(shift, _)| is_set(shift)).map(|(_, name)| *name);
    let summary = match fabric.health_summary {
        // Its reason is a finding by itself.
        Some(NVML_GPU_FABRIC_HEALTH_SUMMARY_UNHEALTHY) if misconfiguration(fabric).is_none() => {
            Some("unhealthy")
        }
        Some(NVML_GPU_FABRIC_HEALTH_SUMMARY_LIMITED_CAPACITY) => Some("limited capacity"),
        _ => None,
    };
    let mut faults: Vec<&str> = named.collect();
    if faults.is_empty() {
        faults.extend(summary);
    }
    (!faults.is_empty()).then(|| {
        let summary = format!("The NVLink fabric reports: {}.", faults.join(", "));
        told(fabric, Raised::new(Verdict::Degraded, summary, FABRIC_MANAGER))
    })
}

/// What is configured wrongly, by the four bits from bit 8; 0 is not supported and 1 none.
fn misconfiguration(fabric: Fabric) -> Option<&'static str> {
    Some(match fabric.health_mask >> 8 & 15 {
        0 | 1 => return None,
        2 => "the system's GUID is not that of the others",
        3 => "the chassis's serial number is not that of the others",
        4 => "the GPU is in no partition",
        5 => "it has too few NVLinks for its partition",
        _ => "a reason that this version does not know",
    })
}

fn misconfigured(case: &Case<'_>) -> Option<Raised> {
    let fabric = joined(case)?;
    let why = misconfiguration(fabric)?;
    let summary = format!("The NVLink fabric is configured wrongly for this GPU: {why}.");
    Some(told(fabric, Raised::new(Verdict::Degraded, summary, FABRIC_MANAGER)))
}
