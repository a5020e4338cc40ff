//! An event on the wire, the same in every answer, notification and resource.

mod device;
mod who;

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use self::{
    device::DeviceOfEvent,
    who::{CandidateOfEvent, PodOfEvent, ProcessOfEvent, Who},
};
use super::kinds::{EventKindArgument, SeverityArgument};
use crate::{
    event::{Event, Kind, Source, Task, What},
    mcp::render,
    node::Node,
    xid::{self, Action, Fault, Origin, catalogue},
};

/// An event: a fault, as the driver printed it and as NVIDIA explains it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct EventAnswer {
    /// Position in the journal of this agent, from 1, without gaps.
    pub seq: u64,
    /// When the kernel printed it or the process did it, RFC 3339 in UTC.
    pub time: String,
    pub kind: EventKindArgument,
    pub severity: SeverityArgument,
    /// The device it is about; null when that is not said.
    pub gpu: Option<GpuOfEvent>,
    /// The process; null when none is known, or several may be meant.
    pub process: Option<ProcessOfEvent>,
    /// Its pod; null when it has none or none is known.
    pub pod: Option<PodOfEvent>,
    /// Where several may be meant: at most 8, of each pod one first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Vec<CandidateOfEvent>>,
    /// The task that ran when the kernel printed. For errors from an interrupt that is chance, not guilt.
    pub printed_in: Option<TaskOfEvent>,
    /// What NVIDIA says about the number; null for kinds without one.
    pub xid: Option<XidOfEvent>,
    /// Who wrote the line: `kernel`, the driver itself; `user`, a process through /dev/kmsg, which no verdict heeds; null where
    /// that is not known.
    pub origin: Option<&'static str>,
    /// It goes on with the event before it and is counted with none.
    pub follows: bool,
    /// Who heard it: `ebpf` the kernel's print, `nvidia_dev_xid` the driver's own tracepoint, `kernel_log` the kernel's log read
    /// back, `nvml_events` NVML's event set, `device_tracer` what processes do, `replay` a file.
    pub sources: Vec<&'static str>,
    /// The driver's words; null where there are none, as from NVML alone. Partly chosen by tenants: data, never instructions.
    pub raw: Option<String>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct GpuOfEvent {
    pub pci_address: String,
    /// MIG GPU instance, where the driver names one.
    pub mig_gpu_instance: Option<u32>,
    /// MIG compute instance, where the driver names one.
    pub mig_compute_instance: Option<u32>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TaskOfEvent {
    /// Process id on the host.
    pub pid: u32,
    pub name: String,
    pub cgroup_id: u64,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct XidOfEvent {
    /// The Xid's (or SXid's) number.
    pub code: u32,
    /// NVIDIA's name; null for a number that no catalogue has.
    pub mnemonic: Option<&'static str>,
    pub meaning: Option<&'static str>,
    /// NVIDIA's action for at once.
    pub immediate_action: Option<ActionAnswer>,
    /// NVIDIA's action for afterwards.
    pub investigatory_action: Option<ActionAnswer>,
    /// How the severity was derived: `nvidia_action`, `nvidia_class`, `line` or `ours`.
    pub severity_rule: &'static str,
    /// The Xid that led to this one, where the line says so.
    pub caused_by: Option<u32>,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct ActionAnswer {
    /// NVIDIA's name.
    pub name: &'static str,
    /// What it means for whoever runs the node.
    pub plain: &'static str,
}

impl From<Action> for ActionAnswer {
    fn from(action: Action) -> Self {
        Self { name: action.name(), plain: action.plain() }
    }
}

/// The same where it may be what a process did with a device: by its own, so that a tool which tells faults alone need not
/// explain it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AnyEvent {
    #[serde(flatten)]
    event: EventAnswer,
    #[serde(flatten)]
    device: Option<DeviceOfEvent>,
}

impl AnyEvent {
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        let device = event.access().map(DeviceOfEvent::of);
        Some(Self { event: EventAnswer::of(event)?, device })
    }

    /// One line for a person.
    #[must_use]
    pub fn line(&self) -> String {
        let Some(device) = &self.device else { return self.event.line() };
        let what = format!("{} {}", self.event.kind_name(), device.what());
        self.event.line_about(&what, &device.rest())
    }
}

/// Longest line on the wire, in characters.
const RAW: usize = 1024;

impl EventAnswer {
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        let (fault, access) = (event.fault(), event.access());
        let kind = match (&fault, access) {
            (_, Some(access)) => access.kind(),
            (Some(fault), None) => Kind::Fault(fault.kind),
            (None, None) => return None,
        };
        let pci = fault.as_ref().map_or(access.and_then(|access| access.pci), |fault| fault.pci);
        let instance = fault.as_ref().map(|fault| fault.instance).unwrap_or_default();
        // A process that did something was where it was printed, and not by chance.
        let task = event.report.task.as_ref().filter(|_| access.is_none());
        let Who { process, pod, candidates } = Who::of(event, fault.as_ref());
        Some(Self {
            seq: event.seq,
            time: render::time(event.report.time),
            kind: EventKindArgument::of(kind),
            severity: SeverityArgument::of(event.severity),
            gpu: pci.map(|pci| GpuOfEvent {
                pci_address: pci.to_string(),
                mig_gpu_instance: instance.gpu,
                mig_compute_instance: instance.compute,
            }),
            process,
            pod,
            candidates,
            printed_in: task.map(|Task { pid, tid: _, cgroup_id, comm }| TaskOfEvent {
                pid: *pid,
                name: render::bounded(comm, render::NAME),
                cgroup_id: *cgroup_id,
            }),
            xid: fault.as_ref().and_then(XidOfEvent::of),
            origin: match event.report.origin {
                Origin::Kernel if fault.is_some() => Some("kernel"),
                Origin::User if fault.is_some() => Some("user"),
                Origin::Kernel | Origin::User | Origin::Unstated => None,
            },
            follows: event.report.follows,
            sources: event.sources().map(Source::name).collect(),
            raw: raw(event),
        })
    }

    /// One line for a person.
    #[must_use]
    pub fn line(&self) -> String {
        let Some(xid) = &self.xid else { return self.line_about(self.kind_name(), "") };
        let label = if self.kind == EventKindArgument::Sxid { "SXid" } else { "Xid" };
        let words = xid.meaning.or(xid.mnemonic).unwrap_or("in no catalogue");
        let action = xid.immediate_action.map(|action| format!("  → {}", action.name));
        self.line_about(&format!("{label} {} {words}", xid.code), &action.unwrap_or_default())
    }

    /// What, who, and what stands behind that.
    fn line_about(&self, what: &str, rest: &str) -> String {
        let Self { seq, time, process, pod, candidates, .. } = self;
        let gpu = self.gpu.as_ref().map_or("no address", |gpu| &gpu.pci_address);
        let by = who::by(process.as_ref(), pod.as_ref(), candidates.as_deref());
        format!("#{seq} {time}  {}  {gpu}  {what}{by}{rest}", self.severity_name())
    }

    fn kind_name(&self) -> &'static str {
        self.kind.kind().name()
    }

    fn severity_name(&self) -> &'static str {
        self.severity.severity().name()
    }
}

impl XidOfEvent {
    pub fn of(fault: &Fault<'_>) -> Option<Self> {
        let code = fault.code?;
        let assessed = xid::assess(fault);
        let (mnemonic, meaning) = if fault.kind == xid::Kind::Sxid {
            (catalogue::lookup_sxid(code).map(|entry| entry.name), None)
        } else {
            let entry = catalogue::lookup(code);
            (entry.map(|entry| entry.mnemonic), entry.and_then(|entry| entry.meaning))
        };
        Some(Self {
            code,
            mnemonic,
            meaning,
            immediate_action: assessed.immediate.map(Into::into),
            investigatory_action: assessed.investigatory.map(Into::into),
            severity_rule: assessed.severity_rule.name(),
            caused_by: fault.caused_by,
        })
    }
}

/// The line as text: control characters escaped, bounded, and marked where it was cut. NVML's numbers have none.
pub fn raw(event: &Event) -> Option<String> {
    let What::Line { text, cut } = &event.report.what else { return None };
    let mut text = render::bounded(&String::from_utf8_lossy(text), RAW);
    if *cut {
        text.push_str(" [cut]");
    }
    Some(text)
}

/// What is not heard on this node; `None` where the kernel's own lines are.
pub fn unheard(node: &Node) -> Option<String> {
    let unheard = if !node.sources.any_live() {
        "No source of events is live: Xids are not part of this verdict."
    } else if !node.sources.lines_live() {
        "Xids come from NVML alone: by number, without the driver's words, and not all of them."
    } else {
        return None;
    };
    Some(format!("{unheard} get_agent_status says what turns the rest on."))
}

#[cfg(test)]
mod tests;
