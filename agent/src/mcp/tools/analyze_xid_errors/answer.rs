//! The answer: its types, and what makes it fit.

use std::fmt::Write as _;

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;
use serde_json::Value;

use super::incident::IncidentAnswer;
use crate::{
    event::{Event, Group, group::Pids},
    mcp::{
        details::Decoded,
        render,
        tool::Answer,
        tools::{
            event::{self, EventAnswer},
            kinds::SeverityArgument,
            select::Detail,
        },
    },
};

#[derive(Debug, Serialize, JsonSchema)]
pub struct Analysis {
    /// The GPUs are simulated and do not exist. The kernel's lines are the machine's own all the same.
    pub simulated: bool,
    pub verdict: VerdictAnswer,
    /// What to do, by the worst incident.
    pub recommendation: String,
    /// The worst of the groups; null when there is none.
    pub worst: Option<SeverityArgument>,
    /// A source of events is live. False: no fault found means nothing; see get_agent_status.
    pub listening: bool,
    /// The agent has listened since, RFC 3339 in UTC.
    pub listening_since: String,
    /// The journal goes back to here. Of what was evicted before, only the first and last of each fault and their number are
    /// known.
    pub covers_since: String,
    /// The window that was asked for, as it was understood; null where it is open, and where `since` is a cursor.
    pub since: Option<String>,
    pub until: Option<String>,
    /// Events of the window that were evicted from the journal, as far as that can be told.
    pub evicted: u64,
    /// What limits this answer; empty when nothing does.
    pub limits: Vec<String>,
    /// Events that match.
    pub event_count: u64,
    /// What belongs together, the worst first. Each is told whole, from its root on, where anything of it matches.
    pub incidents: Vec<IncidentAnswer>,
    /// Incidents that match and are not shown, because of `limit`, the size of the answer, or `grouping: none`.
    pub incidents_omitted: usize,
    /// Identical faults folded; what began first stands first. Empty with `grouping: none`.
    pub groups: Vec<GroupAnswer>,
    /// Groups that match and are not shown because of `limit` or the size of the answer.
    pub groups_omitted: usize,
    /// With `grouping: none`: the events, oldest first.
    pub events: Vec<EventAnswer>,
    /// There are more events: pass `next_cursor` as `since`.
    pub more: bool,
    /// Everything up to here is in this answer. Pass it as `since` for what comes after.
    pub next_cursor: String,
    /// Driver lines lost between the kernel and the journal, and faults that were counted in no group.
    pub lost: u64,
}

/// What the reported faults amount to. The names that `get_gpu_health` has too mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerdictAnswer {
    /// Nobody listened, or not in the window that was asked for: silence means nothing.
    NothingHeard,
    /// Nothing that somebody has to act on.
    NoFaultReported,
    /// Work was lost, or somebody should look; the GPUs can go on.
    Attention,
    /// A GPU must not be given work until the action named is done.
    Failed,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct GroupAnswer {
    pub count: u64,
    /// The first occurrence, whole.
    pub first: EventAnswer,
    /// Time of the last occurrence.
    pub last_time: String,
    /// The driver's words at the last occurrence; null when there was one only.
    pub last_raw: Option<String>,
    /// The processes that the lines name.
    pub pids: PidsAnswer,
    /// What the first line says, decoded; with `detail: full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct PidsAnswer {
    /// Distinct, by number, on the host.
    pub seen: Vec<u32>,
    /// There were more.
    pub more: bool,
}

/// An answer is at most 32 KiB; what is neither incident, group nor event takes less than the rest.
const LISTS_BYTES: usize = 29 << 10;
/// What incidents may take of that.
const INCIDENTS_BYTES: usize = 12 << 10;
const INCIDENTS_BYTES_FULL: usize = 20 << 10;
/// Incidents and groups that the text tells.
const TOLD: usize = 5;

/// Room in the answer.
#[derive(Debug)]
pub struct Room(usize);

impl Room {
    pub fn new() -> Self {
        Self(LISTS_BYTES)
    }

    /// Room for incidents, to be given back with [`Self::take_back`].
    pub fn for_incidents(&mut self, detail: Detail) -> Self {
        let room = if detail == Detail::Full { INCIDENTS_BYTES_FULL } else { INCIDENTS_BYTES };
        self.0 -= room;
        Self(room)
    }

    pub fn take_back(&mut self, rest: &Self) {
        self.0 += rest.0;
    }

    /// Whether `item` fits; then it has its place.
    pub fn fits<T: Serialize>(&mut self, item: &T) -> bool {
        let size = serde_json::to_vec(item).map_or(usize::MAX, |json| json.len() + 1);
        self.0.checked_sub(size).map(|left| self.0 = left).is_some()
    }
}

impl GroupAnswer {
    pub fn of(group: &Group, detail: Detail) -> Option<Self> {
        let decoded = |event: &Event| serde_json::to_value(Decoded(event.fault()?.details)).ok();
        Some(Self {
            count: group.count,
            first: EventAnswer::of(&group.first)?,
            last_time: render::time(group.last.report.time),
            last_raw: if group.count > 1 { event::raw(&group.last) } else { None },
            pids: PidsAnswer::of(&group.pids),
            details: if detail == Detail::Full { decoded(&group.first) } else { None },
        })
    }
}

impl PidsAnswer {
    fn of(pids: &Pids) -> Self {
        Self { seen: pids.seen.iter().copied().collect(), more: pids.more }
    }
}

impl VerdictAnswer {
    pub fn name(self) -> &'static str {
        match self {
            Self::NothingHeard => "nothing_heard",
            Self::NoFaultReported => "no_fault_reported",
            Self::Attention => "attention",
            Self::Failed => "failed",
        }
    }
}

impl Answer for Analysis {
    fn text(&self) -> String {
        let incidents = (self.incidents.len() + self.incidents_omitted) as u64;
        let mut text = format!(
            "{}: {}, {}, since {}{}.\n{}",
            self.verdict.name(),
            render::count(incidents, "incident"),
            render::count(self.event_count, "event"),
            // Of one format, so that the later sorts last.
            self.since.as_ref().map_or(&self.covers_since, |since| since.max(&self.covers_since)),
            self.until.as_ref().map_or(String::new(), |until| format!(" until {until}")),
            self.recommendation
        );
        for incident in self.incidents.iter().take(TOLD) {
            incident.write(&mut text);
        }
        let told: Vec<u64> =
            self.incidents.iter().take(TOLD).flat_map(IncidentAnswer::seqs).collect();
        let untold: Vec<_> =
            self.groups.iter().filter(|group| !told.contains(&group.first.seq)).collect();
        if !untold.is_empty() {
            text.push_str("\nbesides");
        }
        for group in untold.iter().take(TOLD) {
            let user =
                if group.first.origin == Some("user") { "  (written by a process)" } else { "" };
            let _ = write!(text, "\n  {}x {}{user}", group.count, group.first.line());
        }
        let rest = untold.len().saturating_sub(TOLD) + self.groups_omitted;
        if rest > 0 {
            let _ = write!(
                text,
                "\n{rest} more distinct faults; narrow with gpu, codes, min_severity or since."
            );
        }
        for event in &self.events {
            let _ = write!(text, "\n{}", event.line());
        }
        if self.more {
            let _ = write!(text, "\nMore: pass since: {}", self.next_cursor);
        }
        for limit in &self.limits {
            let _ = write!(text, "\n{limit}");
        }
        if self.lost > 0 {
            let _ =
                write!(text, "\n{} driver lines were lost and are not in this answer.", self.lost);
        }
        text
    }
}
