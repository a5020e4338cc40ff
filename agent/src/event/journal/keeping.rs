//! A journal as it is kept over restarts, and what has changed since it was last written down.
//!
//! Faults are kept, with their groups. What processes do is not: a busy node would write for as long as it runs. After a
//! restart its numbers are gone, and counted as evicted for whoever wanted to read them.

use std::{collections::BTreeSet, sync::Arc, time::SystemTime};

use super::{
    super::{
        Class, Event, Group,
        group::{Groups, Key},
    },
    Inner, Run,
    cursor::Runs,
    shelf::{Evicted, Shelf},
    untold::{Face, Untold},
};

/// A journal as it is kept: all of it, or what has changed since the last.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Faults before this number were evicted and need not be kept.
    pub oldest: u64,
    pub newest: u64,
    /// Faults, by number.
    pub events: Vec<Arc<Event>>,
    pub groups: Vec<Group>,
    pub ungrouped: u64,
    pub runs: Vec<Run>,
    pub mark: Option<String>,
    /// The numbers that went to what processes did, which is not kept: of [`Class::Trouble`] and of [`Class::Routine`].
    pub not_kept: [Evicted; 2],
}

/// What has changed since it was last written down.
#[derive(Debug, Default)]
pub struct Dirty {
    /// Events up to here are written down, in the state they had then.
    saved: u64,
    /// Of these, the ones that have changed since.
    pub events: BTreeSet<u64>,
    pub groups: BTreeSet<Key>,
    pub mark: bool,
}

impl Dirty {
    /// Nothing is written down.
    pub fn whole(groups: &Groups) -> Self {
        let groups = groups.in_order().into_iter().map(|group| group.key).collect();
        Self { groups, mark: true, ..Self::default() }
    }
}

impl Inner {
    pub fn restored(budget: impl Fn(Class) -> usize, snapshot: Snapshot) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // Microseconds of the start: no two agents of a node share it, and it does not have to mean anything.
        let id = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let Snapshot { oldest: _, newest, events, groups, ungrouped, runs, mark, not_kept } =
            snapshot;
        let [trouble, routine] = not_kept;
        let kept = events.len() as u64 + trouble.count + routine.count;
        let oldest = events.first().map_or(newest + 1, |event| event.seq);
        let count = newest.saturating_sub(kept);
        // Where more are missing than there are numbers before the oldest, some are missing behind it.
        let last = if count < oldest { oldest - 1 } else { newest };
        let faults = Evicted { count, last: if count == 0 { 0 } else { last } };
        let shelf = |class| {
            let evicted = match class {
                Class::Fault => faults,
                Class::Trouble => trouble,
                Class::Routine => routine,
            };
            Shelf::new(budget(class), evicted)
        };
        let mut inner = Self {
            shelves: Class::ALL.map(shelf),
            newest,
            groups: Groups::restored(groups, ungrouped),
            untold: Untold::default(),
            runs: Runs::begin(runs, id, newest),
            mark,
            dirty: Dirty { saved: newest, mark: true, ..Dirty::default() },
        };
        for event in events {
            if let Some(fault) = event.fault() {
                let key = Key::of(&fault, event.report.origin);
                inner.untold.note(&event, &Face::of(&event.report, &fault, key));
            }
            inner.keep(event);
        }
        inner
    }

    /// What has changed since the last snapshot; `None` when nothing has.
    pub fn snapshot(&mut self) -> Option<Snapshot> {
        let Dirty { saved, events: changed, groups, mark } = &self.dirty;
        if *saved == self.newest && changed.is_empty() && groups.is_empty() && !*mark {
            return None;
        }
        let faults = self.shelf(Class::Fault);
        let changed = changed.iter().filter(|seq| *seq <= saved);
        let mut events: Vec<_> = changed.filter_map(|seq| faults.get(*seq).cloned()).collect();
        events.extend(faults.after(*saved).cloned());
        let snapshot = Snapshot {
            oldest: faults.oldest().map_or(self.newest + 1, |event| event.seq),
            newest: self.newest,
            events,
            groups: groups.iter().filter_map(|key| self.groups.get(*key).cloned()).collect(),
            ungrouped: self.groups.ungrouped,
            runs: self.runs.all().to_vec(),
            mark: self.mark.clone(),
            not_kept: [Class::Trouble, Class::Routine].map(|class| self.shelf(class).given()),
        };
        self.dirty = Dirty { saved: self.newest, ..Dirty::default() };
        Some(snapshot)
    }
}
