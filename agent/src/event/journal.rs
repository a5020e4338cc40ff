//! The bounded, ordered memory of events.
//!
//! - Events are numbered from 1 without gaps. A [`Cursor`] is "everything after this number, of this journal"; a reader
//!   that comes back with it continues without a gap, and is told how many events were evicted in between if any were.
//! - The oldest events go first when the journal is full, but their [`Group`] stays: count, first and last line of each
//!   distinct fault, so a storm of one Xid cannot push out the knowledge of another.

use std::{
    collections::VecDeque,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use super::{
    Event, Filter, Group, Report, What,
    group::{Groups, Key},
};
use crate::xid::{self, Kind, Origin, Severity};

/// Most bytes that events may take, with what keeping them costs.
const BUDGET_BYTES: usize = 4 << 20;
/// How far apart two sources may tell of one fault. NVML's events are handed on by a thread of the driver.
const SAME_FAULT: Duration = Duration::from_secs(2);
/// How many events back one is looked for that another source has told of.
const MERGE_REACH: usize = 256;
/// What one event costs besides its line.
const OVERHEAD_BYTES: usize = 256;

/// Shared by those who append and those who read; lives as long as the process.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    /// Number of the newest event. Written with the lock held, watched by readers that wait.
    newest: watch::Sender<u64>,
    /// Tells this journal's cursors from those of an earlier one.
    epoch: u64,
    budget_bytes: usize,
}

#[derive(Debug, Default)]
struct Inner {
    /// Oldest first; the numbers are consecutive.
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    newest: u64,
    groups: Groups,
}

/// "Everything after `seq`." Written `epoch-seq`, in hexadecimal and decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    epoch: u64,
    pub seq: u64,
}

/// Why a cursor cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no cursor; pass next_cursor of an earlier answer as it is, or leave `since` out")]
pub struct BadCursor(String);

/// What a reader gets.
#[derive(Debug, Clone)]
pub struct Page {
    pub events: Vec<Arc<Event>>,
    /// Pass this to continue.
    pub next: Cursor,
    /// Events after the cursor that were evicted before they could be read.
    pub lost: u64,
    /// The journal holds more events after `next`.
    pub more: bool,
}

impl Journal {
    #[must_use]
    pub fn new() -> Self {
        Self::bounded(BUDGET_BYTES)
    }

    fn bounded(budget_bytes: usize) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // Microseconds of the start: no two agents of a node share it, and it does not have to mean anything.
        let epoch = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        Self(Arc::new(Shared {
            inner: Mutex::default(),
            newest: watch::Sender::new(0),
            epoch,
            budget_bytes,
        }))
    }

    /// Appends what a source reported, if the parser takes it for an event, and returns its number. What another source
    /// has told already becomes part of that event and keeps its number.
    pub fn append(&self, report: Report) -> Option<u64> {
        let fault = report.what.fault()?;
        let severity = xid::assess(&fault).severity;
        let key = Key::of(&fault, report.origin);
        let mut inner = self.lock();
        if let Some(seq) = inner.merge(key, &report, severity) {
            return Some(seq);
        }
        inner.newest += 1;
        let seq = inner.newest;
        let event = Arc::new(Event { seq, severity, report, confirmed_by: Vec::new() });
        inner.groups.add(&event);
        inner.bytes += cost(&event);
        inner.events.push_back(event);
        while inner.bytes > self.0.budget_bytes {
            let Some(oldest) = inner.events.pop_front() else { break };
            inner.bytes -= cost(&oldest);
        }
        self.0.newest.send_replace(seq);
        Some(seq)
    }

    /// Up to `limit` events after `cursor` that `filter` admits, oldest first.
    #[must_use]
    pub fn read(&self, cursor: Cursor, filter: &Filter, limit: usize) -> Page {
        let inner = self.lock();
        // A cursor of another journal says nothing about this one: everything here is new to its holder.
        let after = if cursor.epoch == self.0.epoch { cursor.seq } else { 0 };
        let evicted = inner.newest - inner.events.len() as u64;
        let lost = evicted.saturating_sub(after);
        let skip = usize::try_from(after.saturating_sub(evicted)).unwrap_or(usize::MAX);
        let mut events = Vec::new();
        let mut seq = after.max(evicted).min(inner.newest);
        for event in inner.events.iter().skip(skip) {
            if filter.admits(event) {
                if events.len() == limit {
                    break;
                }
                events.push(Arc::clone(event));
            }
            seq = event.seq;
        }
        Page { events, next: Cursor { epoch: self.0.epoch, seq }, lost, more: seq < inner.newest }
    }

    /// Every group, by its first event: what began it stands first.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        self.lock().groups.in_order()
    }

    /// The position before the first event.
    #[must_use]
    pub fn start(&self) -> Cursor {
        Cursor { epoch: self.0.epoch, seq: 0 }
    }

    /// The position after the newest event.
    #[must_use]
    pub fn end(&self) -> Cursor {
        Cursor { epoch: self.0.epoch, seq: *self.0.newest.borrow() }
    }

    /// Tells of each new event; the value is its number.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.newest.subscribe()
    }

    /// How many events were evicted, and how many belong to no group.
    #[must_use]
    pub fn overflow(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.newest - inner.events.len() as u64, inner.groups.ungrouped)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    /// Adds a report to the event that another source has made of the same fault, if there is one: the same Xid of the same
    /// GPU within [`SAME_FAULT`], of which this source has not told yet. Lines are told apart from each other by their
    /// source; only NVML's numbers have no words to compare.
    fn merge(&mut self, key: Key, report: &Report, severity: Severity) -> Option<u64> {
        let by_number = |what: &What| matches!(what, What::Xid { .. });
        if key.from_user || key.kind != Kind::Xid {
            return None;
        }
        let recent = self.events.iter().enumerate().rev().take(MERGE_REACH);
        let at = recent.filter(|(_, event)| {
            let apart = event
                .report
                .time
                .max(report.time)
                .duration_since(event.report.time.min(report.time));
            by_number(&event.report.what) != by_number(&report.what)
                && apart.is_ok_and(|apart| apart <= SAME_FAULT)
                && event.sources().all(|source| source != report.source)
                && event.fault().is_some_and(|fault| {
                    (fault.kind, fault.code, fault.pci) == (key.kind, key.code, key.pci)
                })
                && event.report.origin != Origin::User
        });
        // The oldest that is not told twice yet: the first print goes with the first number.
        let (at, _) = at.last()?;
        let event = Arc::make_mut(&mut self.events[at]);
        self.bytes -= cost(event);
        event.confirmed_by.push(report.source);
        if by_number(&event.report.what) {
            // The driver's words say more than its number.
            let source = std::mem::replace(&mut event.report, report.clone()).source;
            event.confirmed_by.retain(|by| *by != report.source);
            event.confirmed_by.push(source);
            event.severity = severity;
        }
        // The number comes from the driver and not from whoever can write to /dev/kmsg.
        event.report.origin = Origin::Kernel;
        self.bytes += cost(event);
        let event = Arc::clone(&self.events[at]);
        self.groups.update(key, &event);
        Some(event.seq)
    }
}

fn cost(event: &Event) -> usize {
    let text = match &event.report.what {
        What::Line { text, cut: _ } => text.len(),
        What::Xid { .. } => 0,
    };
    text + OVERHEAD_BYTES
}

impl Cursor {
    /// The position after event `seq` of the same journal.
    #[must_use]
    pub fn at(self, seq: u64) -> Self {
        Self { seq, ..self }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.epoch, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let parts = text.split_once('-').and_then(|(epoch, seq)| {
            Some(Self { epoch: u64::from_str_radix(epoch, 16).ok()?, seq: seq.parse().ok()? })
        });
        parts.ok_or_else(|| BadCursor(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
#[path = "journal_test.rs"]
mod tests;
