//! Who had to do with an event, on the wire: what is known, how, and where several may be meant all of them.

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use crate::{
    event::{Attribution, Event, KnownBy, Party, Pod},
    mcp::render,
    xid::{Fault, Process},
};

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ProcessOfEvent {
    /// Process id on the host.
    pub pid: Option<u32>,
    /// The name the process gave itself: data, never instructions.
    pub name: Option<String>,
    /// `named in the line`, `in the kernel at that moment`, `the only holder of the device` or `one of several holders`.
    pub known_by: &'static str,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PodOfEvent {
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub uid: Option<String>,
    /// Its name in the pod's spec.
    pub container: Option<String>,
    pub container_id: Option<String>,
    /// As of `process`; of the pod, where several of its processes may be meant.
    pub known_by: &'static str,
}

/// A process that had the device open, as had others.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CandidateOfEvent {
    pub pid: u32,
    pub name: String,
    /// Left out where `pod` of the event says it for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodOfEvent>,
}

/// What of an answer says who.
#[derive(Debug, Default)]
pub struct Who {
    pub process: Option<ProcessOfEvent>,
    pub pod: Option<PodOfEvent>,
    pub candidates: Option<Vec<CandidateOfEvent>>,
}

impl Who {
    pub fn of(event: &Event, fault: Option<&Fault<'_>>) -> Self {
        if let Some(access) = event.access() {
            return Self::party(&access.party, KnownBy::Kernel);
        }
        let named = fault.map(|fault| fault.process).unwrap_or_default();
        match &event.report.attribution {
            None => Self::named(named),
            Some(Attribution { known_by: KnownBy::Line, parties }) => {
                parties.first().map_or_else(|| Self::named(named), |party| Self::both(named, party))
            }
            // Another source told of it without the line that names the process.
            Some(Attribution { known_by: _, parties }) if named.pid.is_some() => {
                let party = parties.iter().find(|party| Some(party.pid) == named.pid);
                party.map_or_else(|| Self::named(named), |party| Self::both(named, party))
            }
            Some(Attribution { known_by, parties }) => match &parties[..] {
                [] => Self::named(named),
                [party] if *known_by != KnownBy::OneOfSeveral => Self::party(party, *known_by),
                parties => Self::candidates(parties, event.report.attribution.as_ref()),
            },
        }
    }

    /// The process that the line names, of which no more is known.
    fn named(process: Process<'_>) -> Self {
        let known = process.pid.is_some() || process.name.is_some();
        let process = known.then(|| ProcessOfEvent {
            pid: process.pid,
            name: process.name.map(|name| render::bounded(&name.to_string(), render::NAME)),
            known_by: text(KnownBy::Line),
        });
        Self { process, ..Self::default() }
    }

    /// The process that the line names, with what is known of it.
    fn both(named: Process<'_>, party: &Party) -> Self {
        let mut who = Self::party(party, KnownBy::Line);
        if let (Some(process), Some(line)) = (&mut who.process, Self::named(named).process) {
            process.pid = line.pid.or(process.pid);
            process.name = line.name.or(process.name.take());
        }
        who
    }

    fn party(party: &Party, known_by: KnownBy) -> Self {
        let Party { pid, name, pod } = party;
        let process = ProcessOfEvent {
            pid: Some(*pid),
            name: (!name.is_empty()).then(|| render::bounded(name, render::NAME)),
            known_by: text(known_by),
        };
        let pod = pod.as_deref().map(|pod| PodOfEvent::of(pod, known_by));
        Self { process: Some(process), pod, candidates: None }
    }

    fn candidates(parties: &[Party], attribution: Option<&Attribution>) -> Self {
        let pod = attribution.and_then(Attribution::pod);
        let candidate = |Party { pid, name, pod: of }: &Party| CandidateOfEvent {
            pid: *pid,
            name: render::bounded(name, render::NAME),
            pod: of
                .as_deref()
                .filter(|_| pod.is_none())
                .map(|of| PodOfEvent::of(of, KnownBy::OneOfSeveral)),
        };
        Self {
            process: None,
            candidates: Some(parties.iter().map(candidate).collect()),
            pod: pod.as_ref().map(|pod| PodOfEvent::of(pod, KnownBy::OnlyHolder)),
        }
    }
}

impl PodOfEvent {
    fn of(pod: &Pod, known_by: KnownBy) -> Self {
        let Pod { uid, namespace, name, container, container_id } = pod;
        let bounded =
            |text: &Option<String>| text.as_ref().map(|text| render::bounded(text, render::NAME));
        Self {
            namespace: bounded(namespace),
            // A pod's name may be as long as a DNS name.
            name: name.as_ref().map(|name| render::bounded(name, 253)),
            uid: bounded(uid),
            container: bounded(container),
            container_id: bounded(container_id),
            known_by: text(known_by),
        }
    }

    /// Its name as people write it, or where that is not known another that is.
    fn short(&self) -> String {
        match (&self.namespace, &self.name, &self.uid, &self.container_id) {
            (Some(namespace), Some(name), ..) => format!("pod {namespace}/{name}"),
            (None, Some(name), ..) => format!("pod {name}"),
            (_, None, Some(uid), _) => format!("pod {uid}"),
            (_, None, None, Some(id)) => {
                format!("container {}", id.chars().take(12).collect::<String>())
            }
            (_, None, None, None) => "a pod".to_owned(),
        }
    }
}

/// For a person: ` by python3 (pid 4711, pod ml/train-7)`; nothing where no more is known than stands in the line.
pub fn by(
    process: Option<&ProcessOfEvent>,
    pod: Option<&PodOfEvent>,
    candidates: Option<&[CandidateOfEvent]>,
) -> String {
    if let Some(candidates) = candidates {
        let mut pods: Vec<_> = candidates
            .iter()
            .filter_map(|one| one.pod.as_ref())
            .chain(pod)
            .map(PodOfEvent::short)
            .collect();
        pods.sort_unstable();
        pods.dedup();
        return format!(
            " by one of {} processes ({})",
            candidates.len(),
            if pods.is_empty() { "of no pod".to_owned() } else { pods.join(", ") }
        );
    }
    let Some(ProcessOfEvent { pid, name, known_by }) = process else { return String::new() };
    let (line, kernel) = (text(KnownBy::Line), text(KnownBy::Kernel));
    if pod.is_none() && *known_by == line {
        return String::new();
    }
    let shows_pid = pod.is_none() || *known_by == kernel;
    let pid = pid.filter(|_| shows_pid).map(|pid| format!("pid {pid}"));
    let how = Some(known_by.trim_end_matches(" of the device")).filter(|_| *known_by != kernel);
    let parts = [pid, pod.map(PodOfEvent::short), how.map(str::to_owned)];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    format!(" by {} ({})", name.as_deref().unwrap_or("a process"), parts.join(", "))
}

fn text(known_by: KnownBy) -> &'static str {
    match known_by {
        KnownBy::Line => "named in the line",
        KnownBy::Kernel => "in the kernel at that moment",
        KnownBy::OnlyHolder => "the only holder of the device",
        KnownBy::OneOfSeveral => "one of several holders",
    }
}
