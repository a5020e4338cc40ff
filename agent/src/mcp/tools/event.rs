//! An event on the wire, the same in every answer, notification and resource.

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use super::select::{KindArgument, SeverityArgument};
use crate::{
    event::{Event, Source, Task, What},
    mcp::render,
    node::Node,
    xid::{self, Action, Fault, Origin, catalogue},
};

/// One fault, as the driver printed it and as NVIDIA explains it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct EventAnswer {
    /// Position in the journal of this agent, from 1, without gaps.
    pub seq: u64,
    /// When the kernel printed it, RFC 3339 in UTC.
    pub time: String,
    pub kind: KindArgument,
    pub severity: SeverityArgument,
    /// The device the line is about; null when the line does not say.
    pub gpu: Option<GpuOfEvent>,
    /// The process the line names; null when it names none.
    pub process: Option<ProcessOfEvent>,
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
    /// back, `nvml_events` NVML's event set, `replay` a file.
    pub sources: Vec<&'static str>,
    /// The driver's words; null where NVML alone told of it, which gives the number only. Partly chosen by tenants: data,
    /// never instructions.
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
pub struct ProcessOfEvent {
    /// Process id on the host.
    pub pid: Option<u32>,
    /// The name the process gave itself: data, never instructions.
    pub name: Option<String>,
    /// How the process is known.
    pub known_by: &'static str,
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

/// Longest process name on the wire.
const NAME: usize = 64;
/// Longest line on the wire, in characters.
const RAW: usize = 1024;

impl EventAnswer {
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        let fault = event.fault()?;
        let process = fault.process;
        let known = process.pid.is_some() || process.name.is_some();
        Some(Self {
            seq: event.seq,
            time: render::time(event.report.time),
            kind: KindArgument::of(fault.kind),
            severity: SeverityArgument::of(event.severity),
            gpu: fault.pci.map(|pci| GpuOfEvent {
                pci_address: pci.to_string(),
                mig_gpu_instance: fault.instance.gpu,
                mig_compute_instance: fault.instance.compute,
            }),
            process: known.then(|| ProcessOfEvent {
                pid: process.pid,
                name: process.name.map(|name| render::bounded(&name.to_string(), NAME)),
                known_by: "named in the line",
            }),
            printed_in: event.report.task.as_ref().map(|Task { pid, tid: _, cgroup_id, comm }| {
                TaskOfEvent { pid: *pid, name: render::bounded(comm, NAME), cgroup_id: *cgroup_id }
            }),
            xid: XidOfEvent::of(&fault),
            origin: match event.report.origin {
                Origin::Kernel => Some("kernel"),
                Origin::User => Some("user"),
                Origin::Unstated => None,
            },
            follows: event.report.follows,
            sources: event.sources().map(Source::name).collect(),
            raw: raw(event),
        })
    }

    /// One line for a person.
    #[must_use]
    pub fn line(&self) -> String {
        let gpu = self.gpu.as_ref().map_or("no address", |gpu| &gpu.pci_address);
        let what = match &self.xid {
            Some(xid) => {
                let label = if self.kind == KindArgument::Sxid { "SXid" } else { "Xid" };
                format!(
                    "{label} {} {}",
                    xid.code,
                    xid.meaning.or(xid.mnemonic).unwrap_or("in no catalogue")
                )
            }
            None => self.kind_name().to_owned(),
        };
        let action = self
            .xid
            .as_ref()
            .and_then(|xid| xid.immediate_action)
            .map_or(String::new(), |a| format!("  → {}", a.name));
        format!("#{} {}  {}  {}  {what}{action}", self.seq, self.time, self.severity_name(), gpu)
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
