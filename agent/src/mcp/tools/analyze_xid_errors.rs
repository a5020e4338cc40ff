//! `analyze_xid_errors`: what the driver reported, what began it, and what to do.
//!
//! Arguments, all optional: `gpu` (index, PCI address or UUID), `min_severity`, `codes`, `kinds`; `since` (a time with its
//! zone, how far back as `15m`, or `next_cursor` of an earlier answer) and `until` (a time, or how far back); `limit` (20, at
//! most 100); `detail` (`summary`; `full` adds every line that is kept, steps that do not hold, and the first of each fault
//! decoded); `grouping` (`fault`; `none` lists single events, oldest first: pass `next_cursor` as `since` while `more`).
//!
//! The verdict is that of the worst incident: `nothing_heard` (nobody listened, so silence means nothing),
//! `no_fault_reported`, `attention`, `failed`. An incident is what belongs together: the root, which began it, and its
//! consequences. Which fault follows from which is in `agent/data/cascades.tsv`, with its sources; it has to come within a
//! minute, on the same device or one that is linked to it. An incident is told from its root on, also where that came before
//! `since` or is hidden by a filter; what does not fit into 32 KiB is dropped from its end and counted. What to do is the
//! driver's own word where there is an Xid 154, else NVIDIA's action for the root; the conditions of a workflow's steps are
//! checked against what was reported (`holds`; null where that cannot be told from here). Lines that a process wrote are
//! shown among the groups and are part of no incident.
//!
//! ```text
//! failed: 1 incident, 6 events, since 2026-11-22T00:14:38.149812Z.
//! DRAIN_AND_RESET: Start nothing new on the GPU, let what runs end, then reset it once nothing has it open, monitoring such as this agent's pod and DCGM included.
//! critical  0000:52:00.0
//!   began   2026-11-22T00:14:38.150327Z  0000:52:00.0  Xid 48 ECC found an error that it cannot correct. The data is lost; …
//!   then    2026-11-22T00:14:38.150330Z  0000:52:00.0  Xid 63: the driver notes the faulty memory for repair
//!   then    2026-11-22T00:14:38.150332Z  0000:52:00.0  Xid 94: how far the memory error reached
//!   then    2026-11-22T00:14:38.150333Z  0000:52:00.0  Xid 45 2 times: the driver cleans up the channels that were hit
//!   do      DRAIN_AND_RESET: Start nothing new on the GPU, let what runs end, then reset it once nothing has it open, monitoring such as this agent's pod and DCGM included.
//!   so      an Xid 63 or 64 goes with it: Let running work end, start none, and reset the GPU: the reset activates the …
//!   line    #1 NVRM: Xid (PCI:0000:52:00): 48, pid='<unknown>', name=<unknown>, An uncorrectable double bit error (DBE) …
//!   line    #2 NVRM: Xid (PCI:0000:52:00): 63, pid='<unknown>', name=<unknown>, Row Remapper: New row (0x0000000018f31d80) …
//!   line    #3 NVRM: Xid (PCI:0000:52:00): 94, pid=7194, name=python3, Contained: SM (0x1). RST: No, D-RST: No
//!   line    #4 NVRM: Xid (PCI:0000:52:00): 45, pid=7194, name=python3, Ch 00000008
//! besides
//!   1x #6 2026-11-22T00:14:38.150335Z  fatal  0000:3b:00.0  Xid 79 The GPU does not answer …  (written by a process)
//! ```

mod answer;
mod incident;
mod window;

use std::{cmp::Reverse, time::SystemTime};

use rmcp::schemars::{self, JsonSchema};
use serde::Deserialize;

use self::{
    answer::{Analysis, GroupAnswer, Room, VerdictAnswer},
    incident::IncidentAnswer,
    window::Window,
};
use super::{
    event::{self, EventAnswer},
    kinds::{KindArgument, SeverityArgument},
    select::{self, Detail, GpuArgument, Grouping, Since},
};
use crate::{
    event::{Filter, Group, Incident, Kind, Kinds},
    mcp::{
        render,
        tool::{Call, Refusal, Tool},
    },
    node::Node,
    xid::Severity,
};

#[derive(Debug)]
pub struct AnalyzeXidErrors;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Only this GPU, by index, PCI address or UUID. An address also finds a GPU that is gone.
    #[serde(default)]
    gpu: Option<GpuArgument>,
    /// Only faults at least this bad.
    #[serde(default)]
    min_severity: Option<SeverityArgument>,
    /// Only these Xid or SXid numbers.
    #[serde(default)]
    codes: Option<Vec<u32>>,
    /// Only these kinds.
    #[serde(default)]
    kinds: Option<Vec<KindArgument>>,
    /// From here on: a time with its zone (2026-11-21T20:00:00Z), how far back (90s, 15m, 2h, 3d), or `next_cursor` of an
    /// earlier answer.
    #[serde(default)]
    since: Option<String>,
    /// Up to here: a time with its zone, or how far back.
    #[serde(default)]
    until: Option<String>,
    /// Most incidents and most groups, or most events, in the answer; the worst are kept.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 100))]
    limit: usize,
    /// `summary` (default), or `full`: every line that is kept, and the first of each fault decoded.
    #[serde(default)]
    detail: Detail,
    /// `fault` (default): identical faults folded, and incidents. `none`: single events, oldest first, to page through.
    #[serde(default)]
    grouping: Grouping,
}

fn default_limit() -> usize {
    20
}

impl Tool for AnalyzeXidErrors {
    const NAME: &'static str = "analyze_xid_errors";
    const TITLE: &'static str = "Analyze Xid errors";
    const DESCRIPTION: &'static str = "What NVIDIA's driver reported about this node's GPUs: Xid, SXid, GPUs fallen off the bus, failed initialisation, \
        PCIe errors. Answers with a verdict and incidents: what began each, what only followed from it, NVIDIA's next step with its conditions \
        checked, and the driver's lines. Ask for a time window with since and until. `listening: false` means that nothing is heard, so an empty \
        answer proves nothing.";
    type Input = Input;
    type Answer = Analysis;

    async fn call(node: &Node, input: Input, _: &Call) -> Result<Analysis, Refusal> {
        let (since, until) = checked(&input, SystemTime::now())?;
        let Input { gpu, min_severity, codes, kinds, limit, detail, grouping, .. } = input;
        let filter = Filter {
            kinds: kinds.map_or(Kinds::Faults, |kinds| {
                Kinds::These(kinds.into_iter().map(|kind| Kind::Fault(kind.kind())).collect())
            }),
            codes,
            pci: select::pci(node, gpu.as_ref()).await?,
            min_severity: min_severity.map(SeverityArgument::severity),
        };
        node.sources.settled().await;
        let window = Window::of(&node.journal, since, until);
        let groups = window.groups(&filter);
        let (all, asked) = window.incidents(&filter);
        let mut incidents: Vec<&Incident> = asked.into_iter().map(|at| &all[at]).collect();
        incidents.sort_by_key(|incident| (incident.recovered(), Reverse(incident.severity())));
        let mut answer = empty(node, &window, since, until);
        let known_from = window.oldest().map_or(node.started, |oldest| oldest.min(node.started));
        let silent = !answer.listening || until.is_some_and(|until| until < known_from);
        answer.verdict = verdict(&incidents, silent);
        answer.event_count = groups.iter().map(|group| group.count).sum();
        let told = groups.iter().filter(|group| !group.key.from_user);
        answer.worst = told.map(|group| group.first.severity).max().map(SeverityArgument::of);
        answer.recommendation = recommendation(answer.verdict, incidents.first().copied(), &all);
        let mut room = Room::new();
        match grouping {
            Grouping::None => {
                answer.incidents_omitted = incidents.len();
                page(&mut answer, &window, &filter, limit, &mut room);
            }
            Grouping::Fault => {
                let mut for_incidents = room.for_incidents(detail);
                answer.incidents = incidents
                    .iter()
                    .take(limit)
                    .map_while(|incident| fitting(incident, &all, detail, &mut for_incidents))
                    .collect();
                room.take_back(&for_incidents);
                answer.incidents_omitted = incidents.len() - answer.incidents.len();
                let found = groups.len();
                answer.groups = shown(groups, &incidents, limit, detail, &mut room);
                answer.groups_omitted = found - answer.groups.len();
            }
        }
        Ok(answer)
    }
}

/// The window that is asked for, when every argument can be obeyed.
fn checked(input: &Input, now: SystemTime) -> Result<(Option<Since>, Option<SystemTime>), Refusal> {
    let refuse = |what: String, next: &str| Err(Refusal { what, next: next.to_owned() });
    if !(1..=100).contains(&input.limit) {
        return refuse(format!("limit is {}", input.limit), "Pass limit from 1 to 100.");
    }
    select::check_named("codes", input.codes.as_deref())?;
    select::check_named("kinds", input.kinds.as_deref())?;
    let since = input.since.as_deref().map(|since| select::since(since, now)).transpose()?;
    let until = input.until.as_deref().map(|until| select::until(until, now)).transpose()?;
    let Some(Since::Time(from)) = since else { return Ok((since, until)) };
    if from > now {
        let next = format!("This node's clock says {}; pass an earlier time.", render::time(now));
        return refuse(format!("since lies ahead, at {}", render::time(from)), &next);
    }
    if let Some(until) = until.filter(|until| *until < from) {
        let what =
            format!("until, {}, is before since, {}", render::time(until), render::time(from));
        return refuse(what, "Pass an until that is later than since.");
    }
    Ok((since, until))
}

/// An answer with nothing found in it.
fn empty(
    node: &Node,
    window: &Window,
    since: Option<Since>,
    until: Option<SystemTime>,
) -> Analysis {
    let known_from = window.oldest().map_or(node.started, |oldest| oldest.min(node.started));
    let covers_since = window.whole_since.unwrap_or(known_from);
    let from = match since {
        Some(Since::Time(from)) => Some(from),
        Some(Since::Cursor(_)) | None => None,
    };
    let before = from
        .or(until)
        .filter(|asked| *asked < known_from)
        .map(|_| format!("Nothing is known of what happened before {}.", render::time(known_from)));
    Analysis {
        simulated: node.gpu.simulated(),
        verdict: VerdictAnswer::NoFaultReported,
        recommendation: String::new(),
        worst: None,
        listening: node.sources.any_live(),
        listening_since: render::time(node.started),
        covers_since: render::time(covers_since),
        since: from.map(render::time),
        until: until.map(render::time),
        evicted: window.evicted,
        limits: before.into_iter().chain(event::unheard(node)).collect(),
        event_count: 0,
        incidents: Vec::new(),
        incidents_omitted: 0,
        groups: Vec::new(),
        groups_omitted: 0,
        events: Vec::new(),
        more: false,
        next_cursor: window.end.to_string(),
        lost: node.sources.dropped() + node.journal.overflow().1,
    }
}

fn verdict(incidents: &[&Incident], silent: bool) -> VerdictAnswer {
    let verdict = |incident: &&Incident| match incident.severity() {
        Severity::Info => VerdictAnswer::NoFaultReported,
        Severity::Warning | Severity::Error => VerdictAnswer::Attention,
        // What the driver has taken back needs nobody at once.
        Severity::Critical | Severity::Fatal if incident.recovered() => VerdictAnswer::Attention,
        Severity::Critical | Severity::Fatal => VerdictAnswer::Failed,
    };
    if incidents.is_empty() && silent {
        return VerdictAnswer::NothingHeard;
    }
    let verdicts = incidents.iter().map(verdict);
    verdicts.max_by_key(|verdict| *verdict as u8).unwrap_or(VerdictAnswer::NoFaultReported)
}

fn recommendation(verdict: VerdictAnswer, worst: Option<&Incident>, all: &[Incident]) -> String {
    match (verdict, worst) {
        (VerdictAnswer::NothingHeard, _) => {
            "Nothing was heard, so nothing is known; get_agent_status says what listens, and what turns the rest on."
                .to_owned()
        }
        (VerdictAnswer::NoFaultReported, None) => {
            "The driver has reported no fault that matches.".to_owned()
        }
        (VerdictAnswer::NoFaultReported, Some(_)) => {
            "Nothing has to be done at once: the driver reported notes and clean-up alone."
                .to_owned()
        }
        (_, Some(worst)) => incident::sentence(worst, all),
        (_, None) => String::new(),
    }
}

/// As much of an incident as there is room for; its root at least.
fn fitting(
    incident: &Incident,
    all: &[Incident],
    detail: Detail,
    room: &mut Room,
) -> Option<IncidentAnswer> {
    let mut fits = |incident: &IncidentAnswer| room.fits(incident);
    let whole = IncidentAnswer::of(incident, all, detail)?;
    if fits(&whole) {
        return Some(whole);
    }
    let summary = IncidentAnswer::of(incident, all, Detail::Summary).filter(&mut fits);
    summary.or_else(|| Some(whole.shortened()).filter(fits))
}

/// Single events, oldest first, as many as fit; the next page begins behind the last of them.
fn page(answer: &mut Analysis, window: &Window, filter: &Filter, limit: usize, room: &mut Room) {
    for event in window.events(filter) {
        let Some(told) = EventAnswer::of(event) else { continue };
        if answer.events.len() == limit || !room.fits(&told) {
            answer.more = true;
            break;
        }
        answer.next_cursor = window.end.at(told.seq).to_string();
        answer.events.push(told);
    }
    if !answer.more {
        answer.next_cursor = window.end.to_string();
    }
}

/// The groups that fit: those that an incident began with, the worst incident's first, then the worst; in the order they
/// began.
fn shown(
    mut groups: Vec<Group>,
    incidents: &[&Incident],
    limit: usize,
    detail: Detail,
    room: &mut Room,
) -> Vec<GroupAnswer> {
    groups.sort_by_cached_key(|group| {
        let began = incidents.iter().position(|incident| incident.root().key == group.key);
        (began.unwrap_or(usize::MAX), Reverse(group.first.severity), group.first.seq)
    });
    let mut answers: Vec<GroupAnswer> = groups
        .iter()
        .take(limit)
        .filter_map(|group| GroupAnswer::of(group, detail))
        .take_while(|answer| room.fits(answer))
        .collect();
    answers.sort_by_key(|answer| answer.first.seq);
    answers
}
