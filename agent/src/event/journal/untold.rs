//! Which sources have not told of an event yet: how reports of one fault by several sources become one event.
//!
//! Each source has a queue of the events that others told of and it did not. A report looks into the queue of its source for
//! the event it belongs to, and is part of that if it finds one, so an event has each source at most once and as
//! many events come out as the source that heard most has heard.
//!
//! - Two that have the driver's words belong together when these are the same. Such sources tell in the order of the kernel's
//!   log, so what one has passed over it will never tell.
//! - A number without words goes with the same Xid of the same GPU. NVML hands its numbers on from threads of the driver, in
//!   no order to rely on.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher as _},
    num::NonZeroU64,
    time::{Duration, SystemTime},
};

use super::super::{Event, Report, Source, What, group::Key};
use crate::xid::{Fault, Kind};

/// How far apart two sources may tell of one fault: NVML's events are handed on by a thread of the driver.
const AT_ONCE: Duration = Duration::from_secs(2);
/// The same where one of them is the kernel's log, whose clock drifts against the others.
const READ_BACK: Duration = Duration::from_secs(10);
/// Longest queue. The kernel's log holds some thousand lines between two readings of it.
const LONGEST: usize = 16 << 10;

/// The sources that may tell of the same fault. A replay stands in for the kernel in tests, where NVML may confirm it.
const SOURCES: [Source; 5] =
    [Source::Ebpf, Source::Tracepoint, Source::KernelLog, Source::Nvml, Source::Replay];

/// The queues.
#[derive(Debug, Default)]
pub struct Untold([VecDeque<Entry>; SOURCES.len()]);

/// What of a report is compared.
#[derive(Debug, Clone, Copy)]
pub struct Face {
    /// Since the epoch.
    time: Duration,
    source: Source,
    /// A hash of kind, number and GPU; `None` where a number alone does not tell of it.
    number: Option<NonZeroU64>,
    /// A hash of the driver's words; `None` where there are none.
    words: Option<NonZeroU64>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    seq: u64,
    face: Face,
}

// There are some ten thousand of them in a storm.
const _: () = assert!(size_of::<Entry>() <= 48);

impl Face {
    pub fn of(report: &Report, fault: &Fault<'_>, key: Key) -> Self {
        let time = report.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let by_number = key.kind == Kind::Xid && !key.from_user;
        let has_words = matches!(report.what, What::Line { .. });
        Self {
            time,
            source: report.source,
            number: by_number.then(|| hashed((key.code, key.pci))),
            words: has_words.then(|| words(fault)),
        }
    }

    fn belongs_to(&self, other: &Self) -> bool {
        let same = match (self.words, other.words) {
            (Some(mine), Some(others)) => mine == others,
            _ => self.number.is_some() && self.number == other.number,
        };
        let reach = if [self.source, other.source].contains(&Source::KernelLog) {
            READ_BACK
        } else {
            AT_ONCE
        };
        same && self.time.abs_diff(other.time) <= reach
    }
}

impl Untold {
    /// Takes the event out of the queue of its source that a report belongs to.
    pub fn take(&mut self, face: &Face) -> Option<u64> {
        let queue = &mut self.0[index(face.source)?];
        // Its source tells in the order of time, more or less: what is too old for this report is for every later one.
        while queue.front().is_some_and(|entry| entry.face.time + READ_BACK < face.time) {
            queue.pop_front();
        }
        let at = queue.iter().position(|entry| face.belongs_to(&entry.face))?;
        let seq = queue[at].seq;
        if face.words.is_some() && queue[at].face.words.is_some() {
            queue.drain(..=at);
        } else {
            queue.remove(at);
        }
        Some(seq)
    }

    /// Notes a new event with every source that has not told of it.
    pub fn note(&mut self, event: &Event, face: &Face) {
        for (source, queue) in SOURCES.into_iter().zip(&mut self.0) {
            if event.sources().any(|told| told == source) || !may_tell(source, event, face) {
                continue;
            }
            if queue.len() == LONGEST {
                queue.pop_front();
            }
            queue.push_back(Entry { seq: event.seq, face: *face });
        }
    }

    /// Forgets events that are no longer there.
    pub fn forget_before(&mut self, seq: u64) {
        for queue in &mut self.0 {
            while queue.front().is_some_and(|entry| entry.seq < seq) {
                queue.pop_front();
            }
        }
    }
}

/// Whether a source could ever tell of this event.
fn may_tell(source: Source, event: &Event, face: &Face) -> bool {
    let by_number = face.number.is_some();
    match (source, event.report.source) {
        (Source::Replay, told_by) => told_by == Source::Nvml,
        (Source::Nvml, _) => by_number,
        // What is replayed was not printed here.
        (_, Source::Replay) => false,
        (Source::Tracepoint, _) => by_number,
        _ => true,
    }
}

fn index(source: Source) -> Option<usize> {
    SOURCES.iter().position(|of| *of == source)
}

/// What the driver said, without the prefix, the time and the facility that logs put before it.
fn words(fault: &Fault<'_>) -> NonZeroU64 {
    let Fault { kind, code, pci, instance, process, channel, link, message, .. } = fault;
    hashed((kind, code, pci, instance, process.pid, process.name, channel, link, message))
}

fn hashed(what: impl Hash) -> NonZeroU64 {
    let mut hash = DefaultHasher::new();
    what.hash(&mut hash);
    NonZeroU64::MIN.saturating_add(hash.finish())
}
