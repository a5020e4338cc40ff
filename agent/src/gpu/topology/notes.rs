//! What does not look the same where it should: links that are down or erring, ends that do not agree, GPUs unlike the rest.

use std::collections::BTreeMap;

use super::{
    links::{Link, PeerKind},
    matrix::{Matrix, Read},
    pairs::{Capability, P2pStatus},
};

/// One thing that an engineer would look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Stable name, for scripts.
    pub id: &'static str,
    /// The GPUs it is about, by index.
    pub gpus: Vec<u32>,
    pub summary: String,
}

/// Looks for them.
#[must_use]
pub fn notes(matrix: &Matrix) -> Vec<Note> {
    let mut notes = Vec::new();
    for gpu in &matrix.gpus {
        notes.extend(of_gpu(gpu, matrix));
    }
    notes.extend(unlike(matrix));
    let pairs: Vec<(&Read, &Read)> = matrix
        .gpus
        .iter()
        .enumerate()
        .flat_map(|(at, one)| matrix.gpus.iter().skip(at + 1).map(move |other| (one, other)))
        .collect();
    notes.extend(pairs.iter().filter_map(|(one, other)| one_sided(one, other)));
    notes.extend(unused(&pairs));
    notes
}

fn of_gpu(gpu: &Read, matrix: &Matrix) -> Vec<Note> {
    let mut notes = Vec::new();
    let index = gpu.name.index;
    let mut note = |id, summary| notes.push(Note { id, gpus: vec![index], summary });
    if let Some(failure) = gpu.failure() {
        note("gpu_unreachable", format!("GPU {index} does not answer: {failure}"));
    }
    let links = gpu.links();
    let down: Vec<_> = links.iter().filter(|link| !link.is_up()).collect();
    if !down.is_empty() && all_should_be_up(gpu, matrix) {
        let (count, of, which) = (down.len(), links.len(), numbers(&down));
        note("nvlink_down", format!("GPU {index}: {count} of {of} NVLinks down: {which}"));
    }
    let erring: Vec<_> = links.iter().filter(|link| link.is_erring()).collect();
    if !erring.is_empty() {
        let mut sums = BTreeMap::<&str, u64>::new();
        for (name, count) in erring.iter().flat_map(|link| &link.errors) {
            let sum = sums.entry(name).or_default();
            *sum = sum.saturating_add(*count);
        }
        let sums: Vec<_> = sums
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        let which = numbers(&erring);
        let sums = sums.join(", ");
        note("nvlink_errors", format!("GPU {index}: NVLinks with errors: {which} ({sums})"));
    }
    let mut speeds: Vec<_> =
        links.iter().filter(|link| link.is_up()).filter_map(|link| link.speed_mb_s).collect();
    speeds.sort_unstable();
    speeds.dedup();
    if let [slowest, .., fastest] = speeds[..] {
        let speeds = format!("from {slowest} to {fastest} MB/s");
        note("nvlink_speed", format!("GPU {index}: its NVLinks run at different speeds, {speeds}"));
    }
    notes
}

/// Whether a link that is down is amiss. A board in a PCIe slot has those up that a bridge joins, and may have no bridge; one
/// that is divided uses none.
fn all_should_be_up(gpu: &Read, matrix: &Matrix) -> bool {
    let up = |gpu: &Read| gpu.links().iter().filter(|link| link.is_up()).count();
    let mut others = matrix.gpus.iter().filter(|other| other.name.index != gpu.name.index);
    let is_switched =
        |gpu: &Read| gpu.links().iter().any(|link| link.peer.kind == PeerKind::Switch);
    let is_unlike = |other: &Read| {
        other.links().len() == gpu.links().len() && (1..up(other)).contains(&up(gpu))
            || is_switched(other)
            || other.direct_links(gpu) > gpu.direct_links(other)
    };
    !gpu.is_divided() && (is_switched(gpu) || others.any(is_unlike))
}

fn numbers(links: &[&Link]) -> String {
    links.iter().map(|link| link.number.to_string()).collect::<Vec<_>>().join(", ")
}

/// GPUs that have fewer links to switches than the best of them: traffic with them is as narrow as theirs.
fn unlike(matrix: &Matrix) -> Option<Note> {
    let whole = |gpu: &&Read| gpu.failure().is_none() && !gpu.is_divided();
    let answering = || matrix.gpus.iter().filter(whole);
    let most = answering().map(Read::switched_links).max().filter(|most| *most > 0)?;
    let fewer: Vec<_> = answering().filter(|gpu| gpu.switched_links() < most).collect();
    let gpus: Vec<u32> = fewer.iter().map(|gpu| gpu.name.index).collect();
    let each: Vec<_> = fewer
        .iter()
        .map(|gpu| format!("GPU {} has {}", gpu.name.index, gpu.switched_links()))
        .collect();
    (!fewer.is_empty()).then(|| Note {
        id: "nvlink_unequal",
        gpus,
        summary: format!("NVLinks to switches that are up: {most} at best, {}", each.join(", ")),
    })
}

/// Links that are up at one end alone.
fn one_sided(one: &Read, other: &Read) -> Option<Note> {
    let (there, back) = (one.direct_links(other), other.direct_links(one));
    let (a, b) = (one.name.index, other.name.index);
    let whole = |gpu: &Read| gpu.failure().is_none() && !gpu.is_divided();
    (whole(one) && whole(other) && there != back).then(|| Note {
        id: "nvlink_one_sided",
        gpus: vec![a, b],
        summary: format!(
            "GPU {a} and GPU {b}: {there} NVLinks are up at one end, {back} at the other"
        ),
    })
}

/// Pairs that have NVLinks and may not use them, by what NVML says of that.
fn unused(pairs: &[(&Read, &Read)]) -> Vec<Note> {
    let mut refused = BTreeMap::<P2pStatus, Vec<(u32, u32)>>::new();
    for (one, other) in pairs {
        let direct = one.direct_links(other);
        if direct.max(one.switched_links().min(other.switched_links())) == 0 {
            continue;
        }
        let p2p = |one: &Read, other: &Read| one.pair(other)?.p2p(Capability::Nvlink).ok();
        let said = [p2p(one, other), p2p(other, one)].into_iter().flatten();
        if let Some(status) = said.into_iter().find(|status| *status != P2pStatus::OK) {
            refused.entry(status).or_default().push((one.name.index, other.name.index));
        }
    }
    let note = |(status, pairs): (P2pStatus, Vec<(u32, u32)>)| {
        let mut gpus: Vec<u32> = pairs.iter().flat_map(|(one, other)| [*one, *other]).collect();
        gpus.sort_unstable();
        gpus.dedup();
        let (count, name, meaning) = (pairs.len(), status.name(), status.meaning());
        let summary = format!(
            "P2P by NVLink is {name} ({meaning}) between {count} of the pairs of GPUs whose NVLinks are up"
        );
        Note { id: "nvlink_unused", gpus, summary }
    };
    refused.into_iter().map(note).collect()
}
