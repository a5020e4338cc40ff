//! The bounded, ordered memory of events.
//!
//! - Events are numbered from 1 without gaps. A [`Cursor`] is "everything after this number, of this journal"; a reader
//!   that comes back with it continues without a gap, and is told how many events were evicted in between if any were.
//! - Each [`Class`] has room of its own ([`shelf`]), where the oldest go first. Faults that go leave their [`Group`]: count,
//!   first and last line of each distinct fault, so a storm of one Xid cannot push out the knowledge of another.
//! - Several sources tell of one fault; it becomes one event ([`untold`], [`taking`]). What a process did is told by one.
//! - What is to survive the process goes out as a [`Snapshot`] to whoever keeps it and comes back as one at the next start
//!   ([`keeping`]).

mod cursor;
mod keeping;
mod shelf;
mod taking;
mod untold;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use cursor::Runs;
pub use cursor::{BadCursor, Cursor, Run};
use keeping::Dirty;
pub use keeping::Snapshot;
pub use shelf::Evicted;
use shelf::Shelf;
use untold::Untold;

use super::{Class, Event, Filter, Group, Groups, Report, Standing, What};

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
}

#[derive(Debug)]
struct Inner {
    /// By class, in the order of [`Class::ALL`].
    shelves: [Shelf; Class::ALL.len()],
    newest: u64,
    groups: Groups,
    untold: Untold,
    runs: Runs,
    /// How far the source of past lines has read, in its own words; kept with the events it has told of.
    mark: Option<String>,
    dirty: Dirty,
}

/// What a reader gets.
#[derive(Debug, Clone)]
pub struct Page {
    pub events: Vec<Arc<Event>>,
    /// Pass this to continue: behind the last event where there were as many as wanted, else behind all there is.
    pub next: Cursor,
    /// Events between the cursor and `next` that were evicted before they could be read, of the classes that the filter
    /// admits. At most so many where only some classes are wanted.
    pub lost: u64,
    /// The journal has events after `next`.
    pub more: bool,
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
        Self::bounded(shelf::budget, snapshot)
    }

    fn bounded(budget: impl Fn(Class) -> usize, snapshot: Snapshot) -> Self {
        Self(Arc::new(Shared {
            newest: watch::Sender::new(snapshot.newest),
            inner: Mutex::new(Inner::restored(budget, snapshot)),
            unsaved: Notify::new(),
        }))
    }

    /// Appends what a source reported, if it is an event, and returns its number. What another source has told already
    /// becomes part of that event and keeps its number.
    pub fn append(&self, report: Report) -> Option<u64> {
        let is_kept = !matches!(report.what, What::Access(_));
        let mut inner = self.lock();
        let seq = inner.append(report, Standing::Tells)?;
        self.tell(&inner);
        if is_kept {
            self.0.unsaved.notify_one();
        }
        Some(seq)
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
        let (mut told, before) = (false, inner.newest);
        for report in reports {
            told |= inner.append(report, standing).is_some();
        }
        if mark.is_some() && mark != inner.mark {
            inner.mark = mark;
            inner.dirty.mark = true;
            self.0.unsaved.notify_one();
        }
        if told {
            self.tell(&inner);
            self.0.unsaved.notify_one();
        }
        inner.newest - before
    }

    fn tell(&self, inner: &Inner) {
        let newest = inner.newest;
        self.0.newest.send_if_modified(|told| std::mem::replace(told, newest) != newest);
    }

    /// Up to `limit` events after `cursor` that `filter` admits, oldest first.
    #[must_use]
    pub fn read(&self, cursor: Cursor, filter: &Filter, limit: usize) -> Page {
        let inner = self.lock();
        let after = inner.position(cursor);
        let admitted = inner.after(after, filter).filter(|event| filter.admits(event));
        let events: Vec<_> = admitted.take(limit).cloned().collect();
        let full = events.last().filter(|_| events.len() == limit);
        let next = full.map_or(inner.newest, |event| event.seq);
        let lost = inner.lost(after, next, filter);
        Page { events, next: inner.runs.cursor(next), lost, more: next < inner.newest }
    }

    /// The number that a cursor stands behind: 0 for one of another journal.
    #[must_use]
    pub fn position(&self, cursor: Cursor) -> u64 {
        self.lock().position(cursor)
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

    /// How many faults were evicted, and how many belong to no group.
    #[must_use]
    pub fn overflow(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.shelf(Class::Fault).evicted().count, inner.groups.ungrouped)
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
        inner.dirty = Dirty::whole(&inner.groups);
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
    fn shelf(&self, class: Class) -> &Shelf {
        &self.shelves[class as usize]
    }

    fn shelf_mut(&mut self, class: Class) -> &mut Shelf {
        &mut self.shelves[class as usize]
    }

    fn position(&self, cursor: Cursor) -> u64 {
        self.runs.after(cursor).min(self.newest)
    }

    /// The events after a number that `filter` may admit, in order.
    fn after(&self, seq: u64, filter: &Filter) -> impl Iterator<Item = &Arc<Event>> {
        let mut shelves = Class::ALL.map(|class| {
            self.shelf(class).after(if filter.may_admit(class) { seq } else { u64::MAX })
        });
        let mut heads = shelves.each_mut().map(Iterator::next);
        std::iter::from_fn(move || {
            let seq = |at: &usize| heads[*at].map_or(u64::MAX, |event| event.seq);
            let first = (0..heads.len()).min_by_key(seq)?;
            std::mem::replace(&mut heads[first], shelves[first].next())
        })
    }

    /// How many numbers after `after` up to `to` a reader with this filter has missed.
    fn lost(&self, after: u64, to: u64, filter: &Filter) -> u64 {
        let gone = |to: u64| {
            let to = to.max(after);
            let kept = |shelf: &Shelf| (shelf.count_to(to) - shelf.count_to(after)) as u64;
            to - after - self.shelves.iter().map(kept).sum::<u64>()
        };
        let all = Class::ALL.iter().all(|class| filter.may_admit(*class));
        if all {
            return gone(to);
        }
        let wanted = Class::ALL.into_iter().filter(|class| filter.may_admit(*class));
        let evicted = wanted.map(|class| self.shelf(class).evicted());
        evicted.map(|Evicted { count, last }| count.min(gone(to.min(last)))).sum()
    }
}

#[cfg(test)]
mod tests;
