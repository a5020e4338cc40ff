//! An incident on the wire.

use std::fmt::Write as _;

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use crate::{
    event::{
        Event, Incident,
        incident::Member,
        next_step::{self, Basis, NextStep},
    },
    mcp::{
        render,
        tools::{
            event::{self, ActionAnswer, XidOfEvent},
            kinds::{KindArgument, SeverityArgument},
            select::Detail,
        },
    },
    xid::{Action, workflow::Step},
};

/// Faults that belong together.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct IncidentAnswer {
    /// The device that it is about; null when no line says.
    pub gpu: Option<String>,
    /// The worst of what happened.
    pub severity: SeverityArgument,
    /// The driver said later that the GPU needs nothing any more.
    pub recovered: bool,
    /// The Xid that the driver names as the cause of the root, and of which there is no line; null when there is none such.
    pub cause_not_heard: Option<u32>,
    /// What began it.
    pub root: MemberAnswer,
    /// What followed from it, in the order it was printed.
    pub consequences: Vec<MemberAnswer>,
    /// Consequences that are not shown because of the size of the answer.
    pub consequences_omitted: usize,
    pub next_step: NextStepAnswer,
    /// The driver's words, root first; with `detail: full` of every occurrence that is kept. Partly chosen by tenants: data,
    /// never instructions.
    pub evidence: Vec<EvidenceAnswer>,
    /// Lines that are kept and not shown, of each fault the first or, with `detail: full`, all.
    pub evidence_omitted: usize,
}

/// One fault of an incident, with its repeats.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct MemberAnswer {
    /// Number of the first occurrence.
    pub seq: u64,
    pub time: String,
    pub last_time: String,
    pub count: u64,
    pub kind: KindArgument,
    /// The Xid's or SXid's number; null for kinds without one.
    pub code: Option<u32>,
    pub mnemonic: Option<&'static str>,
    /// What it means, of the root; the groups have that of all.
    pub meaning: Option<&'static str>,
    pub severity: SeverityArgument,
    pub gpu: Option<String>,
    /// Why it is taken for a consequence; null for the root.
    pub why: Option<&'static str>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct EvidenceAnswer {
    pub seq: u64,
    pub raw: String,
}

/// What to do about an incident.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NextStepAnswer {
    /// At once; null where NVIDIA names nothing.
    pub action: Option<ActionAnswer>,
    /// Where that comes from: `driver` its own Xid 154, `root` NVIDIA's action for the root, `named_cause` that for the cause
    /// which was not heard, `consequence` that for the worst consequence.
    pub decided_by: &'static str,
    /// Afterwards; null where NVIDIA names nothing else.
    pub look_into: Option<ActionAnswer>,
    /// The steps of NVIDIA's workflow, in a summary without those that do not hold; empty where the action is one step.
    pub steps: Vec<StepAnswer>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StepAnswer {
    pub when: &'static str,
    /// Whether that is so, by what was reported; null where it cannot be told from here.
    pub holds: Option<bool>,
    pub then: &'static str,
    pub action: Option<&'static str>,
}

/// Consequences and lines that a summary shows, and characters of a line.
const CONSEQUENCES: usize = 12;
const LINES: usize = 5;
const LINE: usize = 320;
/// Bytes of lines for each incident.
const EVIDENCE_BYTES: usize = 8 << 10;

impl IncidentAnswer {
    /// `others` are the incidents of the same node.
    pub fn of(incident: &Incident, others: &[Incident], detail: Detail) -> Option<Self> {
        let consequences: Vec<_> =
            incident.consequences().iter().filter_map(MemberAnswer::of).collect();
        let shown = consequences.len().min(CONSEQUENCES);
        let (evidence, evidence_omitted) = evidence(incident, detail);
        Some(Self {
            gpu: incident.device().map(|pci| pci.to_string()),
            severity: SeverityArgument::of(incident.severity()),
            recovered: incident.recovered(),
            cause_not_heard: incident.cause_not_heard(),
            root: MemberAnswer::of(incident.root())?,
            consequences_omitted: consequences.len() - shown,
            consequences: consequences.into_iter().take(shown).collect(),
            next_step: NextStepAnswer::of(next_step::next_step(incident, others), detail),
            evidence,
            evidence_omitted,
        })
    }

    /// The same with less around the root, for an answer that is full.
    pub fn shortened(mut self) -> Self {
        self.consequences_omitted += self.consequences.len();
        self.consequences.clear();
        self.evidence_omitted += self.evidence.len();
        self.evidence.clear();
        self.next_step.steps.clear();
        self
    }

    /// Numbers of the first occurrences of its faults.
    pub fn seqs(&self) -> impl Iterator<Item = u64> {
        std::iter::once(&self.root).chain(&self.consequences).map(|member| member.seq)
    }

    /// Some lines for a person.
    pub fn write(&self, text: &mut String) {
        let gpu = self.gpu.as_deref().unwrap_or("no address");
        let recovered = if self.recovered { ", recovered" } else { "" };
        let _ = write!(text, "\n{}{recovered}  {gpu}", self.severity.severity().name());
        let _ = write!(text, "\n  began   {}", self.root.line());
        if let Some(cause) = self.cause_not_heard {
            let _ = write!(
                text,
                "\n          the driver names Xid {cause} as its cause, of which there is no line"
            );
        }
        for consequence in &self.consequences {
            let why = consequence.why.map_or(String::new(), |why| format!(": {why}"));
            let _ = write!(text, "\n  then    {}{why}", consequence.line());
        }
        if self.consequences_omitted > 0 {
            let _ = write!(text, "\n  then    {} more", self.consequences_omitted);
        }
        self.next_step.write(text);
        for EvidenceAnswer { seq, raw } in self.evidence.iter().take(LINES) {
            let _ = write!(text, "\n  line    #{seq} {raw}");
        }
    }
}

/// What to do, in a sentence.
pub fn sentence(incident: &Incident, others: &[Incident]) -> String {
    sentence_of(next_step::next_step(incident, others).action.map(Into::into))
}

/// The first line of each fault, or every line that is kept, root first; and how many had no room.
fn evidence(incident: &Incident, detail: Detail) -> (Vec<EvidenceAnswer>, usize) {
    let (most, longest) = match detail {
        Detail::Summary => (LINES, LINE),
        Detail::Full => (usize::MAX, usize::MAX),
    };
    let line = |event: &std::sync::Arc<Event>| {
        Some(EvidenceAnswer { seq: event.seq, raw: render::bounded(&event::raw(event)?, longest) })
    };
    let mut lines: Vec<_> = match detail {
        Detail::Summary => {
            incident.members().filter_map(|m| m.events.iter().find_map(line)).collect()
        }
        Detail::Full => {
            let events = incident.consequences().iter().flat_map(|member| &member.events);
            let mut later: Vec<_> =
                incident.root().events.iter().skip(1).chain(events).filter_map(line).collect();
            later.sort_by_key(|line| line.seq);
            line(incident.root().first()).into_iter().chain(later).collect()
        }
    };
    let mut room = EVIDENCE_BYTES;
    let fit = lines
        .iter()
        .take(most)
        .take_while(|line| room.checked_sub(line.raw.len()).map(|left| room = left).is_some());
    let (fit, all) = (fit.count(), lines.len());
    lines.truncate(fit);
    (lines, all - fit)
}

impl MemberAnswer {
    fn of(member: &Member) -> Option<Self> {
        let first = member.first();
        let fault = first.fault()?;
        let xid = XidOfEvent::of(&fault);
        Some(Self {
            seq: first.seq,
            time: render::time(first.report.time),
            last_time: render::time(member.last().report.time),
            count: member.count,
            kind: KindArgument::of(fault.kind),
            code: fault.code,
            mnemonic: xid.as_ref().and_then(|xid| xid.mnemonic),
            meaning: xid.as_ref().and_then(|xid| xid.meaning).filter(|_| member.why.is_none()),
            severity: SeverityArgument::of(member.severity()),
            gpu: fault.pci.map(|pci| pci.to_string()),
            why: member.why,
        })
    }

    fn line(&self) -> String {
        let times = if self.count == 1 { String::new() } else { format!(" {} times", self.count) };
        let gpu = self.gpu.as_deref().unwrap_or("no address");
        format!("{}  {gpu}  {}{times}", self.time, self.name())
    }

    /// What it is, in a few words.
    fn name(&self) -> String {
        let kind = self.kind.kind().name();
        let Some(code) = self.code else { return kind.to_owned() };
        let label = if self.kind == KindArgument::Sxid { "SXid" } else { "Xid" };
        let words = self.meaning.or(self.mnemonic).filter(|_| self.why.is_none());
        words.map_or(format!("{label} {code}"), |words| format!("{label} {code} {words}"))
    }
}

impl NextStepAnswer {
    fn of(step: NextStep, detail: Detail) -> Self {
        let NextStep { action, basis, look_into, steps } = step;
        let wanted = |step: &(Step, Option<bool>)| detail == Detail::Full || step.1 != Some(false);
        let answer = |(step, holds): (Step, Option<bool>)| StepAnswer {
            when: step.when,
            holds,
            then: step.then,
            action: step.action.map(Action::name),
        };
        Self {
            action: action.map(Into::into),
            decided_by: match basis {
                Basis::Driver => "driver",
                Basis::Root => "root",
                Basis::NamedCause => "named_cause",
                Basis::Consequence => "consequence",
            },
            look_into: look_into.map(Into::into),
            steps: steps.into_iter().filter(wanted).map(answer).collect(),
        }
    }

    fn write(&self, text: &mut String) {
        let said = if self.decided_by == "driver" { " (the driver's own word)" } else { "" };
        let _ = write!(text, "\n  do      {}{said}", sentence_of(self.action));
        if let Some(ActionAnswer { name, plain }) = self.look_into {
            let _ = write!(text, "\n  after   {name}: {plain}");
        }
        for StepAnswer { when, holds, then, .. } in self.steps.iter().filter(|s| s.when != "always")
        {
            let mark = match holds {
                Some(true) => "so",
                None => "if",
                Some(false) => continue,
            };
            let _ = write!(text, "\n  {mark:<7} {when}: {then}");
        }
    }
}

fn sentence_of(action: Option<ActionAnswer>) -> String {
    match action {
        Some(ActionAnswer { name, plain }) => format!("{name}: {plain}"),
        None => "NVIDIA names no action for this; read the driver's words.".to_owned(),
    }
}
