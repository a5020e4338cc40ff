//! Incidents: faults that belong together, what began it and what followed.
//!
//! What can follow from what is [`xid::cascade`]'s; here is when. A fault becomes part of an incident
//!
//! 1. as a consequence, when the table links it to a fault of that incident which came at most [`WITHIN`] before it. A line
//!    that names its cause (`caused by previous Xid 149`) is linked to that alone, however many others there were. Of
//!    several possible causes the one that names the same process is taken, then the latest; for an Xid 154, which sums up
//!    what was worst, the worst;
//! 2. as a repeat, when the same fault is in it and came at most [`REPEAT`] before;
//! 3. else it begins one.
//!
//! Where a burst prints the consequence first, at most [`BURST`] before its cause, the cause becomes the root all the same.
//! An Xid 154 that takes the recovery back (`to 0x0`) belongs to the incident that asked for it, whenever it comes.
//!
//! What a process wrote is part of none. Of faults whose events the journal has evicted, the first and the last are known,
//! and how many there were: the others count with the first, and are taken to have come without a pause.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    Event, Group,
    group::{Key, Pids},
};
use crate::xid::{
    Details, Fault, Kind, PciAddress, RecoveryAction, Severity,
    cascade::{self, Subject},
    catalogue,
};

/// How long a consequence may take. The longest seen in public logs are 12 s (a switch that notices a lost GPU) and 18 s
/// (notices of a system processor that hangs); most come within half a second.
pub const WITHIN: Duration = Duration::from_mins(1);
/// How long a fault may pause and still be the same trouble. The kubelet restarts what crashes at most every five minutes,
/// and it needs time to crash again.
pub const REPEAT: Duration = Duration::from_mins(10);
/// How much earlier a consequence may be printed than its cause: several processors print, and the firmware tells some
/// errors through the driver. Public logs have 25 ms between the lines of one memory error.
pub const BURST: Duration = Duration::from_millis(100);
/// How many incidents back a cause is looked for. A node has at most 16 GPUs, and some switches and ports.
const REACH: usize = 64;

/// What began it, and what followed.
#[derive(Debug, Clone)]
pub struct Incident {
    /// Root first, then its consequences in the order they were printed. Never empty.
    members: Vec<Member>,
}

/// One fault of an incident, with its repeats.
#[derive(Debug, Clone)]
pub struct Member {
    pub key: Key,
    /// Occurrences, also of those whose event is not kept any more.
    pub count: u64,
    /// Occurrences that are kept, in the order they were printed. Never empty.
    pub events: Vec<Arc<Event>>,
    pub pids: Pids,
    /// Why it is a consequence; none for the root.
    pub why: Option<&'static str>,
    /// What the table compares of it.
    subject: Subject,
    /// The table has something that it can follow from.
    can_follow: bool,
    /// When the latest came, as far as is known.
    latest: SystemTime,
}

/// What happened, of `events` (in any order; those that only go on with another count nothing) and of `groups`, whose first
/// and last events may have been evicted. The incident that began first stands first.
#[must_use]
pub fn incidents(events: &[Arc<Event>], groups: &[Group]) -> Vec<Incident> {
    let mut incidents = Incidents::default();
    for occurrence in occurrences(events, groups) {
        incidents.add(&occurrence);
    }
    let mut incidents = incidents.0;
    let order = |event: &Arc<Event>| (event.report.time, event.seq);
    for incident in &mut incidents {
        incident.members.iter_mut().for_each(|member| member.events.sort_by_key(order));
        incident.members[1..].sort_by_key(|member| order(member.first()));
    }
    incidents.sort_by_key(|incident| order(incident.root().first()));
    incidents
}

impl Incident {
    #[must_use]
    pub fn root(&self) -> &Member {
        &self.members[0]
    }

    #[must_use]
    pub fn consequences(&self) -> &[Member] {
        &self.members[1..]
    }

    /// Root first.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// The member of this Xid.
    #[must_use]
    pub fn xid(&self, code: u32) -> Option<&Member> {
        self.members().find(|member| member.key.kind == Kind::Xid && member.key.code == Some(code))
    }

    /// The device that it is about: the root's, or where that is a port, of the GPU below it.
    #[must_use]
    pub fn device(&self) -> Option<PciAddress> {
        let not_a_port = self.members().find(|member| member.key.kind != Kind::Aer);
        not_a_port.unwrap_or(self.root()).key.pci
    }

    /// The worst of what happened, with what the driver names as the cause.
    #[must_use]
    pub fn severity(&self) -> Severity {
        let cause = self.cause_not_heard().and_then(catalogue::lookup).map(|entry| entry.severity);
        self.members().map(Member::severity).chain(cause).max().unwrap_or(Severity::Info)
    }

    /// The Xid that the driver names as the root's cause, of which there is no line.
    #[must_use]
    pub fn cause_not_heard(&self) -> Option<u32> {
        let named = self.root().first().fault()?.caused_by?;
        self.xid(named).is_none().then_some(named)
    }

    /// The last that the driver said of the GPU is that it needs nothing any more.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.recovery() == Some(RecoveryAction::None)
    }

    /// What the last Xid 154 asks for.
    #[must_use]
    pub fn recovery(&self) -> Option<RecoveryAction> {
        recovery(&self.xid(154)?.last().fault()?)
    }

    /// When the last of it came.
    #[must_use]
    pub fn latest(&self) -> SystemTime {
        self.members().map(|member| member.latest).max().unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl Member {
    #[must_use]
    pub fn first(&self) -> &Arc<Event> {
        &self.events[0]
    }

    #[must_use]
    pub fn last(&self) -> &Arc<Event> {
        &self.events[self.events.len() - 1]
    }

    #[must_use]
    pub fn severity(&self) -> Severity {
        self.events.iter().map(|event| event.severity).max().unwrap_or(Severity::Info)
    }
}

fn recovery(fault: &Fault<'_>) -> Option<RecoveryAction> {
    match fault.details {
        Details::Recovery(change) => Some(change.to),
        _ => None,
    }
}

/// An event, with those that are known only by number.
struct Occurrence<'a> {
    event: &'a Arc<Event>,
    fault: Fault<'a>,
    key: Key,
    /// How many it stands for.
    count: u64,
    /// Until when those may have come.
    until: SystemTime,
    pids: Pids,
}

impl<'a> Occurrence<'a> {
    fn of(event: &'a Arc<Event>) -> Option<Self> {
        let fault = event.fault()?;
        let key = Key::of(&fault, event.report.origin);
        let mut pids = Pids::default();
        if let Some(pid) = fault.process.pid {
            pids.add(pid);
        }
        let heeded = !key.from_user && !event.report.follows;
        heeded.then_some(Self { event, fault, key, count: 1, until: event.report.time, pids })
    }
}

/// What is there to be told, in the order of its times.
fn occurrences<'a>(events: &'a [Arc<Event>], groups: &'a [Group]) -> Vec<Occurrence<'a>> {
    let mut all: Vec<_> = events.iter().filter_map(Occurrence::of).collect();
    let mut kept = BTreeMap::new();
    for occurrence in &all {
        *kept.entry(occurrence.key).or_insert(0_u64) += 1;
    }
    let oldest = events.iter().min_by_key(|event| event.seq);
    let evicted = |event: &Event| oldest.is_none_or(|oldest| event.seq < oldest.seq);
    for group in groups.iter().filter(|group| evicted(&group.first)) {
        let Some(first) = Occurrence::of(&group.first) else { continue };
        let last_too = evicted(&group.last) && group.last.seq != group.first.seq;
        let known = kept.get(&group.key).copied().unwrap_or(0) + u64::from(last_too);
        let count = group.count.saturating_sub(known).max(1);
        let until = match oldest {
            _ if count == 1 => first.until,
            Some(oldest) if !last_too => oldest.report.time,
            _ => group.last.report.time,
        };
        all.push(Occurrence { count, until, pids: group.pids.clone(), ..first });
        all.extend(last_too.then(|| Occurrence::of(&group.last)).flatten());
    }
    all.sort_by_key(|occurrence| (occurrence.event.report.time, occurrence.event.seq));
    all
}

/// What has been put together so far.
#[derive(Default)]
struct Incidents(Vec<Incident>);

impl Incidents {
    fn add(&mut self, occurrence: &Occurrence<'_>) {
        let fault = &occurrence.fault;
        let member = Member::of(occurrence);
        let taken_back = recovery(fault) == Some(RecoveryAction::None);
        let at = self
            .cause(&member, fault)
            .or_else(|| self.asked_for(&member).filter(|_| taken_back))
            .or_else(|| self.repeated(&member, fault.caused_by).map(|at| (at, None)));
        let at = if let Some((at, why)) = at {
            self.0[at].take(Member { why, ..member.clone() });
            at
        } else {
            self.0.push(Incident { members: vec![member.clone()] });
            self.0.len() - 1
        };
        self.adopt(at, &member);
    }

    /// The incident with a fault that `then` follows from, and why it does.
    fn cause(&self, then: &Member, fault: &Fault<'_>) -> Option<(usize, Option<&'static str>)> {
        if !then.can_follow {
            return None;
        }
        let rows: Vec<_> = cascade::causes_of(then.subject).collect();
        let mut best = None;
        for (at, incident) in self.0.iter().enumerate().rev().take(REACH) {
            for first in &incident.members {
                let named = fault.caused_by.is_some() && first.key.code == fault.caused_by;
                let reach = if named { REPEAT } else { WITHIN };
                if fault.caused_by.is_some() != named || since(first.latest, then) > Some(reach) {
                    continue;
                }
                let holds = |row: &&&cascade::Relation| row.holds(first.subject, then.subject);
                let Some(row) = rows.iter().find(holds) else { continue };
                let same_process =
                    fault.process.pid.is_some_and(|pid| first.pids.seen.contains(&pid));
                let rank = if recovery(fault).is_some() {
                    (false, first.severity(), first.latest)
                } else {
                    (same_process, Severity::Info, first.latest)
                };
                if best.is_none_or(|(best, _, _)| rank > best) {
                    best = Some((rank, at, row.why));
                }
            }
        }
        best.map(|(_, at, why)| (at, Some(why)))
    }

    /// The incident for which the GPU was to be recovered.
    fn asked_for(&self, back: &Member) -> Option<(usize, Option<&'static str>)> {
        let asked =
            |incident: &Incident| incident.members.iter().any(|member| member.key == back.key);
        Some((self.0.iter().rposition(asked)?, None))
    }

    /// The incident in which the same fault came before. One that names its cause repeats only what names the same.
    fn repeated(&self, again: &Member, caused_by: Option<u32>) -> Option<usize> {
        let same = |incident: &Incident| {
            incident.members.iter().enumerate().any(|(at, member)| {
                member.same(again)
                    && since(member.latest, again) <= Some(REPEAT)
                    && caused_by.is_none_or(|code| at == 0 || incident.xid(code).is_some())
            })
        };
        self.0.iter().rposition(same)
    }

    /// Takes over incidents that `first`, a member of the one at `at`, is the cause of, printed a moment before it.
    fn adopt(&mut self, at: usize, first: &Member) {
        let mut consequences = Vec::new();
        let recent = self.0.iter().enumerate().rev().take(REACH);
        for (other, incident) in recent.filter(|(other, _)| *other != at) {
            let root = &incident.members[0];
            if !root.can_follow || since(root.first().report.time, first) > Some(BURST) {
                continue;
            }
            let mut rows = cascade::causes_of(root.subject);
            let caused_by = root.first().fault().and_then(|fault| fault.caused_by);
            if caused_by.is_none_or(|code| first.key.code == Some(code))
                && let Some(row) = rows.find(|row| row.holds(first.subject, root.subject))
            {
                consequences.push((other, row.why));
            }
        }
        // From the back, so that what was found keeps its place.
        let mut to = at;
        for (other, why) in consequences {
            let mut members = self.0.remove(other).members;
            to -= usize::from(other < to);
            members[0].why = Some(why);
            for member in members {
                self.0[to].take(member);
            }
        }
    }
}

impl Incident {
    fn take(&mut self, member: Member) {
        let Some(known) = self.members.iter_mut().find(|known| known.same(&member)) else {
            self.members.push(member);
            return;
        };
        known.count += member.count;
        known.latest = known.latest.max(member.latest);
        known.events.extend(member.events);
        known.pids.more |= member.pids.more;
        member.pids.seen.into_iter().for_each(|pid| known.pids.add(pid));
    }
}

impl Member {
    /// Whether it is the same fault. Kinds that hold both what was corrected and what was not are told apart.
    fn same(&self, other: &Self) -> bool {
        let (one, two) = (self.subject, other.subject);
        let mixed = matches!(self.key.kind, Kind::Aer | Kind::Sxid);
        self.key == other.key && (!mixed || one.severity == two.severity)
    }

    fn of(occurrence: &Occurrence<'_>) -> Self {
        let Occurrence { event, fault, key, count, until, pids } = occurrence;
        let subject = Subject::of(fault, event.severity);
        Self {
            key: *key,
            count: *count,
            events: vec![Arc::clone(event)],
            pids: pids.clone(),
            why: None,
            subject,
            can_follow: cascade::causes_of(subject).next().is_some(),
            latest: *until,
        }
    }
}

/// How long before a new occurrence something was; none where it was not before but at the same time or later.
fn since(earlier: SystemTime, now: &Member) -> Option<Duration> {
    now.first().report.time.duration_since(earlier).ok()
}

#[cfg(test)]
#[path = "incident_test.rs"]
mod tests;
