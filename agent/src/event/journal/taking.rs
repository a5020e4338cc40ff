//! What a journal does with a report: a new event, part of one that it has, or nothing.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    super::{Attribution, Class, Event, Report, Standing, What, group::Key},
    Inner,
    untold::Face,
};
use crate::xid::{self, Origin, Severity};

impl Inner {
    pub fn append(&mut self, mut report: Report, standing: Standing) -> Option<u64> {
        let text = match &mut report.what {
            What::Line { text, .. } | What::Xid { message: text, .. } => text,
            What::Access(access) => {
                let severity = access.severity();
                return Some(self.begin(severity, report).seq);
            }
        };
        // A slice of the ring buffer's slot would keep all of that.
        *text = Bytes::copy_from_slice(text);
        report.attribution = report.attribution.map(Attribution::bounded);
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
        let event = self.begin(severity, report);
        self.dirty.groups.extend(self.groups.count(&event, key, pid));
        self.untold.note(&event, &face);
        Some(event.seq)
    }

    /// Gives a new event its number, and keeps it.
    fn begin(&mut self, severity: Severity, report: Report) -> Arc<Event> {
        self.newest += 1;
        let event =
            Arc::new(Event { seq: self.newest, severity, report, confirmed_by: Vec::new() });
        self.keep(Arc::clone(&event));
        event
    }

    pub fn keep(&mut self, event: Arc<Event>) {
        self.shelf_mut(event.class()).push(event);
        let oldest = self.shelf(Class::Fault).oldest().map_or(self.newest + 1, |event| event.seq);
        self.untold.forget_before(oldest);
    }

    /// Whether a line of the past is older than what a full journal still holds: it was here, and has been evicted.
    fn is_from_before(&self, report: &Report) -> bool {
        let faults = self.shelf(Class::Fault);
        faults.evicted().count > 0
            && faults.oldest().is_some_and(|oldest| report.time < oldest.report.time)
    }

    /// Adds a source to an event, and what it knows better.
    fn confirm(&mut self, seq: u64, report: Report, severity: Severity) {
        let key = |event: &Event| Some(Key::of(&event.fault()?, event.report.origin));
        let faults = self.shelf_mut(Class::Fault);
        let Some(before) = faults.get(seq).and_then(|event| key(event)) else { return };
        let confirmed = faults.change(seq, |event| add(event, report, severity));
        let Some(event) = confirmed else { return };
        let after = key(&event).unwrap_or(before);
        if after == before {
            self.groups.update(after, &event);
        } else {
            self.groups.take_back(before, &event);
            self.dirty.groups.extend(self.groups.add(&event));
        }
        self.dirty.groups.extend([before, after]);
        self.dirty.events.insert(seq);
    }
}

/// Adds to an event what another source reports of it.
fn add(event: &mut Event, mut report: Report, severity: Severity) {
    event.confirmed_by.push(report.source);
    let origin = settle(event.report.origin, &report);
    let attributions = [event.report.attribution.take(), report.attribution.take()];
    let has_words = |what: &What| matches!(what, What::Line { .. });
    if has_words(&report.what) && !has_words(&event.report.what) {
        // The driver's words say more than its number.
        let source = std::mem::replace(&mut event.report, report).source;
        event.confirmed_by.retain(|by| *by != event.report.source);
        event.confirmed_by.push(source);
        event.severity = severity;
    } else if event.report.task.is_none() {
        event.report.task = report.task;
    }
    event.report.origin = origin;
    // What is known best; of two that are known as well, what was known first.
    event.report.attribution =
        attributions.into_iter().flatten().min_by_key(|attribution| attribution.known_by);
}

/// Who wrote a line that two sources have told of. A number comes from the driver and not from whoever can write to
/// /dev/kmsg; the log's facility and what the program saw say so too, where they say anything.
fn settle(known: Origin, report: &Report) -> Origin {
    match (known, report.origin) {
        (known, Origin::Unstated) => known,
        (_, told) => told,
    }
}
