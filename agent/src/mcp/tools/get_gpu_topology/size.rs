//! What keeps a summary small where many GPUs have the same that is not told: each reason is told once.

use super::answer::Topology;

/// A summary is at most 32 KiB.
const BYTES: usize = 32 << 10;

/// Takes the reasons out of GPUs and matrix, where they are too many.
pub fn shorten(topology: &mut Topology) {
    if serde_json::to_vec(topology).is_ok_and(|json| json.len() <= BYTES) {
        return;
    }
    let Topology { gpus, matrix, absent, reasons, .. } = topology;
    for one in gpus.iter_mut().flat_map(|gpu| gpu.absent.drain(..)) {
        if !absent.contains(&one) {
            absent.push(one);
        }
    }
    let entries = matrix.iter_mut().flat_map(|row| &mut row.entries);
    for reason in entries.filter_map(|entry| entry.reason.take()) {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
}
