//! What keeps a summary small where many GPUs have the same: advice is told once, and all else while there is room.

use std::{cmp::Reverse, collections::BTreeSet};

use super::answer::{FindingAnswer, GpuHealth};

/// A summary is at most 32 KiB; what stands around the GPUs takes less than the rest.
const GPUS_BYTES: usize = 28 << 10;
/// What a GPU takes of which the worst is told alone.
const LEAST: usize = 512;

/// Leaves out advice that an earlier finding of the same rule has, and of GPUs that come after there is no more room the evidence,
/// and if need be all findings but the worst. Gives these by their index.
pub fn shorten(gpus: &mut [GpuHealth], others: &mut [FindingAnswer]) -> Vec<u32> {
    let mut told = BTreeSet::new();
    let findings = gpus.iter_mut().flat_map(|gpu| &mut gpu.findings).chain(others);
    for finding in findings {
        finding.advice.take_if(|advice| !told.insert((finding.id.clone(), advice.clone())));
    }
    let (mut left, mut shortened) = (GPUS_BYTES, Vec::new());
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
    shortened
}

fn length(gpu: &GpuHealth) -> usize {
    serde_json::to_vec(gpu).map_or(0, |json| json.len())
}
