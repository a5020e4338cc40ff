//! The bounded, ordered memory of events.
//!
//! - Events are numbered from 1 without gaps. A [`Cursor`] is "everything after this number, of this journal"; a reader
//!   that comes back with it continues without a gap, and is told how many events were evicted in between if any were.
//! - The oldest events go first when the journal is full, but their [`Group`] stays: count, first and last line of each
//!   distinct fault, so a storm of one Xid cannot push out the knowledge of another.
//! - Several sources tell of one fault; it becomes one event ([`untold`]).
//! - What is to survive the process goes out as a [`Snapshot`] to whoever keeps it and comes back as one at the next start.

mod cursor;
mod untold;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use cursor::Runs;
pub use cursor::{BadCursor, Cursor, Run};
use untold::{Face, Untold};

use super::{
    Event, Filter, Group, Report, Standing, What,
    group::{Groups, Key},
};
use crate::xid::{self, Origin, Severity};

/// Most bytes that events may take, with what keeping them costs.
const BUDGET_BYTES: usize = 3 << 20;
/// What one event costs besides its line.
const OVERHEAD_BYTES: usize = 320;

/// Shared by those who append and those who read; lives as long as the process.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    /// Number of the newest event. Written with the lock held, watched by readers that wait.
    newest: watch::Sender<u64>,
    /// Rung when there is something to write down.
    unsaved: Notify,
    budget_bytes: usize,
}

#[derive(Debug)]
struct Inner {
    /// Oldest first; the numbers are consecutive.
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    newest: u64,
    groups: Groups,
    untold: Untold,
    runs: Runs,
    /// How far the source of past lines has read, in its own words; kept with the events it has told of.
    mark: Option<String>,
    dirty: Dirty,
}

/// What has changed since it was last written down.
#[derive(Debug, Default)]
struct Dirty {
    /// Events up to here are written down, in the state they had then.
    saved: u64,
    /// Of these, the ones that have changed since.
    events: BTreeSet<u64>,
    groups: BTreeSet<Key>,
    mark: bool,
}

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

/// A journal as it is kept: all of it, or what has changed since the last.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Events before this number were evicted and need not be kept.
    pub oldest: u64,
    pub newest: u64,
    /// By number.
    pub events: Vec<Arc<Event>>,
    pub groups: Vec<Group>,
    pub ungrouped: u64,
    pub runs: Vec<Run>,
    pub mark: Option<String>,
}

impl Journal {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::restored(Snapshot::default())
    }

    /// One that goes on where another ended.
    #[must_use]
    pub fn restored(snapshot: Snapshot) -> Self {
        Self::bounded(BUDGET_BYTES, snapshot)
    }

    fn bounded(budget_bytes: usize, snapshot: Snapshot) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // Microseconds of the start: no two agents of a node share it, and it does not have to mean anything.
        let id = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let Snapshot { oldest: _, newest, events, groups, ungrouped, runs, mark } = snapshot;
        let mut inner = Inner {
            events: VecDeque::new(),
            bytes: 0,
            newest,
            groups: Groups::restored(groups, ungrouped),
            untold: Untold::default(),
            runs: Runs::begin(runs, id, newest),
            mark,
            dirty: Dirty { saved: newest, mark: true, ..Dirty::default() },
        };
        // Numbers are consecutive up to the newest: what does not fit is older than a hole.
        let whole =
            events.iter().rev().zip(0..).take_while(|(event, back)| event.seq + back == newest);
        let hole = events.len() - whole.count();
        for event in events.into_iter().skip(hole) {
            if let Some(fault) = event.fault() {
                let key = Key::of(&fault, event.report.origin);
                inner.untold.note(&event, &Face::of(&event.report, &fault, key));
            }
            inner.bytes += cost(&event);
            inner.events.push_back(event);
        }
        inner.evict(budget_bytes);
        Self(Arc::new(Shared {
            newest: watch::Sender::new(newest),
            inner: Mutex::new(inner),
            unsaved: Notify::new(),
            budget_bytes,
        }))
    }

    /// Appends what a source reported, if the parser takes it for an event, and returns its number. What another source
    /// has told already becomes part of that event and keeps its number.
    pub fn append(&self, report: Report) -> Option<u64> {
        let mut inner = self.lock();
        let seq = inner.append(report, Standing::Tells, self.0.budget_bytes);
        self.tell(&inner, seq)
    }

    /// Appends what was read of a log in one go, with how far it has been read: either both are kept or none is.
    /// Returns how many of them were news.
    pub fn append_read(
        &self,
        reports: Vec<Report>,
        standing: Standing,
        mark: Option<String>,
    ) -> u64 {
        let mut inner = self.lock();
        let (mut newest, before) = (None, inner.newest);
        for report in reports {
            newest = inner.append(report, standing, self.0.budget_bytes).max(newest);
        }
        if mark.is_some() && mark != inner.mark {
            inner.mark = mark;
            inner.dirty.mark = true;
            self.0.unsaved.notify_one();
        }
        self.tell(&inner, newest);
        inner.newest - before
    }

    fn tell(&self, inner: &Inner, seq: Option<u64>) -> Option<u64> {
        if seq.is_some() {
            let newest = inner.newest;
            self.0.newest.send_if_modified(|told| std::mem::replace(told, newest) != newest);
            self.0.unsaved.notify_one();
        }
        seq
    }

    /// Up to `limit` events after `cursor` that `filter` admits, oldest first.
    #[must_use]
    pub fn read(&self, cursor: Cursor, filter: &Filter, limit: usize) -> Page {
        let inner = self.lock();
        let after = inner.runs.after(cursor);
        let evicted = inner.evicted();
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
        Page { events, next: inner.runs.cursor(seq), lost, more: seq < inner.newest }
    }

    /// Every group, by its first event: what began it stands first.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        self.lock().groups.in_order()
    }

    /// The position before the first event.
    #[must_use]
    pub fn start(&self) -> Cursor {
        self.lock().runs.cursor(0)
    }

    /// The position after the newest event.
    #[must_use]
    pub fn end(&self) -> Cursor {
        let inner = self.lock();
        inner.runs.cursor(inner.newest)
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
        (inner.evicted(), inner.groups.ungrouped)
    }

    /// How far the source of past lines had read, as it wrote it down.
    #[must_use]
    pub fn mark(&self) -> Option<String> {
        self.lock().mark.clone()
    }

    /// Waits until there is something to write down.
    pub async fn unsaved(&self) {
        self.0.unsaved.notified().await;
    }

    /// What has changed since the last snapshot; `None` when nothing has. Whoever cannot keep it says so with
    /// [`Journal::not_kept`].
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.lock().snapshot()
    }

    /// The store has lost what it had: the next snapshot is whole.
    pub fn not_kept(&self) {
        let mut inner = self.lock();
        let groups = inner.groups.in_order().into_iter().map(|group| group.key).collect();
        inner.dirty = Dirty { groups, mark: true, ..Dirty::default() };
        self.0.unsaved.notify_one();
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
    fn evicted(&self) -> u64 {
        self.newest - self.events.len() as u64
    }

    fn append(&mut self, mut report: Report, standing: Standing, budget: usize) -> Option<u64> {
        let (What::Line { text, .. } | What::Xid { message: text, .. }) = &mut report.what;
        // A slice of the ring buffer's slot would keep all of that.
        *text = Bytes::copy_from_slice(text);
        let fault = report.what.fault()?;
        let severity = xid::assess(&fault).severity;
        let key = Key::of(&fault, report.origin);
        let face = Face::of(&report, &fault, key);
        let pid = fault.process.pid;
        if let Some(seq) = self.untold.take(&face) {
            self.confirm(seq, report, severity);
            return Some(seq);
        }
        match standing {
            Standing::Confirms => return None,
            Standing::Recovers if self.is_from_before(&report) => return None,
            Standing::Recovers | Standing::Tells => {}
        }
        self.newest += 1;
        let event =
            Arc::new(Event { seq: self.newest, severity, report, confirmed_by: Vec::new() });
        self.dirty.groups.extend(self.groups.count(&event, key, pid));
        self.untold.note(&event, &face);
        self.bytes += cost(&event);
        self.events.push_back(event);
        self.evict(budget);
        Some(self.newest)
    }

    /// Whether a line of the past is older than what a full journal still holds: it was here, and has been evicted.
    fn is_from_before(&self, report: &Report) -> bool {
        self.evicted() > 0
            && self.events.front().is_some_and(|oldest| report.time < oldest.report.time)
    }

    /// Adds a source to an event, and what it knows better.
    fn confirm(&mut self, seq: u64, report: Report, severity: Severity) {
        let Some(at) = seq.checked_sub(self.evicted() + 1).and_then(|at| usize::try_from(at).ok())
        else {
            return;
        };
        let Some(event) = self.events.get_mut(at) else { return };
        self.bytes -= cost(event);
        let Some(before) = event.fault().map(|fault| Key::of(&fault, event.report.origin)) else {
            return;
        };
        let event_mut = Arc::make_mut(event);
        event_mut.confirmed_by.push(report.source);
        let origin = settle(event_mut.report.origin, &report);
        let has_words = |what: &What| matches!(what, What::Line { .. });
        if has_words(&report.what) && !has_words(&event_mut.report.what) {
            // The driver's words say more than its number.
            let source = std::mem::replace(&mut event_mut.report, report).source;
            event_mut.confirmed_by.retain(|by| *by != event_mut.report.source);
            event_mut.confirmed_by.push(source);
            event_mut.severity = severity;
        } else if event_mut.report.task.is_none() {
            event_mut.report.task = report.task;
        }
        event_mut.report.origin = origin;
        self.bytes += cost(event);
        let event = Arc::clone(event);
        let after = event.fault().map_or(before, |fault| Key::of(&fault, origin));
        if after == before {
            self.groups.update(after, &event);
        } else {
            self.groups.take_back(before, &event);
            self.dirty.groups.extend(self.groups.add(&event));
        }
        self.dirty.groups.extend([before, after]);
        self.dirty.events.insert(seq);
    }

    fn evict(&mut self, budget: usize) {
        while self.bytes > budget {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= cost(&oldest);
        }
        let first = self.evicted() + 1;
        self.untold.forget_before(first);
    }

    fn snapshot(&mut self) -> Option<Snapshot> {
        let Dirty { saved, events: changed, groups, mark } = &mut self.dirty;
        if *saved == self.newest && changed.is_empty() && groups.is_empty() && !*mark {
            return None;
        }
        let oldest = self.newest - self.events.len() as u64 + 1;
        let at = |seq: u64| usize::try_from(seq - oldest).unwrap_or(usize::MAX);
        let mut events: Vec<_> = changed
            .range(oldest..)
            .filter(|seq| **seq <= *saved)
            .filter_map(|seq| self.events.get(at(*seq)).cloned())
            .collect();
        events.extend(self.events.iter().skip(at((*saved + 1).max(oldest))).cloned());
        let snapshot = Snapshot {
            oldest,
            newest: self.newest,
            events,
            groups: groups.iter().filter_map(|key| self.groups.get(*key).cloned()).collect(),
            ungrouped: self.groups.ungrouped,
            runs: self.runs.all().to_vec(),
            mark: self.mark.clone(),
        };
        self.dirty = Dirty { saved: self.newest, ..Dirty::default() };
        Some(snapshot)
    }
}

/// Who wrote a line that two sources have told of. A number comes from the driver and not from whoever can write to
/// /dev/kmsg; the log's facility and what the program saw say so too, where they say anything.
fn settle(known: Origin, report: &Report) -> Origin {
    match (known, report.origin) {
        (known, Origin::Unstated) => known,
        (_, told) => told,
    }
}

fn cost(event: &Event) -> usize {
    let (What::Line { text, cut: _ } | What::Xid { message: text, .. }) = &event.report.what;
    text.len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests;
