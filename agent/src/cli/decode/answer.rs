//! An event of `agent decode -o json`: the manual of [`super`] says what the fields are.

use serde::Serialize;

use super::Line;
use crate::{
    mcp::details::Decoded,
    xid::{self, Action, Fault, Kind, Origin, Stamp, catalogue},
};

#[derive(Debug, Serialize)]
pub struct Event<'a> {
    line: u64,
    kind: &'static str,
    code: Option<u32>,
    pci: Option<String>,
    pid: Option<u32>,
    name: Option<String>,
    channel: Option<u32>,
    link: Option<u32>,
    details: Decoded<'a>,
    action: Option<&'static str>,
    raw: String,
    cut: bool,
    severity: &'static str,
    severity_rule: &'static str,
    investigatory_action: Option<&'static str>,
    mnemonic: Option<&'static str>,
    caused_by: Option<u32>,
    follows: bool,
    mig_gpu_instance: Option<u32>,
    mig_compute_instance: Option<u32>,
    message: String,
    origin: Option<&'static str>,
    since_boot_ns: Option<u64>,
    time: Option<String>,
}

impl<'a> Event<'a> {
    /// Of the fault that was read from `raw`, the input's line number `line`.
    pub fn of(line: u64, fault: &Fault<'a>, raw: Line<'_>) -> Self {
        let assessment = xid::assess(fault);
        let (since_boot_ns, time) = match fault.stamp {
            Some(Stamp::SinceBoot { ns }) => (Some(ns), None),
            Some(Stamp::Written(text)) => (None, Some(text.to_string())),
            None => (None, None),
        };
        Self {
            line,
            kind: fault.kind.name(),
            code: fault.code,
            pci: fault.pci.map(|pci| pci.to_string()),
            pid: fault.process.pid,
            name: fault.process.name.map(|name| name.to_string()),
            channel: fault.channel,
            link: fault.link,
            details: Decoded(fault.details),
            action: assessment.immediate.map(Action::name),
            raw: String::from_utf8_lossy(raw.bytes.strip_suffix(b"\r").unwrap_or(raw.bytes))
                .into_owned(),
            cut: raw.cut,
            severity: assessment.severity.name(),
            severity_rule: assessment.severity_rule.name(),
            investigatory_action: assessment.investigatory.map(Action::name),
            mnemonic: fault.code.and_then(|code| match fault.kind {
                Kind::Sxid => catalogue::lookup_sxid(code).map(|entry| entry.name),
                _ => catalogue::lookup(code).map(|entry| entry.mnemonic),
            }),
            caused_by: fault.caused_by,
            follows: fault.follows,
            mig_gpu_instance: fault.instance.gpu,
            mig_compute_instance: fault.instance.compute,
            message: fault.message.to_string(),
            origin: match fault.origin {
                Origin::Kernel => Some("kernel"),
                Origin::User => Some("user"),
                Origin::Unstated => None,
            },
            since_boot_ns,
            time,
        }
    }
}
