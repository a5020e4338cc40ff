//! `get_gpu_processes`: who uses the GPUs, and who only holds them.
//!
//! Arguments, all optional: `gpu` (index, PCI address or UUID: NVML is asked about this one alone), `pod` (`namespace/name`, or
//! a uid or the beginning of one), `detail` (`summary`; `full` adds each device with its time, every share, container ids
//! and why a value is null), `cursor` (`next_cursor` of an earlier answer, which is at most 32 KiB).
//!
//! Two views, made one. NVML tells who has a context on a GPU, of what type (`compute`, `graphics`, `mps`), its memory, its
//! share of the last 10 s, and the instance of a divided GPU. The kernel, through eBPF, tells who has the driver's devices
//! open, since when, how many calls on them were made and failed, and which has not come back. `known_by` says which view
//! has a process, `nvml` and `ebpf` whether each view is live; either alone makes an answer.
//!
//! - `holds_without_memory`: it keeps a GPU open and has no memory there. Beside who computes that is ordinary: a worker
//!   that it forked. When who computed is gone it is what keeps the memory: NVML goes on naming the dead, without a name.
//! - `sm_percent` is 0 where NVML sampled the GPU and the process did nothing, and null where it does not sample (MIG).
//! - `pid_namespace`: NVML tells an agent without `hostPID: true` of its own PID namespace alone. The kernel's numbers are
//!   always the node's. Numbers of two namespaces are never joined.
//! - `given_to`, of a GPU: the containers that the kubelet gave it or a part of it, whether or not they use it. Beside
//!   `processes` it tells who should be there from who is.
//! - What is missing, and what turns it on, is in `limits`.
//!
//! ```text
//! 7 processes, as NVML knows them
//! 3999  (gone)  GPU 1 4.0 GiB 0 % SM
//! 4242  /usr/bin/python3  GPU 0 compute+graphics 56.0 GiB 97 % SM  GPU 1 56.0 GiB 91 % SM
//! 5100  nvidia-cuda-mps-server  GPU 2 30.0 MiB 1 % SM
//! 5201  tritonserver  GPU 2 mps 2.0 GiB 33 % SM
//! 5202  tritonserver  GPU 2 mps 994.0 MiB 0 % SM
//! 6300  python  GPU 3 MIG 1/0 10.0 GiB
//! 6301  python  GPU 3 MIG 2/0 memory not told
//! Who holds a GPU without using it, and what hangs in the driver, is not known: --ebpf off. Set ebpf.enabled=true in …
//! GPU 3: memory_bytes is not told (nvmlDeviceGetComputeRunningProcesses_v3: NVML_VALUE_NOT_AVAILABLE: the driver does …
//! GPU 3: utilization is not told (nvmlDeviceGetProcessUtilization: NVML_ERROR_NOT_SUPPORTED: this board or driver does …
//! ```

mod answer;
mod merge;
mod text;

use std::{collections::BTreeMap, time::SystemTime};

use rmcp::schemars::{self, JsonSchema};
use serde::Deserialize;

use self::{
    answer::{Found, GpuAnswer, ProcessAnswer, ViewAnswer},
    merge::{Key, Namespace, Row},
};
use super::select::{self, Detail, GpuArgument, PodWanted};
use crate::{
    gpu::{
        self, GpuError, GpuName,
        processes::{self, GpuProcesses},
        reading::Absent,
        worker::Session,
    },
    kernel::privileges,
    mcp::{
        render,
        tool::{Call, Refusal, Tool},
    },
    node::Node,
    pods::{self, Allocation},
};

#[derive(Debug)]
pub struct GetGpuProcesses;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Only processes on this GPU or with its device open, by index, PCI address or UUID; NVML is asked about this GPU
    /// alone. An address also finds a GPU that is gone.
    #[serde(default)]
    gpu: Option<GpuArgument>,
    /// Only processes of this pod: `namespace/name`, or its uid or the beginning of it.
    #[serde(default)]
    pod: Option<String>,
    /// `summary` (default), or `full`: each device with its time, every share, container ids, why a value is null.
    #[serde(default)]
    detail: Detail,
    /// `next_cursor` of an earlier answer: the processes behind it.
    #[serde(default)]
    cursor: Option<String>,
}

/// An answer is at most 32 KiB; a cursor and the names of the lists take less than the rest.
const BYTES: usize = 31 << 10;

impl Tool for GetGpuProcesses {
    const NAME: &'static str = "get_gpu_processes";
    const TITLE: &'static str = "GPU processes";
    const DESCRIPTION: &'static str = "Who is on this node's GPUs: NVML's view (contexts, memory, utilisation) and the kernel's through eBPF (who has the \
        devices open, since when, how many calls failed, which has not come back) as one list, with pods. Finds processes that hold a \
        GPU without using it. Works with either view alone; `limits` says what is missing and what turns it on.";
    type Input = Input;
    type Answer = Found;

    async fn call(node: &Node, input: Input, _: &Call) -> Result<Found, Refusal> {
        let pod = input.pod.as_deref().map(PodWanted::of).transpose()?;
        let after = input.cursor.as_deref().map(key).transpose()?;
        let (names, gpu) = asked(node, input.gpu.as_ref()).await?;
        let node_pids = privileges::in_initial_pid_namespace();
        let (mut read, mut gpus) = (Vec::new(), Vec::new());
        let question =
            move |session: &Session<'_>, index| processes::processes(session, index, node_pids);
        let (names, unasked) = match names {
            Ok(names) => (names, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        // At once: a kubelet that hangs costs no more than a driver that does.
        let pods = &node.devices.pods;
        let (_, answers) = tokio::join!(pods.ask_kubelet(), node.gpu.ask_each(names, question));
        for (name, gpu) in answers {
            match gpu {
                Ok(gpu) => {
                    let given = given(node, &gpu.name, &gpu.instances);
                    gpus.push(GpuAnswer::of(&gpu, given, input.detail));
                    read.push(gpu);
                }
                // Which instances it has is not known, so neither is who was given one.
                Err(error) => gpus.push(GpuAnswer::failed(&name, &error)),
            }
        }
        node.sources.settled().await;
        let holders = node.holders();
        let (nvml, ebpf) = (ViewAnswer::nvml(unasked), ViewAnswer::ebpf(holders.as_ref().err()));
        if !nvml.live && !ebpf.live {
            return Err(neither(&nvml, &ebpf));
        }
        let mut limits = limits(&nvml, &ebpf, &read, node_pids);
        if let Some(error) = pods.kubelet_error() {
            limits.push(format!("Which pods were given which GPU is not known: {error}."));
        }
        let mut rows = merge::merge(&read, holders.unwrap_or_default(), node_pids);
        for ((namespace, pid), row) in &mut rows {
            let is_ours = node_pids && !node.gpu.simulated();
            if is_ours && *namespace == Namespace::Node && row.holder.is_none() {
                row.pod = node.devices.pod_of(*pid);
            }
        }
        if let Some(gpu) = gpu {
            rows.retain(|_, row| row.is_on(&gpu));
        }
        if let Some(pod) = pod {
            let unknown = rows.values().filter(|row| row.pod().is_none()).count();
            rows.retain(|_, row| row.pod().is_some_and(|found| pod.is(found)));
            if unknown > 0 {
                limits.push(format!(
                    "Left out, as their pod is not known or they have none: {unknown}."
                ));
            }
        }
        let mut answer = Found {
            simulated: node.gpu.simulated(),
            node: node.name.clone(),
            nvml,
            ebpf,
            gpus,
            process_count: rows.len(),
            processes: Vec::new(),
            next_cursor: None,
            limits,
        };
        page(&mut answer, &rows, after, input.detail);
        Ok(answer)
    }
}

/// The GPUs to ask NVML about, or why it cannot be asked; and the one that is asked about. An address needs no NVML.
async fn asked(
    node: &Node,
    wanted: Option<&GpuArgument>,
) -> Result<(Result<Vec<GpuName>, GpuError>, Option<GpuName>), Refusal> {
    let names = select::gpus(node, wanted).await;
    let Some(wanted) = wanted else { return Ok((names, None)) };
    match (names, gpu::pci_address(&wanted.text())) {
        (Ok(names), _) => {
            let gpu = names.first().cloned();
            Ok((Ok(names), gpu))
        }
        (Err(error), Some(pci)) => {
            // No GPU has this index.
            let gone = GpuName { index: u32::MAX, pci: Some(pci), uuid: None, minor: None };
            let there_is_none = matches!(error, GpuError::NoSuchGpu { .. });
            Ok((if there_is_none { Ok(Vec::new()) } else { Err(error) }, Some(gone)))
        }
        (Err(error), None) => Err(error.into()),
    }
}

/// Who was given this GPU or a part of it, as the kubelet has just said; `None` where it did not.
fn given(node: &Node, gpu: &GpuName, instances: &[String]) -> Option<Vec<Allocation>> {
    node.devices.pods.holders_of(&pods::Gpu {
        uuid: gpu.uuid.as_deref().unwrap_or_default(),
        minor: gpu.minor,
        index: Some(gpu.index),
        instances,
    })
}

/// Reads a cursor: whose number, and the number, of the last process of the page before.
fn key(text: &str) -> Result<Key, Refusal> {
    let read = || {
        let (namespace, pid) = text.split_once(':')?;
        let all = [Namespace::Node, Namespace::Agent];
        let namespace = all.into_iter().find(|known| known.name() == namespace)?;
        Some((namespace, pid.parse().ok()?))
    };
    read().ok_or_else(|| Refusal {
        what: format!("cursor is {:?}", render::bounded(text, 64)),
        next: "Pass next_cursor of an earlier answer, or leave cursor out to begin.".to_owned(),
    })
}

fn neither(nvml: &ViewAnswer, ebpf: &ViewAnswer) -> Refusal {
    let said = |text: &Option<String>| text.clone().unwrap_or_default();
    Refusal {
        what: format!(
            "neither view of the processes is to be had. NVML: {}. eBPF: {}",
            said(&nvml.reason),
            said(&ebpf.reason)
        ),
        next: format!("{} {}", said(&nvml.remedy), said(&ebpf.remedy)),
    }
}

fn limits(
    nvml: &ViewAnswer,
    ebpf: &ViewAnswer,
    read: &[GpuProcesses],
    node_pids: bool,
) -> Vec<String> {
    let mut limits = Vec::new();
    if let (Some(reason), Some(remedy)) = (&nvml.reason, &nvml.remedy) {
        limits.push(format!("No memory and no utilisation: {reason}. {remedy}"));
    }
    if let (Some(reason), Some(remedy)) = (&ebpf.reason, &ebpf.remedy) {
        limits.push(format!(
            "Who holds a GPU without using it, and what hangs in the driver, is not known: {reason}. {remedy}"
        ));
    }
    if nvml.live && !node_pids {
        limits.push(
            "NVML tells an agent outside the node's PID namespace of processes in its own only, by their numbers there: they are \
             joined with nothing, and the node's others are missing. It takes hostPID: true for the pod."
                .to_owned(),
        );
    }
    let mut why: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for gpu in read {
        for absent in gpu.absent.iter().filter(|absent| matters(absent, node_pids)) {
            let reason =
                format!("{} is not told ({}: {})", absent.field, absent.call, absent.reason);
            why.entry(reason).or_default().push(gpu.name.index.to_string());
        }
    }
    limits.extend(why.into_iter().map(|(why, gpus)| format!("GPU {}: {why}.", gpus.join(", "))));
    limits
}

/// Whether the absence is of processes or their figures, and not what the board lacks or the namespace explains.
fn matters(absent: &Absent, node_pids: bool) -> bool {
    match absent.field {
        "compute_processes" | "memory_bytes" => true,
        "graphics_processes" | "mps_processes" => !absent.by_design,
        "utilization" => node_pids,
        _ => false,
    }
}

/// As many processes behind the cursor as fit, and where the next page begins.
fn page(answer: &mut Found, rows: &BTreeMap<Key, Row>, after: Option<Key>, detail: Detail) {
    let size = |json: Result<String, serde_json::Error>| json.map_or(0, |json| json.len() + 1);
    let mut bytes = size(serde_json::to_string(answer));
    let now = SystemTime::now();
    let mut last = None;
    for (key, row) in rows.iter().filter(|(key, _)| after.is_none_or(|after| **key > after)) {
        let process = ProcessAnswer::of(*key, row, detail, now);
        bytes += size(serde_json::to_string(&process));
        // One at least, so that the pages come to an end.
        if let (true, Some((namespace, pid))) = (bytes > BYTES, last) {
            answer.next_cursor = Some(format!("{}:{pid}", Namespace::name(namespace)));
            return;
        }
        answer.processes.push(process);
        last = Some(*key);
    }
}
