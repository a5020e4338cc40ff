//! The answer of `get_gpu_health`: its types, and what makes them of findings, figures and reported faults.

use std::fmt::Write as _;

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use super::figures::Figures;
use crate::{
    event::Group,
    gpu::{
        GpuError, GpuName,
        health::{Evidence, Finding, Verdict, Vitals, before::Before, rules},
    },
    mcp::{
        render,
        tool::Answer,
        tools::{
            event::{self, XidOfEvent},
            select::Detail,
        },
    },
    xid::Severity,
};

#[derive(Debug, Serialize, JsonSchema)]
pub struct Health {
    /// The GPUs are simulated and do not exist.
    pub simulated: bool,
    pub node: String,
    /// The worst verdict of the GPUs asked about.
    pub verdict: VerdictAnswer,
    pub gpus: Vec<GpuHealth>,
    /// Faults the driver reported about devices that NVML does not list: a GPU that fell off the bus, a switch, a port.
    pub other_devices: Vec<FindingAnswer>,
    /// A source of events is live, so that Xids are part of the verdict.
    pub xids_considered: bool,
    /// What limits this verdict; empty when nothing does.
    pub limits: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerdictAnswer {
    /// Nothing to act on.
    Healthy,
    /// Works; somebody should look at it.
    Attention,
    /// Works slower or less safely than it should.
    Degraded,
    /// Must not be given work until the action named is done.
    Failed,
    /// Does not answer.
    Unreachable,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct GpuHealth {
    pub index: u32,
    pub pci_address: Option<String>,
    pub uuid: Option<String>,
    pub verdict: VerdictAnswer,
    pub findings: Vec<FindingAnswer>,
    /// How old the reading is that counters are compared with: growth is judged from the second answer of a process on, and rates
    /// from a minute on. Null for the first.
    pub compared_with_seconds_ago: Option<u64>,
    /// The figures that were read, with `detail: full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct FindingAnswer {
    /// Stable name of the rule.
    pub id: String,
    /// The verdict that this finding alone leads to.
    pub severity: VerdictAnswer,
    pub summary: String,
    /// What it was judged by.
    pub evidence: Vec<EvidenceAnswer>,
    /// What to do; null in a summary where an earlier finding of this id in the answer has it.
    pub advice: Option<String>,
    /// The action of NVIDIA's Xid catalogue that this follows; null where it names none.
    pub nvidia_action: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct EvidenceAnswer {
    pub name: String,
    pub value: String,
}

/// What a reported fault makes of a GPU; `None` for one that changes nothing about it.
pub fn verdict_of(group: &Group) -> Option<Verdict> {
    if group.key.from_user {
        return None;
    }
    match group.first.severity {
        Severity::Info => None,
        // An application that crashed says little about the GPU; that it did is worth a look.
        Severity::Warning | Severity::Error => Some(Verdict::Attention),
        Severity::Critical | Severity::Fatal => Some(Verdict::Failed),
    }
}

pub fn of_group(group: &Group) -> Option<FindingAnswer> {
    let verdict = verdict_of(group)?;
    let fault = group.first.fault()?;
    let kind = fault.kind.name();
    let id = fault.code.map_or_else(|| kind.to_owned(), |code| format!("{kind}_{code}"));
    let xid = XidOfEvent::of(&fault);
    let name = xid.as_ref().and_then(|xid| xid.meaning.or(xid.mnemonic)).unwrap_or(kind);
    let what = fault.code.map_or_else(String::new, |code| format!(" {code}"));
    let action = xid.as_ref().and_then(|xid| xid.immediate_action);
    let times = if group.count == 1 { "once".to_owned() } else { format!("{} times", group.count) };
    let mut evidence = vec![
        EvidenceAnswer { name: "first".to_owned(), value: render::time(group.first.report.time) },
        EvidenceAnswer { name: "last".to_owned(), value: render::time(group.last.report.time) },
    ];
    let mut add = |name: &str, value: Option<String>| {
        evidence.extend(value.map(|value| EvidenceAnswer { name: name.to_owned(), value }));
    };
    add("raw", event::raw(&group.last));
    add("pci_address", group.key.pci.map(|pci| pci.to_string()));
    Some(FindingAnswer {
        id,
        severity: VerdictAnswer::of(verdict),
        summary: format!("The driver reported {kind}{what} {times}: {name}"),
        evidence,
        advice: Some(
            action
                .map_or(
                    "Read the driver's words in `raw`; analyze_xid_errors has the whole picture.",
                    |action| action.plain,
                )
                .to_owned(),
        ),
        nvidia_action: action.map(|action| action.name.to_owned()),
    })
}

impl GpuHealth {
    pub fn of(
        name: &GpuName,
        read: Result<(Vitals, Option<Before>), GpuError>,
        own: Vec<FindingAnswer>,
        detail: Detail,
    ) -> Self {
        let compared = read.as_ref().ok().and_then(|(_, before)| before.as_ref());
        let compared_with_seconds_ago = compared.map(|before| before.ago.as_secs());
        let (mut findings, figures) = match read {
            Ok((vitals, before)) => {
                let found = rules::findings(&vitals, before.as_ref());
                let findings: Vec<_> = found.into_iter().map(FindingAnswer::of).collect();
                (findings, (detail == Detail::Full).then(|| Figures::of(vitals)))
            }
            Err(error) => (vec![FindingAnswer::unanswered(&error)], None),
        };
        findings.extend(own);
        let worst = findings.iter().map(|finding| finding.severity).max();
        Self {
            index: name.index,
            pci_address: name.pci.map(|pci| pci.to_string()),
            uuid: name.uuid.clone(),
            verdict: worst.unwrap_or(VerdictAnswer::Healthy),
            findings,
            compared_with_seconds_ago,
            figures,
        }
    }
}

impl FindingAnswer {
    pub fn of(finding: Finding) -> Self {
        let Finding { id, verdict, summary, evidence, advice, nvidia_action } = finding;
        let evidence = evidence
            .into_iter()
            .map(|Evidence { name, value }| EvidenceAnswer { name: name.to_owned(), value });
        Self {
            id: id.to_owned(),
            severity: VerdictAnswer::of(verdict),
            summary,
            evidence: evidence.collect(),
            advice: Some(advice.to_owned()),
            nvidia_action: nvidia_action.map(ToOwned::to_owned),
        }
    }

    /// NVML did not answer for this GPU: itself the finding.
    fn unanswered(error: &GpuError) -> Self {
        let (id, severity) = match error {
            GpuError::Hung { .. } => ("nvml_hangs", VerdictAnswer::Unreachable),
            GpuError::Starting { .. } => ("nvml_starting", VerdictAnswer::Attention),
            _ => ("nvml_error", VerdictAnswer::Unreachable),
        };
        Self {
            id: id.to_owned(),
            severity,
            summary: "NVML does not answer for this GPU.".to_owned(),
            evidence: vec![EvidenceAnswer { name: "nvml".to_owned(), value: error.to_string() }],
            advice: Some(error.remedy()),
            nvidia_action: None,
        }
    }
}

impl VerdictAnswer {
    pub fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Healthy => Self::Healthy,
            Verdict::Attention => Self::Attention,
            Verdict::Degraded => Self::Degraded,
            Verdict::Failed => Self::Failed,
            Verdict::Unreachable => Self::Unreachable,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Healthy => Verdict::Healthy,
            Self::Attention => Verdict::Attention,
            Self::Degraded => Verdict::Degraded,
            Self::Failed => Verdict::Failed,
            Self::Unreachable => Verdict::Unreachable,
        }
        .name()
    }
}

impl Answer for Health {
    fn text(&self) -> String {
        let healthy = self.gpus.iter().filter(|gpu| gpu.verdict == VerdictAnswer::Healthy).count();
        let mut text =
            format!("{}: {healthy} of {} GPUs healthy", self.verdict.name(), self.gpus.len());
        let finding = |text: &mut String, finding: &FindingAnswer| {
            let action = finding
                .nvidia_action
                .as_ref()
                .map_or_else(String::new, |action| format!("  → {action}"));
            let evidence: Vec<_> =
                finding.evidence.iter().map(|e| format!("{} = {}", e.name, e.value)).collect();
            let _ = write!(text, "\n  {}: {}{action}", finding.id, finding.summary);
            if !evidence.is_empty() {
                let _ = write!(text, "\n    {}.", evidence.join(", "));
            }
            if let Some(advice) = &finding.advice {
                let _ = write!(text, "\n    {advice}");
            }
        };
        for gpu in self.gpus.iter().filter(|gpu| gpu.verdict != VerdictAnswer::Healthy) {
            let address = gpu.pci_address.as_deref().unwrap_or("address unknown");
            let _ = write!(text, "\nGPU {}  {address}  {}", gpu.index, gpu.verdict.name());
            gpu.findings.iter().for_each(|found| finding(&mut text, found));
        }
        if !self.other_devices.is_empty() {
            text.push_str("\nDevices that NVML does not list");
            self.other_devices.iter().for_each(|found| finding(&mut text, found));
        }
        for limit in &self.limits {
            let _ = write!(text, "\n{limit}");
        }
        text
    }
}
