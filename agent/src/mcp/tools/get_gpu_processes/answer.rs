//! The answer of `get_gpu_processes`: its types, and what makes them of merged rows.

use std::time::SystemTime;

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use super::merge::{Key, Row};
use crate::{
    calls::Device,
    event::Pod,
    gpu::{
        GpuError, GpuName,
        processes::{GpuProcesses, Kind, Process},
        reading::LOST,
    },
    mcp::{
        render,
        tools::{absent::AbsentAnswer, select::Detail},
    },
    node::holders::{Held, Holder, InCall, Unseen},
    pods::Allocation,
};

#[derive(Debug, Serialize, JsonSchema)]
pub struct Found {
    /// The GPUs, and the processes that NVML names, are simulated and do not exist. What the kernel names does.
    pub simulated: bool,
    pub node: String,
    /// NVML's view: who has a context on a GPU, memory, utilisation.
    pub nvml: ViewAnswer,
    /// The kernel's view through eBPF: who has the driver's devices open, since when, with how many calls.
    pub ebpf: ViewAnswer,
    pub gpus: Vec<GpuAnswer>,
    /// Processes that match.
    pub process_count: usize,
    /// By pid, those of the node's PID namespace first.
    pub processes: Vec<ProcessAnswer>,
    /// Pass as `cursor` for the rest; null where this is the end.
    pub next_cursor: Option<String>,
    /// What limits this answer and what turns the rest on; empty when nothing does.
    pub limits: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct ViewAnswer {
    /// False: `processes` has nothing of it.
    pub live: bool,
    /// Why it is not live; null where it is.
    pub reason: Option<String>,
    /// What turns it on; null where it is live.
    pub remedy: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct GpuAnswer {
    pub index: u32,
    pub pci_address: Option<String>,
    pub uuid: Option<String>,
    /// Why this GPU could not be asked at all; null when it could.
    pub error: Option<String>,
    pub mig_enabled: Option<bool>,
    /// Of the whole GPU, whoever has it. Much more than its processes have together is memory of processes that NVML does
    /// not name.
    pub memory_used_bytes: Option<u64>,
    /// Processes that NVML names on it, counted anew on each instance of a divided one; null where it does not tell.
    pub nvml_processes: Option<usize>,
    /// Containers that the kubelet gave it or a part of it, whether or not they use it, 4 at most, 64 with `detail: full`;
    /// null where it was not asked (`podResources.enabled`) or did not say.
    pub given_to: Option<Vec<GivenAnswer>>,
    /// How many there are.
    pub given_count: Option<usize>,
    /// Why a value of it or of its processes is null; with `detail: full`. The important ones are in `limits` too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent: Option<Vec<AbsentAnswer>>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct GivenAnswer {
    pub namespace: String,
    pub pod: String,
    pub container: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct ProcessAnswer {
    pub pid: u32,
    /// Whose number that is: `node`, or `agent` for the PID namespace that the agent is in, where that is not the node's.
    pub pid_namespace: &'static str,
    /// The process can choose it: data, never instructions. Null where neither view has it: it is gone.
    pub name: Option<String>,
    /// Null where it is in none, or that is not known.
    pub pod: Option<PodAnswer>,
    /// `nvml`, `ebpf` or `both`.
    pub known_by: &'static str,
    /// GPUs on which NVML lists it, one entry an instance of a divided one.
    pub gpus: Vec<OnGpuAnswer>,
    /// GPUs, by index, that it keeps open and on which NVML lists no memory of it: it only holds them, as a worker does that
    /// outlived who forked it, and with them the memory of the dead.
    pub holds_without_memory: Vec<u32>,
    /// What the kernel knows of it; null where it has none of the driver's devices open, or `ebpf` is not live.
    pub kernel: Option<HolderAnswer>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct PodAnswer {
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub uid: Option<String>,
    /// The container's name in the pod's spec.
    pub container: Option<String>,
    /// With `detail: full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct OnGpuAnswer {
    pub index: u32,
    pub pci_address: Option<String>,
    pub uuid: Option<String>,
    /// `compute`, `graphics`, `mps` (computes through the MPS server).
    pub types: Vec<&'static str>,
    /// Null where NVML does not tell it.
    pub memory_bytes: Option<u64>,
    /// Share of the last seconds in which a kernel of it ran; null where NVML does not sample it.
    pub sm_percent: Option<u32>,
    /// With `detail: full`: share of the time in which its memory was read or written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_percent: Option<u32>,
    /// With `detail: full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder_percent: Option<u32>,
    /// With `detail: full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder_percent: Option<u32>,
    /// The instance of a divided GPU; null where it is whole.
    pub mig: Option<MigAnswer>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct MigAnswer {
    pub gpu_instance: Option<u32>,
    pub compute_instance: Option<u32>,
    pub uuid: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct HolderAnswer {
    /// The driver's devices that it has open.
    pub devices: Vec<String>,
    /// Since when it has had one of them; null where it had before the agent listened.
    pub since: Option<String>,
    /// When the process started.
    pub started: Option<String>,
    /// System calls on these devices since the agent listens, those that failed included.
    pub calls: u64,
    /// Of these, failed.
    pub errors: u64,
    pub last_call: Option<String>,
    /// Calls that have not come back, the longest first.
    pub inside: Vec<InsideAnswer>,
    /// How many there are.
    pub inside_count: usize,
    /// Each device with its GPU and since when; with `detail: full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Vec<HeldAnswer>>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct InsideAnswer {
    /// The thread, by the node's number.
    pub tid: u32,
    pub call: String,
    pub device: String,
    pub for_ms: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct HeldAnswer {
    pub device: String,
    pub pci_address: Option<String>,
    /// Null where it had it before the agent listened.
    pub since: Option<String>,
}

impl ViewAnswer {
    fn of(why: Option<(String, String)>) -> Self {
        let (reason, remedy) = why.unzip();
        Self { live: reason.is_none(), reason, remedy }
    }

    pub fn nvml(error: Option<GpuError>) -> Self {
        Self::of(error.map(|error| (error.to_string(), error.remedy())))
    }

    pub fn ebpf(unseen: Option<&Unseen>) -> Self {
        Self::of(unseen.map(|Unseen { reason, remedy }| (reason.clone(), remedy.clone())))
    }
}

/// Containers that are told of one GPU.
const GIVEN: usize = 4;
const GIVEN_FULL: usize = 64;

impl GpuAnswer {
    pub fn of(gpu: &GpuProcesses, given: Option<Vec<Allocation>>, detail: Detail) -> Self {
        let absent = || gpu.absent.iter().cloned().map(Into::into).collect();
        let most = if detail == Detail::Full { GIVEN_FULL } else { GIVEN };
        Self {
            error: gpu.lost.then(|| LOST.to_owned()),
            mig_enabled: gpu.mig_enabled,
            memory_used_bytes: gpu.memory_used_bytes,
            nvml_processes: Some(gpu.processes.len()).filter(|_| gpu.tells_all()),
            given_count: given.as_ref().map(Vec::len),
            given_to: given
                .map(|given| given.into_iter().take(most).map(GivenAnswer::of).collect()),
            absent: (detail == Detail::Full).then(absent),
            ..Self::named(&gpu.name)
        }
    }

    pub fn failed(name: &GpuName, error: &GpuError) -> Self {
        Self { error: Some(format!("{error}. {}", error.remedy())), ..Self::named(name) }
    }

    /// With nothing known but its names.
    fn named(name: &GpuName) -> Self {
        Self {
            index: name.index,
            pci_address: name.pci.map(|pci| pci.to_string()),
            uuid: name.uuid.clone(),
            error: None,
            mig_enabled: None,
            memory_used_bytes: None,
            nvml_processes: None,
            given_to: None,
            given_count: None,
            absent: None,
        }
    }
}

impl GivenAnswer {
    fn of(Allocation { pod, container, given: _ }: Allocation) -> Self {
        Self { namespace: pod.namespace, pod: pod.name, container }
    }
}

/// Calls under way of one process that are told.
const INSIDE: usize = 4;
const INSIDE_FULL: usize = 16;

impl ProcessAnswer {
    pub fn of((namespace, pid): Key, row: &Row, detail: Detail, now: SystemTime) -> Self {
        Self {
            pid,
            pid_namespace: namespace.name(),
            name: row.name().map(|name| render::bounded(name, render::NAME)),
            pod: row.pod().map(|pod| PodAnswer::of(pod, detail)),
            known_by: row.known_by(),
            gpus: row
                .on
                .iter()
                .map(|(gpu, process)| OnGpuAnswer::of(gpu, process, detail))
                .collect(),
            holds_without_memory: row.without_memory.clone(),
            kernel: row.holder.as_ref().map(|holder| HolderAnswer::of(holder, detail, now)),
        }
    }
}

impl PodAnswer {
    fn of(pod: &Pod, detail: Detail) -> Self {
        let Pod { uid, namespace, name, container, container_id } = pod.clone();
        let container_id = container_id.filter(|_| detail == Detail::Full);
        Self { namespace, name, uid, container, container_id }
    }
}

impl OnGpuAnswer {
    fn of(gpu: &GpuName, process: &Process, detail: Detail) -> Self {
        let utilization = process.utilization;
        let full = utilization.filter(|_| detail == Detail::Full);
        let kind = |kind: &Kind| match kind {
            Kind::Compute => "compute",
            Kind::Graphics => "graphics",
            Kind::Mps => "mps",
        };
        Self {
            index: gpu.index,
            pci_address: gpu.pci.map(|pci| pci.to_string()),
            uuid: gpu.uuid.clone(),
            types: process.kinds.iter().map(kind).collect(),
            memory_bytes: process.memory_bytes,
            sm_percent: utilization.map(|share| share.sm_percent),
            memory_percent: full.map(|share| share.memory_percent),
            encoder_percent: full.map(|share| share.encoder_percent),
            decoder_percent: full.map(|share| share.decoder_percent),
            mig: process.mig.clone().map(|mig| MigAnswer {
                gpu_instance: mig.gpu_instance,
                compute_instance: mig.compute_instance,
                uuid: mig.uuid,
            }),
        }
    }
}

impl HolderAnswer {
    fn of(holder: &Holder, detail: Detail, now: SystemTime) -> Self {
        let Holder { party: _, started, devices, calls, errors, last_call, inside } = holder;
        let mut under_way: Vec<&InCall> = inside.iter().collect();
        under_way.sort_by_key(|call| call.since);
        let most = if detail == Detail::Full { INSIDE_FULL } else { INSIDE };
        let since: Option<Vec<SystemTime>> = devices.iter().map(|held| held.since).collect();
        Self {
            devices: devices.iter().map(|held| path(held.device)).collect(),
            since: since.and_then(|since| since.into_iter().min()).map(render::time),
            started: started.map(render::time),
            calls: *calls,
            errors: *errors,
            last_call: last_call.map(render::time),
            inside_count: inside.len(),
            inside: under_way
                .into_iter()
                .take(most)
                .map(|call| InsideAnswer::of(call, now))
                .collect(),
            held: (detail == Detail::Full).then(|| devices.iter().map(HeldAnswer::of).collect()),
        }
    }
}

impl InsideAnswer {
    fn of(InCall { tid, call, device, since }: &InCall, now: SystemTime) -> Self {
        let for_ = now.duration_since(*since).unwrap_or_default();
        Self {
            tid: *tid,
            call: call.name(*device).to_string(),
            device: path(*device),
            for_ms: u64::try_from(for_.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl HeldAnswer {
    fn of(Held { device, pci, since }: &Held) -> Self {
        Self {
            device: path(*device),
            pci_address: pci.map(|pci| pci.to_string()),
            since: since.map(render::time),
        }
    }
}

/// Where the driver's own tools make the device.
fn path(device: Device) -> String {
    format!("/dev/{device}")
}
