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
    hash::{DefaultHasher, Hash as _, Hasher as _},
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

#[derive(Debug, Clone, Copy)]
struct Entry {
    seq: u64,
    time: SystemTime,
    source: Source,
    key: Key,
    words: Option<u64>,
}

/// What of a report is compared.
#[derive(Debug, Clone, Copy)]
pub struct Face {
    time: SystemTime,
    source: Source,
    key: Key,
    /// A hash of the driver's words; `None` where there are none.
    words: Option<u64>,
}

impl Face {
    pub fn of(report: &Report, fault: &Fault<'_>, key: Key) -> Self {
        let words = matches!(report.what, What::Line { .. }).then(|| words(fault));
        Self { time: report.time, source: report.source, key, words }
    }

    fn belongs_to(&self, entry: &Entry) -> bool {
        let same = match (self.words, entry.words) {
            (Some(mine), Some(other)) => mine == other,
            _ => self.key == entry.key && self.key.kind == Kind::Xid && !self.key.from_user,
        };
        let reach = if [self.source, entry.source].contains(&Source::KernelLog) {
            READ_BACK
        } else {
            AT_ONCE
        };
        let apart = self.time.max(entry.time).duration_since(self.time.min(entry.time));
        same && apart.is_ok_and(|apart| apart <= reach)
    }
}

impl Untold {
    /// Takes the event out of the queue of its source that a report belongs to.
    pub fn take(&mut self, face: &Face) -> Option<u64> {
        let queue = &mut self.0[index(face.source)?];
        // Its source tells in the order of time, more or less: what is too old for this report is for every later one.
        while queue.front().is_some_and(|entry| entry.time + READ_BACK < face.time) {
            queue.pop_front();
        }
        let at = queue.iter().position(|entry| face.belongs_to(entry))?;
        let seq = queue[at].seq;
        if face.words.is_some() && queue[at].words.is_some() {
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
            let Face { time, source, key, words } = *face;
            queue.push_back(Entry { seq: event.seq, time, source, key, words });
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
    let by_number = face.key.kind == Kind::Xid && !face.key.from_user;
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
fn words(fault: &Fault<'_>) -> u64 {
    let mut hash = DefaultHasher::new();
    let Fault { kind, code, pci, instance, process, channel, link, message, .. } = fault;
    (kind, code, pci, instance, process.pid, process.name, channel, link, message).hash(&mut hash);
    hash.finish()
}
