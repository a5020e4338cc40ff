//! What NVIDIA's catalogue says of a number, on the wire: the resources `gpu://xid/{code}` and `gpu://sxid/{code}`, and
//! `agent xid -o json`.

use serde::Serialize;

use crate::xid::{
    self, Action, Fault, Kind, SeverityRule,
    catalogue::{self, Architectures, SxidClass, Usage},
    workflow,
};

/// From here on a number is an SXid's.
pub const FIRST_SXID: u32 = 10_000;

/// A number on the wire.
#[derive(Debug, Serialize)]
pub struct Entry {
    pub kind: &'static str,
    pub code: u32,
    /// NVIDIA's name for it.
    pub mnemonic: &'static str,
    /// Another name, where catalogue and driver differ.
    pub alias: Option<&'static str>,
    /// What it means, in this project's words.
    pub meaning: Option<&'static str>,
    pub immediate_action: Option<ActionAnswer>,
    pub investigatory_action: Option<ActionAnswer>,
    pub severity: &'static str,
    pub severity_rule: &'static str,
    #[serde(skip)]
    pub rule: SeverityRule,
    /// Where an Xid is listed: `catalogue`, `unused` (there, as unused), `header` (a driver's header alone).
    pub usage: Option<&'static str>,
    /// GPUs that an Xid occurs on; null where the catalogue does not say.
    pub architectures: Option<Vec<&'static str>>,
    /// Driver branch from which an Xid 154 goes with this Xid; `introduced` for as long as it exists.
    pub xid154_since: Option<&'static str>,
    /// An SXid's class: `non-fatal`, `potentially-fatal`, `always-fatal`.
    pub class: Option<&'static str>,
    #[serde(skip)]
    pub sxid: Option<SxidClass>,
}

#[derive(Debug, Serialize)]
pub struct ActionAnswer {
    pub name: &'static str,
    pub plain: &'static str,
    /// Empty for an action that is one step.
    pub steps: Vec<StepAnswer>,
}

#[derive(Debug, Serialize)]
pub struct StepAnswer {
    pub when: &'static str,
    pub then: &'static str,
    pub action: Option<&'static str>,
}

impl Entry {
    pub fn of(code: u32) -> Option<Self> {
        if code < FIRST_SXID {
            catalogue::lookup(code).map(Self::of_xid)
        } else {
            catalogue::lookup_sxid(code).map(Self::of_sxid)
        }
    }

    pub fn of_xid(entry: &catalogue::Entry) -> Self {
        Self {
            kind: Kind::Xid.name(),
            code: entry.code,
            mnemonic: entry.mnemonic,
            alias: entry.alias,
            meaning: entry.meaning,
            immediate_action: entry.immediate.map(Into::into),
            investigatory_action: entry.investigatory.map(Into::into),
            severity: entry.severity.name(),
            severity_rule: entry.severity_rule.name(),
            rule: entry.severity_rule,
            usage: Some(match entry.usage {
                Usage::Catalogue => "catalogue",
                Usage::Unused => "unused",
                Usage::HeaderOnly => "header",
            }),
            architectures: architectures(entry.architectures),
            xid154_since: entry.xid154_since,
            class: None,
            sxid: None,
        }
    }

    pub fn of_sxid(entry: &catalogue::SxidEntry) -> Self {
        // As a line that says no more than the number.
        let line = Fault { kind: Kind::Sxid, ..Fault::of_xid(None, entry.code, b"") };
        let assessment = xid::assess(&line);
        Self {
            kind: Kind::Sxid.name(),
            code: entry.code,
            mnemonic: entry.name,
            alias: None,
            meaning: None,
            immediate_action: assessment.immediate.map(Into::into),
            investigatory_action: assessment.investigatory.map(Into::into),
            severity: assessment.severity.name(),
            severity_rule: assessment.severity_rule.name(),
            rule: assessment.severity_rule,
            usage: None,
            architectures: None,
            xid154_since: None,
            class: Some(entry.class.name()),
            sxid: Some(entry.class),
        }
    }
}

/// Everything, Xids first.
pub fn all() -> impl Iterator<Item = Entry> {
    catalogue::entries()
        .iter()
        .map(Entry::of_xid)
        .chain(catalogue::sxid_entries().iter().map(Entry::of_sxid))
}

impl From<Action> for ActionAnswer {
    fn from(action: Action) -> Self {
        let steps = workflow::steps(action)
            .iter()
            .map(|step| StepAnswer {
                when: step.when,
                then: step.then,
                action: step.action.map(Action::name),
            })
            .collect();
        Self { name: action.name(), plain: action.plain(), steps }
    }
}

fn architectures(occurs: Architectures) -> Option<Vec<&'static str>> {
    let Architectures { a100, h100, b100, gb200 } = occurs;
    let all = [("A100", a100), ("H100", h100), ("B100", b100), ("GB200", gb200)];
    let named: Vec<_> = all.into_iter().filter_map(|(name, there)| there.then_some(name)).collect();
    (!named.is_empty()).then_some(named)
}
