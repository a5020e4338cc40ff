//! `analyze_xid_errors`: what the driver reported since the agent listens, folded and explained.
//!
//! Arguments: `gpu`, `min_severity`, `codes`, `limit` (20, at most 100). Identical faults fold into a group with its count,
//! first and last line; the group that began first stands first. Meaning and actions are those of NVIDIA's Xid catalogue.
//!
//! ```text
//! 9 faults, 2 distinct, since 2026-11-21T20:40:00.000000Z. Worst: fatal → RESTART_BM: Drain the node and reboot it; …
//! 1x #1 2026-11-21T21:50:07.426868Z  fatal  0000:df:00.0  Xid 79 The GPU does not answer on PCIe any more.  → RESTART_BM
//! ```

use std::fmt::Write as _;

use rmcp::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};

use super::{
    event::EventAnswer,
    select::{self, GpuArgument, SeverityArgument},
};
use crate::{
    event::{Filter, Group},
    mcp::{
        render,
        tool::{Answer, Call, Refusal, Tool},
    },
    node::Node,
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
    /// Most groups in the answer; the worst are kept.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 100))]
    limit: usize,
}

fn default_limit() -> usize {
    20
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Analysis {
    /// The GPUs are simulated and do not exist. The kernel's lines are the machine's own all the same.
    simulated: bool,
    /// A source of events is live. False: no fault found means nothing; see get_agent_status.
    listening: bool,
    /// The agent has listened since, RFC 3339 in UTC. What happened before is not known to it.
    listening_since: String,
    /// Events that match, over all groups.
    event_count: u64,
    /// Identical faults folded; what began first stands first.
    groups: Vec<GroupAnswer>,
    /// Groups that match and are not shown because of `limit` or the size of the answer.
    groups_omitted: usize,
    /// Driver lines lost between the kernel and the journal, and faults that were counted in no group.
    lost: u64,
    /// The worst of the groups; null when there is none.
    worst: Option<SeverityArgument>,
    /// What to do, by NVIDIA's action for the worst fault.
    recommendation: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct GroupAnswer {
    count: u64,
    /// The first occurrence, whole.
    first: EventAnswer,
    /// Time of the last occurrence.
    last_time: String,
    /// The driver's words at the last occurrence; null when there was one only.
    last_raw: Option<String>,
}

/// An answer is at most 32 KiB; the rest of it takes less than this.
const GROUPS_BYTES: usize = 28 << 10;

impl Tool for AnalyzeXidErrors {
    const NAME: &'static str = "analyze_xid_errors";
    const TITLE: &'static str = "Analyze Xid errors";
    const DESCRIPTION: &'static str = "What NVIDIA's driver reported about this node's GPUs since the agent listens: Xid, SXid, GPUs fallen off the bus, \
        failed initialisation, PCIe errors. Identical faults are folded with their count; each has NVIDIA's meaning and actions. `listening: false` \
        means that nothing is heard, so an empty answer proves nothing.";
    type Input = Input;
    type Answer = Analysis;

    async fn call(node: &Node, input: Input, _: &Call) -> Result<Analysis, Refusal> {
        let Input { gpu, min_severity, codes, limit } = input;
        if !(1..=100).contains(&limit) {
            return Err(Refusal {
                what: format!("limit is {limit}"),
                next: "Pass limit from 1 to 100.".to_owned(),
            });
        }
        let filter = Filter {
            kinds: None,
            codes,
            pci: select::pci(node, gpu.as_ref()).await?,
            min_severity: min_severity.map(SeverityArgument::severity),
        };
        node.sources.settled().await;
        let groups: Vec<Group> =
            node.journal.groups().into_iter().filter(|group| filter.admits(&group.first)).collect();
        let event_count = groups.iter().map(|group| group.count).sum();
        let worst = groups
            .iter()
            .filter(|group| !group.key.from_user)
            .max_by_key(|group| (group.first.severity, std::cmp::Reverse(group.first.seq)));
        let recommendation = recommendation(node, worst);
        let worst = worst.map(|group| SeverityArgument::of(group.first.severity));
        let found = groups.len();
        let groups = shown(groups, limit);
        Ok(Analysis {
            simulated: node.gpu.simulated(),
            listening: node.sources.any_live(),
            listening_since: render::time(node.started),
            event_count,
            groups_omitted: found - groups.len(),
            groups,
            lost: node.sources.dropped() + node.journal.overflow().1,
            worst,
            recommendation,
        })
    }
}

/// The worst `limit` groups that fit, in the order they began.
fn shown(mut groups: Vec<Group>, limit: usize) -> Vec<GroupAnswer> {
    groups.sort_by_key(|group| (std::cmp::Reverse(group.first.severity), group.first.seq));
    let mut room = GROUPS_BYTES;
    let mut answers: Vec<GroupAnswer> = groups
        .iter()
        .take(limit)
        .filter_map(GroupAnswer::of)
        .take_while(|answer| {
            let size = serde_json::to_vec(answer).map_or(0, |json| json.len());
            room.checked_sub(size).map(|left| room = left).is_some()
        })
        .collect();
    answers.sort_by_key(|answer| answer.first.seq);
    answers
}

fn recommendation(node: &Node, worst: Option<&Group>) -> String {
    let action = worst
        .and_then(|group| EventAnswer::of(&group.first))
        .and_then(|event| event.xid?.immediate_action);
    match (worst, action) {
        (None, _) if node.sources.any_live() => {
            "The driver has reported no fault since the agent listens.".to_owned()
        }
        (None, _) => {
            "Nothing is heard on this node; get_agent_status says why and what turns it on."
                .to_owned()
        }
        (Some(_), Some(action)) => format!("{}: {}", action.name, action.plain),
        (Some(_), None) => {
            "NVIDIA names no action for this; read the driver's words in `raw`.".to_owned()
        }
    }
}

impl GroupAnswer {
    fn of(group: &Group) -> Option<Self> {
        Some(Self {
            count: group.count,
            first: EventAnswer::of(&group.first)?,
            last_time: render::time(group.last.report.time),
            last_raw: if group.count > 1 { super::event::raw(&group.last) } else { None },
        })
    }
}

impl Answer for Analysis {
    fn text(&self) -> String {
        let mut text = match self.worst {
            Some(worst) => format!(
                "{}, {} distinct, since {}. Worst: {} → {}",
                render::count(self.event_count, "fault"),
                self.groups.len() + self.groups_omitted,
                self.listening_since,
                worst.severity().name(),
                self.recommendation
            ),
            None => format!("Since {}: {}", self.listening_since, self.recommendation),
        };
        for group in &self.groups {
            let _ = write!(text, "\n{}x {}", group.count, group.first.line());
        }
        if self.groups_omitted > 0 {
            let _ = write!(
                text,
                "\n{} more distinct faults; narrow with gpu, codes or min_severity.",
                self.groups_omitted
            );
        }
        if self.lost > 0 {
            let _ =
                write!(text, "\n{} driver lines were lost and are not in this answer.", self.lost);
        }
        text
    }
}
