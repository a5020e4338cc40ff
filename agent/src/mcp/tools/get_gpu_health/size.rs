//! What keeps a summary small where many GPUs have the same: advice is told once, and all else while there is room.

use std::{cmp::Reverse, collections::BTreeSet};

use serde::Serialize;

use super::answer::{FindingAnswer, GpuHealth};

/// A summary is at most 32 KiB; what stands around the findings takes less than the rest.
const BYTES: usize = 28 << 10;
/// What of that other devices may take.
const OTHERS_BYTES: usize = 8 << 10;
/// What a GPU takes of which the worst is told alone.
const LEAST: usize = 512;

/// What did not fit.
#[derive(Debug)]
pub struct Shortened {
    /// The GPUs of which not everything is told, by their index.
    pub gpus: Vec<u32>,
    /// How many findings about other devices are left out.
    pub others: usize,
}

/// Leaves out advice that an earlier finding of the same rule has; of other devices all but the worst findings; and of GPUs that
/// come after there is no more room the evidence, and if need be all findings but the worst.
pub fn shorten(gpus: &mut [GpuHealth], others: &mut Vec<FindingAnswer>) -> Shortened {
    // Of equals the first, which began it.
    others.sort_by_key(|finding| Reverse(finding.severity));
    let mut told = BTreeSet::new();
    let findings = gpus.iter_mut().flat_map(|gpu| &mut gpu.findings).chain(others.iter_mut());
    for finding in findings {
        finding.advice.take_if(|advice| !told.insert((finding.id.clone(), advice.clone())));
    }
    let mut taken = 0;
    let fit = others.iter().take_while(|finding| {
        taken += length(finding);
        taken <= OTHERS_BYTES
    });
    let fit = fit.count();
    let left_out = others.len() - fit;
    others.truncate(fit);
    let (mut left, mut shortened) = (BYTES - taken.min(OTHERS_BYTES), Vec::new());
    for (later, gpu) in (0..gpus.len()).rev().zip(gpus) {
        let room = left.saturating_sub(later * LEAST);
        if length(gpu) > room {
            gpu.findings.iter_mut().for_each(|finding| finding.evidence.clear());
            shortened.push(gpu.index);
        }
        if length(gpu) > room {
            // Of equals the first, which began it.
            gpu.findings.sort_by_key(|finding| Reverse(finding.severity));
            gpu.findings.truncate(1);
        }
        left = left.saturating_sub(length(gpu));
    }
    Shortened { gpus: shortened, others: left_out }
}

fn length(told: &impl Serialize) -> usize {
    serde_json::to_vec(told).map_or(0, |json| json.len())
}

#[cfg(test)]
mod tests {
    use super::{super::answer::VerdictAnswer, *};

    #[test]
    fn of_a_thousand_other_devices_the_worst_are_told_within_their_share() {
        let finding = |number: u32| FindingAnswer {
            id: format!("xid_{number}"),
            severity: if number == 900 { VerdictAnswer::Failed } else { VerdictAnswer::Attention },
            summary: "The driver reported something.".to_owned(),
            evidence: Vec::new(),
            advice: Some("Look.".to_owned()),
            nvidia_action: None,
        };
        let mut others: Vec<_> = (0..1000).map(finding).collect();
        let shortened = shorten(&mut [], &mut others);
        assert_eq!((others[0].id.as_str(), others[1].id.as_str()), ("xid_900", "xid_0"));
        let bytes: usize = others.iter().map(length).sum();
        assert!(bytes <= OTHERS_BYTES && bytes > OTHERS_BYTES / 2, "{bytes}");
        assert_eq!(shortened.others, 1000 - others.len());
        let mut few = vec![finding(1), finding(2)];
        assert_eq!(shorten(&mut [], &mut few).others, 0);
        assert_eq!(few.len(), 2);
    }
}
