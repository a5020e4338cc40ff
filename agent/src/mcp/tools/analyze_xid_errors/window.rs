//! The part of the journal that is asked about.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    event::{Cursor, Event, Filter, Group, Groups, Incident, Journal, incident},
    mcp::tools::select::Since,
};

/// What the journal knew when it was asked, up to the window's end.
#[derive(Debug)]
pub struct Window {
    /// Every fault it held, also from before the window: what began an incident may stand there.
    events: Vec<Arc<Event>>,
    /// Its groups, which remember the first and the last of what it does not hold any more.
    groups: Vec<Group>,
    /// Events after this number are in the window,
    after: u64,
    /// from this time on.
    from: Option<SystemTime>,
    /// Events after the cursor or the time that are not held any more, as far as that can be told.
    pub evicted: u64,
    /// Whole events are held from this time on; none where none was ever evicted.
    pub whole_since: Option<SystemTime>,
    /// Everything in the window was before this.
    pub end: Cursor,
}

impl Window {
    pub fn of(journal: &Journal, since: Option<Since>, until: Option<SystemTime>) -> Self {
        let mut groups = journal.groups();
        let page = journal.read(journal.start(), &Filter::faults(), usize::MAX);
        let (mut events, mut end) = (page.events, page.next);
        let oldest = events.first().map(|event| event.report.time);
        let whole_since = oldest.filter(|_| page.lost > 0);
        let (mut after, mut from, mut evicted) = (0, None, page.lost);
        match since {
            Some(Since::Cursor(cursor)) => {
                after = journal.position(cursor);
                evicted = journal.read(cursor, &Filter::faults(), 1).lost;
            }
            Some(Since::Time(time)) => {
                from = Some(time);
                if oldest.is_none_or(|oldest| oldest <= time) {
                    evicted = 0;
                }
            }
            None => {}
        }
        // To the end of that microsecond: answers show no more of a time, and one of theirs may have been passed.
        if let Some(until) = until.and_then(|until| until.checked_add(Duration::from_nanos(999))) {
            events.retain(|event| event.report.time <= until);
            groups.retain_mut(|group| clip(group, until));
            end = end.at(events.last().map_or(after, |event| event.seq).max(after));
        }
        Self { events, groups, after, from, evicted, whole_since, end }
    }

    fn has(&self, event: &Event) -> bool {
        event.seq > self.after && self.from.is_none_or(|from| event.report.time >= from)
    }

    /// When the first fault came that is known of.
    pub fn oldest(&self) -> Option<SystemTime> {
        let groups = self.groups.iter().map(|group| group.first.report.time);
        groups.chain(self.events.iter().map(|event| event.report.time)).min()
    }

    /// What `filter` admits, oldest first.
    pub fn events(&self, filter: &Filter) -> impl Iterator<Item = &Arc<Event>> {
        self.events.iter().filter(|event| self.has(event) && filter.admits(event))
    }

    /// The same folded, by its first event. Of events that are not held any more it is known how many they were where all of
    /// a group lies in the window; else its ends count alone.
    pub fn groups(&self, filter: &Filter) -> Vec<Group> {
        let oldest = self.events.first().map_or(u64::MAX, |event| event.seq);
        let mut folded = Groups::default();
        let gone = self.groups.iter().filter(|group| group.first.seq < oldest);
        let mut ends: Vec<_> = gone
            .clone()
            .flat_map(|group| {
                let last = (group.last.seq != group.first.seq).then_some(&group.last);
                std::iter::once(&group.first).chain(last)
            })
            .filter(|event| event.seq < oldest && self.has(event))
            .collect();
        ends.sort_by_key(|event| event.seq);
        for event in ends.into_iter().chain(self.events.iter().filter(|event| self.has(event))) {
            folded.add(event);
        }
        let mut groups = folded.in_order();
        for whole in gone.filter(|group| self.has(&group.first) && self.has(&group.last)) {
            if let Some(group) = groups.iter_mut().find(|group| group.key == whole.key) {
                let count = group.count.max(whole.count);
                *group = Group { count, ..whole.clone() };
            }
        }
        groups.retain(|group| filter.admits(&group.first));
        groups
    }

    /// Every incident, and which of them have something in the window that `filter` admits.
    pub fn incidents(&self, filter: &Filter) -> (Vec<Incident>, Vec<usize>) {
        let all = incident::incidents(&self.events, &self.groups);
        let asked = |incident: &Incident| {
            let mut events = incident.members().flat_map(|member| &member.events);
            events.any(|event| self.has(event) && filter.admits(event))
        };
        let asked = (0..all.len()).filter(|at| asked(&all[*at])).collect();
        (all, asked)
    }
}

/// Takes out of a group what came after the window; false where nothing is left.
fn clip(group: &mut Group, until: SystemTime) -> bool {
    if group.last.report.time > until {
        // How many of those between came before is not known.
        group.last = Arc::clone(&group.first);
        group.count = 1;
    }
    group.first.report.time <= until
}
