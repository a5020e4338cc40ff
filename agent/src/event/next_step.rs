//! What to do about an incident: NVIDIA's action, and the steps of its workflow with their conditions checked against what
//! was reported.
//!
//! The driver's own word comes first: the last Xid 154 of the incident. Then the root's action, or where the driver names a
//! cause of which there is no line, that one's, unless a consequence asks for something worse. Where that is a workflow, its
//! first step whose condition holds and that names an action decides. A condition that the lines do not answer is left to
//! the reader, never guessed.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Event, Incident,
    incident::{Member, WITHIN},
};
use crate::xid::{
    self, Action, Details, Fault, RepairOutcome, Severity, catalogue,
    workflow::{self, Fact, Step},
};

/// What to do.
#[derive(Debug, Clone)]
pub struct NextStep {
    /// At once. None where NVIDIA names nothing for any of it.
    pub action: Option<Action>,
    pub basis: Basis,
    /// Afterwards, where that is something else.
    pub look_into: Option<Action>,
    /// Steps of the root's workflow, with whether each one's condition holds; none where that cannot be told from here.
    pub steps: Vec<(Step, Option<bool>)>,
}

/// Where an action comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The driver said it, in an Xid 154.
    Driver,
    /// NVIDIA's action for the root.
    Root,
    /// NVIDIA's action for the Xid that the driver names as the root's cause, of which there is no line.
    NamedCause,
    /// NVIDIA's action for the worst of the consequences.
    Consequence,
}

/// Lines of one exception are this close to each other; what is further apart happened again.
const AGAIN: Duration = Duration::from_secs(1);

/// What to do about `incident`; `others` are the incidents of the same node.
#[must_use]
pub fn next_step(incident: &Incident, others: &[Incident]) -> NextStep {
    let (ground, basis) = ground(incident);
    if incident.recovered() {
        return NextStep { action: ground, basis, look_into: None, steps: Vec::new() };
    }
    let investigatory =
        incident.root().first().fault().and_then(|fault| xid::assess(&fault).investigatory);
    let is_workflow = |action: &Action| !workflow::steps(*action).is_empty();
    // Whoever decides: the steps that lead on from the root are worth reading.
    let workflow = [ground, worst_action(incident.root()), investigatory]
        .into_iter()
        .flatten()
        .find(is_workflow);
    let steps: Vec<_> = workflow
        .map_or(&[][..], workflow::steps)
        .iter()
        .map(|step| (*step, holds(step, incident, others)))
        .collect();
    let held = steps.iter().filter(|(_, holds)| *holds == Some(true));
    let decided = held.clone().filter(|_| workflow == ground).find_map(|(step, _)| step.action);
    let action = decided.or(ground);
    let look_into = held
        .rev()
        .find_map(|(step, _)| step.action)
        .or(investigatory.filter(|action| !is_workflow(action)))
        .filter(|look_into| Some(*look_into) != action && *look_into != Action::Ignore);
    NextStep { action, basis, look_into, steps }
}

/// The action that everything starts from.
fn ground(incident: &Incident) -> (Option<Action>, Basis) {
    if incident.recovery().is_some() {
        return (incident.xid(154).and_then(|member| action(member.last())), Basis::Driver);
    }
    if let Some(cause) = incident.cause_not_heard() {
        return (catalogue::lookup(cause).and_then(|entry| entry.immediate), Basis::NamedCause);
    }
    let root = worst_action(incident.root());
    let consequences = incident.consequences().iter().filter_map(worst_action);
    let worse_than_root =
        |action: &Action| action.severity() > root.map_or(Severity::Info, Action::severity);
    match consequences.max_by_key(|action| action.severity()).filter(worse_than_root) {
        Some(worst) => (Some(worst), Basis::Consequence),
        None => (root, Basis::Root),
    }
}

fn action(event: &Event) -> Option<Action> {
    xid::assess(&event.fault()?).immediate
}

/// What the worst of a fault's occurrences asks for.
fn worst_action(member: &Member) -> Option<Action> {
    member.events.iter().filter_map(|event| action(event)).max_by_key(|action| action.severity())
}

/// Whether the condition of a step holds; none where the lines do not tell.
fn holds(step: &Step, incident: &Incident, others: &[Incident]) -> Option<bool> {
    let mut checks = step.checks.iter().flatten().peekable();
    checks.peek()?;
    let mut all = Some(true);
    for check in checks {
        match fact(check.fact, incident, others) {
            Some(is) if is == check.wanted => {}
            Some(_) => return Some(false),
            None => all = None,
        }
    }
    all
}

fn fact(fact: Fact, incident: &Incident, others: &[Incident]) -> Option<bool> {
    let root = incident.root();
    match fact {
        Fact::Always => Some(true),
        Fact::SameTpcAgain => same_tpc_again(root),
        Fact::SeveralApplications => several_applications(root),
        Fact::FollowsAnother => {
            let named = |event: &&std::sync::Arc<Event>| {
                event.fault().is_some_and(|fault| fault.caused_by.is_some())
            };
            Some(root.key.code != Some(45) || root.events.iter().any(|event| named(&event)))
        }
        Fact::With63Or64 => Some(incident.xid(63).or(incident.xid(64)).is_some()),
        Fact::InSram => in_sram(incident),
        Fact::NoRowsLeft => no_rows_left(incident),
        Fact::AnotherNearby => {
            Some(root.key.code != Some(74) || others.iter().any(|other| nearby(incident, other)))
        }
        // The registers stand in the line of an NVLink5 error alone.
        Fact::RuleMatches => (144..=150)
            .contains(&root.key.code?)
            .then_some(xid::assess(&root.first().fault()?).nvlink5.is_some()),
        Fact::With154 => Some(incident.xid(154).is_some()),
    }
}

/// One exception prints several lines, and the same application fails in the same place each time it is run: a place that
/// was named at three times, or at two by different applications, is named again.
fn same_tpc_again(root: &Member) -> Option<bool> {
    if root.count == 1 {
        return Some(false);
    }
    let mut at: BTreeMap<_, Vec<(&Event, Fault<'_>)>> = BTreeMap::new();
    for event in &root.events {
        let Some(fault) = event.fault() else { continue };
        let Details::Graphics(details) = fault.details else { continue };
        let Some(place) = details.location else { continue };
        let times = at.entry((place.gpc, place.tpc)).or_default();
        let apart = times.last().is_none_or(|(last, _)| {
            event.report.time.duration_since(last.report.time).is_ok_and(|apart| apart > AGAIN)
        });
        if apart {
            times.push((event, fault));
        }
    }
    let most = at.values().max_by_key(|times| times.len())?;
    match &most[..] {
        [] | [_] => Some(false),
        [(_, first), (_, second)] => match (first.process.name, second.process.name) {
            (Some(first), Some(second)) if known(first) && known(second) => {
                (first != second).then_some(true)
            }
            _ => None,
        },
        _ => Some(true),
    }
}

fn several_applications(root: &Member) -> Option<bool> {
    let mut names: Vec<_> = root
        .events
        .iter()
        .filter_map(|event| event.fault()?.process.name.filter(|name| known(*name)))
        .collect();
    names.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    names.dedup();
    match names.len() {
        // A process that the lines name without a name may be any.
        0 => None,
        count => Some(count > 1),
    }
}

fn known(name: xid::Text<'_>) -> bool {
    !name.is_empty() && !name.as_bytes().starts_with(b"<unknown")
}

fn in_sram(incident: &Incident) -> Option<bool> {
    if incident.xid(172).is_some() {
        return Some(true);
    }
    let place = incident.xid(48)?.events.iter().find_map(|event| match event.fault()?.details {
        Details::DoubleBit(details) => {
            details.location.map(|place| place.as_bytes() == b"framebuffer")
        }
        _ => None,
    });
    place.map(|framebuffer| !framebuffer).or(incident.xid(171).map(|_| false))
}

fn no_rows_left(incident: &Incident) -> Option<bool> {
    let Some(failed) = incident.xid(64) else { return Some(false) };
    let full = |event: &Event| match event.fault()?.details {
        Details::Repair(repair) if repair.outcome == RepairOutcome::Failed => {
            let reason = repair.reason?;
            Some(reason.as_bytes().windows(4).any(|word| word == b"full"))
        }
        _ => None,
    };
    failed.events.iter().filter_map(|event| full(event)).max()
}

/// Whether `other` began at the same time and is more than a note.
fn nearby(incident: &Incident, other: &Incident) -> bool {
    let (one, two) = (incident.root().first(), other.root().first());
    let apart =
        one.report.time.max(two.report.time).duration_since(one.report.time.min(two.report.time));
    one.seq != two.seq
        && other.severity() >= Severity::Error
        && apart.is_ok_and(|apart| apart <= WITHIN)
}
