//! Identical faults, folded: how many there were, the first and the last of them whole, and the processes they name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::Event;
use crate::xid::{Fault, Kind, Origin, PciAddress};

/// Most groups. A node has 16 GPUs and some ten kinds of fault a bad day; whoever writes to /dev/kmsg could make up more.
pub(super) const MOST_GROUPS: usize = 1024;

/// What makes two faults the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub kind: Kind,
    pub code: Option<u32>,
    pub pci: Option<PciAddress>,
    /// A process wrote it and not the driver: shown, and no ground for any verdict.
    pub from_user: bool,
}

impl Key {
    #[must_use]
    pub fn of(fault: &Fault<'_>, origin: Origin) -> Self {
        Self {
            kind: fault.kind,
            code: fault.code,
            pci: fault.pci,
            from_user: origin == Origin::User,
        }
    }
}

/// All occurrences of one fault.
#[derive(Debug, Clone)]
pub struct Group {
    pub key: Key,
    pub count: u64,
    pub first: Arc<Event>,
    pub last: Arc<Event>,
    pub pids: Pids,
}

/// The distinct processes that the lines of a group name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pids {
    pub seen: BTreeSet<u32>,
    /// There were more than [`Pids::MOST`].
    pub more: bool,
}

impl Pids {
    /// As many as anybody reads.
    pub const MOST: usize = 32;

    pub(super) fn add(&mut self, pid: u32) {
        if self.seen.len() < Self::MOST {
            self.seen.insert(pid);
        } else if !self.seen.contains(&pid) {
            self.more = true;
        }
    }
}

/// Groups by what they are of.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    by_key: BTreeMap<Key, Group>,
    /// Faults that belong to no group because there were too many of these.
    pub ungrouped: u64,
}

impl Groups {
    /// Groups that were kept elsewhere.
    #[must_use]
    pub fn restored(groups: Vec<Group>, ungrouped: u64) -> Self {
        Self { by_key: groups.into_iter().map(|group| (group.key, group)).collect(), ungrouped }
    }

    /// Counts an event, unless it goes on with another. Returns the group that it changed.
    pub fn add(&mut self, event: &Arc<Event>) -> Option<Key> {
        let fault = event.fault()?;
        self.count(event, Key::of(&fault, event.report.origin), fault.process.pid)
    }

    /// The same for an event whose fault is known already.
    pub(super) fn count(&mut self, event: &Arc<Event>, key: Key, pid: Option<u32>) -> Option<Key> {
        if event.report.follows {
            return None;
        }
        let full = self.by_key.len() >= MOST_GROUPS;
        let group = match self.by_key.get_mut(&key) {
            Some(group) => group,
            None if full => {
                self.ungrouped += 1;
                return None;
            }
            None => self.by_key.entry(key).or_insert(Group {
                key,
                count: 0,
                first: Arc::clone(event),
                last: Arc::clone(event),
                pids: Pids::default(),
            }),
        };
        group.count += 1;
        group.last = Arc::clone(event);
        if let Some(pid) = pid {
            group.pids.add(pid);
        }
        Some(key)
    }

    /// Takes over what has become known of an event that is the first or the last of its group.
    pub fn update(&mut self, key: Key, event: &Arc<Event>) {
        let Some(group) = self.by_key.get_mut(&key) else { return };
        for end in [&mut group.first, &mut group.last] {
            if end.seq == event.seq {
                *end = Arc::clone(event);
            }
        }
        if let Some(pid) = event.fault().and_then(|fault| fault.process.pid) {
            group.pids.add(pid);
        }
    }

    /// Takes an event out of a group that it turned out not to be of.
    pub fn take_back(&mut self, key: Key, event: &Arc<Event>) {
        let Some(group) = self.by_key.get_mut(&key) else { return };
        group.count -= 1;
        if group.count == 0 {
            self.by_key.remove(&key);
        } else if group.first.seq == event.seq {
            group.first = Arc::clone(&group.last);
        } else if group.last.seq == event.seq {
            group.last = Arc::clone(&group.first);
        }
    }

    #[must_use]
    pub fn get(&self, key: Key) -> Option<&Group> {
        self.by_key.get(&key)
    }

    /// Every group, by its first event: what began it stands first.
    #[must_use]
    pub fn in_order(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = self.by_key.values().cloned().collect();
        groups.sort_by_key(|group| group.first.seq);
        groups
    }
}
