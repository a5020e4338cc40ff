//! What one fault amounts to, by itself.

use super::catalogue::{self, SxidClass};
use super::nvlink5::{self, Layout, Rule, RuleClass};
use super::{Action, AerSeverity, Details, Fault, Kind, Severity, SeverityRule, SxidSeverity};

/// How bad a fault is and what to do.
///
/// It is made of this one line. What hangs on other lines is left to whoever has them, and said by
/// a workflow as the action, whose conditions ([`super::workflow::steps`]) then can be checked: an
/// Xid 48 with a 63 beside it, the third Xid 13 on the same TPC, a 45 that follows something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// How bad.
    pub severity: Severity,
    /// Where that comes from.
    pub severity_rule: SeverityRule,
    /// What to do at once.
    pub immediate: Option<Action>,
    /// What to look into then.
    pub investigatory: Option<Action>,
    /// NVIDIA's rule for an NVLink5 error, and the layout that it was found in.
    pub nvlink5: Option<(&'static Rule, Layout)>,
}

impl Assessment {
    /// Severity as the immediate action has it.
    fn by_action(
        immediate: Action,
        investigatory: Option<Action>,
        severity_rule: SeverityRule,
    ) -> Self {
        Self {
            severity: immediate.severity(),
            severity_rule,
            immediate: Some(immediate),
            investigatory,
            nvlink5: None,
        }
    }

    fn without_action(severity: Severity, severity_rule: SeverityRule) -> Self {
        Self { severity, severity_rule, immediate: None, investigatory: None, nvlink5: None }
    }

    /// As the catalogue has an Xid; a number that it does not have is worth a look.
    fn of_xid(code: u32) -> Self {
        catalogue::lookup(code).map_or(
            Self::without_action(Severity::Warning, SeverityRule::Ours),
            |entry| Self {
                severity: entry.severity,
                severity_rule: entry.severity_rule,
                immediate: entry.immediate,
                investigatory: entry.investigatory,
                nvlink5: None,
            },
        )
    }
}

/// Assesses a fault.
///
/// | fault | rule |
/// | --- | --- |
/// | Xid 45 with its cause in the line | nothing to do: follow the cause |
/// | Xid 94, 95 | the line's `D-RST`, then `RST`, then the catalogue |
/// | Xid 144–150 | NVIDIA's rule by registers; else the line's `Fatal` or `Nonfatal` |
/// | Xid 154 | the number of the new action |
/// | any other Xid | the catalogue |
/// | SXid | NVIDIA's class if always fatal, else the line's own severity, else the class |
/// | bus loss | as Xid 79 |
/// | init failure | as Xid 143 |
/// | reset required, GSP rate limit | the line asks for a reset |
/// | lost heartbeat, halted PMU | as Xid 120, as Xid 62 |
/// | AER | PCIe's own severity |
#[must_use]
pub fn assess(fault: &Fault<'_>) -> Assessment {
    match fault.kind {
        Kind::Xid => xid(fault),
        Kind::Sxid => sxid(fault),
        Kind::BusLoss => Assessment::of_xid(79),
        Kind::InitFailure => Assessment::of_xid(143),
        Kind::ResetRequired => Assessment::by_action(Action::ResetGpu, None, SeverityRule::Line),
        Kind::Gsp => match fault.details {
            Details::Gsp(super::GspNotice::PmuHalted { .. }) => Assessment::of_xid(62),
            Details::Gsp(super::GspNotice::HeartbeatLost { .. }) => Assessment::of_xid(120),
            _ => Assessment::by_action(
                Action::ResetGpu,
                Some(Action::InvestigateSw),
                SeverityRule::Line,
            ),
        },
        Kind::Aer => aer(fault),
    }
}

fn xid(fault: &Fault<'_>) -> Assessment {
    let code = fault.code.unwrap_or(0);
    let catalogued = Assessment::of_xid(code);
    match fault.details {
        Details::None if code == 45 && fault.caused_by.is_some() => {
            Assessment::by_action(Action::Ignore, None, SeverityRule::Line)
        }
        Details::Containment(error) if error.drain_reset == Some(true) => Assessment::by_action(
            Action::DrainAndReset,
            catalogued.investigatory,
            SeverityRule::Line,
        ),
        Details::Containment(error) if error.reset == Some(true) => {
            Assessment::by_action(Action::ResetGpu, catalogued.investigatory, SeverityRule::Line)
        }
        Details::NvLink5(line) => match nvlink5::decode(code, &line) {
            Some((rule, layout)) => by_rule(rule, layout),
            None if line.fatal => Assessment { severity_rule: SeverityRule::Line, ..catalogued },
            None => Assessment {
                severity: Severity::Warning,
                severity_rule: SeverityRule::Line,
                ..catalogued
            },
        },
        Details::Recovery(change) => {
            Assessment::by_action(change.to.action(), None, SeverityRule::Line)
        }
        _ => catalogued,
    }
}

fn by_rule(rule: &'static Rule, layout: Layout) -> Assessment {
    let immediate = rule.immediate.unwrap_or(Action::WorkflowNvlink5Err);
    let mut assessment =
        Assessment::by_action(immediate, rule.investigatory, SeverityRule::NvidiaAction);
    // A link that is down with nothing to be done at once is still a link that is down.
    if immediate == Action::Ignore && rule.class != RuleClass::NonFatal {
        assessment.severity = Severity::Error;
        assessment.severity_rule = SeverityRule::NvidiaClass;
    }
    assessment.nvlink5 = Some((rule, layout));
    assessment
}

fn sxid(fault: &Fault<'_>) -> Assessment {
    let class = fault.code.and_then(catalogue::lookup_sxid).map(|entry| entry.class);
    let said = match fault.details {
        Details::Sxid(sxid) => sxid.severity,
        _ => None,
    };
    match (class, said) {
        (Some(SxidClass::AlwaysFatal), _) => {
            Assessment::by_action(Action::ResetFabric, None, SeverityRule::NvidiaClass)
        }
        (_, Some(SxidSeverity::Fatal)) => {
            Assessment::by_action(Action::ResetGpu, None, SeverityRule::Line)
        }
        (_, Some(SxidSeverity::Correctable)) => {
            Assessment::without_action(Severity::Info, SeverityRule::Line)
        }
        (_, Some(SxidSeverity::NonFatal)) => {
            Assessment::without_action(Severity::Warning, SeverityRule::Line)
        }
        (Some(_), None) => Assessment::without_action(Severity::Warning, SeverityRule::NvidiaClass),
        (None, None) => Assessment::without_action(Severity::Warning, SeverityRule::Ours),
    }
}

fn aer(fault: &Fault<'_>) -> Assessment {
    let Details::Aer(aer) = fault.details else {
        return Assessment::without_action(Severity::Warning, SeverityRule::Ours);
    };
    match aer.severity {
        Some(AerSeverity::Fatal) => {
            Assessment::without_action(Severity::Critical, SeverityRule::Line)
        }
        Some(AerSeverity::NonFatal) => {
            Assessment::without_action(Severity::Error, SeverityRule::Line)
        }
        Some(AerSeverity::Correctable) => {
            Assessment::without_action(Severity::Info, SeverityRule::Line)
        }
        None if aer.recovery_failed => {
            Assessment::without_action(Severity::Critical, SeverityRule::Line)
        }
        None => Assessment::without_action(Severity::Info, SeverityRule::Ours),
    }
}
