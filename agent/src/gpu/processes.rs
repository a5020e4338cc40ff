//! Who is on a GPU, as NVML sees it.
//!
//! What NVML leaves out, and what becomes of it here:
//!
//! - It tells process ids of the caller's PID namespace and leaves out processes that are not in it: an agent without the
//!   node's namespace sees next to nobody. Of the samples of utilisation it leaves nobody out, and gives those outside by
//!   the node's number, which may be somebody else's here: they are asked for only where the numbers are the node's.
//! - It lists a process as often as it has contexts of a kind, or instances under MIG. Here it is one [`Process`] an
//!   instance, with its kinds.
//! - Under MIG the list of the whole board needs the right to monitor MIG; that of an instance does not. Both are asked.
//! - Memory that it may not or cannot tell is `NVML_VALUE_NOT_AVAILABLE`, here `None`, and never 0.
//! - A process without a sample did nothing while samples were taken: that is 0 %, also where there are none at all, which
//!   NVML calls not found. Where utilisation is not to be had (MIG), it is `None`.
//! - It names who made a context also when that process is gone and one that it forked keeps the files open.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use nvml_wrapper::Device;

use super::{
    GpuError, GpuName, inventory,
    raw::{self, Listed, ProcessList, Sample},
    reading::{Absent, Reader},
    worker::Session,
};

/// The processes of one GPU.
#[derive(Debug, Clone)]
pub struct GpuProcesses {
    pub name: GpuName,
    /// NVML does not reach this GPU any more.
    pub lost: bool,
    pub mig_enabled: Option<bool>,
    /// Of the whole board, whoever has it.
    pub memory_used_bytes: Option<u64>,
    /// By pid.
    pub processes: Vec<Process>,
    /// UUIDs of the instances of a divided one.
    pub instances: Vec<String>,
    pub absent: Vec<Absent>,
}

impl GpuProcesses {
    /// Whether a process that is not among them has no memory here.
    #[must_use]
    pub fn tells_all(&self) -> bool {
        !self.lost && self.absent.iter().all(|absent| absent.field != "compute_processes")
    }
}

/// One process on one GPU, or on one instance of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// In the agent's own PID namespace.
    pub pid: u32,
    /// `None` where it is gone, or its name is not to be had. It can choose it itself.
    pub name: Option<String>,
    /// Never empty.
    pub kinds: BTreeSet<Kind>,
    /// `None` where the GPU is not divided.
    pub mig: Option<Mig>,
    /// `None` where NVML does not tell it.
    pub memory_bytes: Option<u64>,
    /// The newest sample of the last [`SAMPLED`]; `None` where NVML takes none.
    pub utilization: Option<Utilization>,
}

/// What a process is on the GPU for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Compute,
    Graphics,
    /// It computes through the MPS server.
    Mps,
}

/// An instance of a divided GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mig {
    pub gpu_instance: Option<u32>,
    pub compute_instance: Option<u32>,
    /// `MIG-…`, as Kubernetes gives it to a pod.
    pub uuid: Option<String>,
}

/// Shares of the sampled time, in percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Utilization {
    pub sm_percent: u32,
    pub memory_percent: u32,
    pub encoder_percent: u32,
    pub decoder_percent: u32,
}

/// How old a sample may be. NVML keeps some, and a process that stopped working a minute ago would look busy.
pub const SAMPLED: Duration = Duration::from_secs(10);
/// Longest process name that NVML is asked for, its null included.
const NAME: usize = 256;

/// A process, and the GPU instance and compute instance that it is in.
type Place = (u32, Option<u32>, Option<u32>);

/// Reads one GPU. `node_pids`: process ids as this process sees them are the node's.
pub fn processes(
    session: &Session<'_>,
    index: u32,
    node_pids: bool,
) -> Result<GpuProcesses, GpuError> {
    let d = inventory::device(session.nvml, session, index)?;
    let mut r = Reader::new(session.progress);
    let name = inventory::name(&d, index, &mut r);
    let mig_enabled = r
        .read("mig_enabled", "nvmlDeviceGetMigMode", || d.mig_mode())
        .map(|mode| mode.current == 1);
    let memory = r.read("memory_used_bytes", "nvmlDeviceGetMemoryInfo_v2", || d.memory_info());
    let mut found = BTreeMap::new();
    let instances = if mig_enabled == Some(true) {
        of_instances(session, &d, &mut r, &mut found)
    } else {
        lists(&d, None, &mut r, &mut found);
        Vec::new()
    };
    let mut processes: Vec<Process> = found.into_values().collect();
    let samples = if node_pids {
        let since = SystemTime::now()
            .checked_sub(SAMPLED)
            .and_then(|since| since.duration_since(SystemTime::UNIX_EPOCH).ok())
            .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0));
        r.read("utilization", "nvmlDeviceGetProcessUtilization", || raw::process_samples(&d, since))
    } else {
        r.not_asked(
            "utilization",
            "nvmlDeviceGetProcessUtilization",
            "samples name processes outside this PID namespace by numbers that others have in it",
        );
        None
    };
    let newest = samples.map(|samples| newest(&samples));
    for process in &mut processes {
        let length = NAME;
        process.name = session
            .progress
            .during("nvmlSystemGetProcessName", || {
                session.nvml.sys_process_name(process.pid, length)
            })
            .ok()
            .filter(|name| !name.is_empty());
        process.utilization =
            newest.as_ref().map(|newest| newest.get(&process.pid).copied().unwrap_or_default());
    }
    if processes.iter().any(|process| process.memory_bytes.is_none()) {
        r.not_available("memory_bytes", "nvmlDeviceGetComputeRunningProcesses_v3");
    }
    Ok(GpuProcesses {
        name,
        lost: r.is_lost(),
        mig_enabled,
        memory_used_bytes: memory.map(|memory| memory.used),
        processes,
        instances,
        absent: once(r.into_absent()),
    })
}

/// The processes of a divided GPU: of each instance, and those of the whole board that no instance told. Returns the
/// instances' UUIDs.
fn of_instances<'s>(
    session: &Session<'s>,
    d: &Device<'_>,
    r: &mut Reader<'s>,
    found: &mut BTreeMap<Place, Process>,
) -> Vec<String> {
    let most = r
        .read("mig_devices", "nvmlDeviceGetMaxMigDeviceCount", || d.mig_device_count())
        .unwrap_or(0);
    let mut asked = false;
    let mut uuids = Vec::new();
    for at in 0..most {
        // Instances that were destroyed leave holes, so the walk does not end at the first that is not there.
        let instance = session
            .progress
            .during("nvmlDeviceGetMigDeviceHandleByIndex", || d.mig_device_by_index(at));
        let Ok(instance) = instance else { continue };
        asked = true;
        let uuid = session.progress.during("nvmlDeviceGetUUID", || instance.uuid()).ok();
        lists(&instance, uuid.as_deref(), r, found);
        uuids.extend(uuid);
    }
    // What the board refuses is missing only where no instance was there to be asked.
    let mut whole = Reader::new(session.progress);
    lists(d, None, &mut whole, found);
    if !asked {
        r.adopt(whole);
    }
    uuids
}

/// Reads the three lists of a GPU or an instance into `found`.
fn lists(
    device: &Device<'_>,
    uuid: Option<&str>,
    r: &mut Reader<'_>,
    found: &mut BTreeMap<Place, Process>,
) {
    for (kind, list, field, call) in [
        (
            Kind::Compute,
            ProcessList::Compute,
            "compute_processes",
            "nvmlDeviceGetComputeRunningProcesses_v3",
        ),
        (
            Kind::Graphics,
            ProcessList::Graphics,
            "graphics_processes",
            "nvmlDeviceGetGraphicsRunningProcesses_v3",
        ),
        (
            Kind::Mps,
            ProcessList::Mps,
            "mps_processes",
            "nvmlDeviceGetMPSComputeRunningProcesses_v3",
        ),
    ] {
        let listed = r.read(field, call, || raw::processes(device, list));
        listed.into_iter().flatten().for_each(|listed| add(found, listed, kind, uuid));
    }
}

/// Each reason once, however many instances gave it.
fn once(absent: Vec<Absent>) -> Vec<Absent> {
    let mut once = Vec::new();
    for absent in absent {
        if !once.contains(&absent) {
            once.push(absent);
        }
    }
    once
}

/// Adds an entry of a list: to the process that is there already, or as a new one.
fn add(found: &mut BTreeMap<Place, Process>, listed: Listed, kind: Kind, uuid: Option<&str>) {
    let Listed { pid, memory_bytes, gpu_instance, compute_instance } = listed;
    let divided = uuid.is_some() || gpu_instance.is_some() || compute_instance.is_some();
    let process = found.entry((pid, gpu_instance, compute_instance)).or_insert_with(|| Process {
        pid,
        name: None,
        kinds: BTreeSet::new(),
        mig: divided.then(|| Mig { gpu_instance, compute_instance, uuid: uuid.map(str::to_owned) }),
        memory_bytes: None,
        utilization: None,
    });
    process.kinds.insert(kind);
    // Each list tells all that the process has.
    process.memory_bytes = process.memory_bytes.max(memory_bytes);
}

/// The newest sample of each process, without those that are none: shares beyond the whole, as drivers give for a process
/// that is about to end.
fn newest(samples: &[Sample]) -> BTreeMap<u32, Utilization> {
    let mut newest: BTreeMap<u32, &Sample> = BTreeMap::new();
    for sample in samples {
        let Sample { pid, time_us, sm, memory, encoder, decoder } = sample;
        let before = newest.get(pid).map_or(0, |before| before.time_us);
        if [sm, memory, encoder, decoder].into_iter().all(|share| *share <= 100)
            && *time_us >= before
        {
            newest.insert(*pid, sample);
        }
    }
    let utilization = |sample: &Sample| Utilization {
        sm_percent: sample.sm,
        memory_percent: sample.memory,
        encoder_percent: sample.encoder,
        decoder_percent: sample.decoder,
    };
    newest.into_iter().map(|(pid, sample)| (pid, utilization(sample))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_in_several_lists_is_one_with_all_that_it_has() {
        let mut found = BTreeMap::new();
        let entry = |memory_bytes, gpu_instance| Listed {
            pid: 7,
            memory_bytes,
            gpu_instance,
            compute_instance: gpu_instance.map(|_| 0),
        };
        add(&mut found, entry(None, None), Kind::Graphics, None);
        add(&mut found, entry(Some(0), None), Kind::Compute, None);
        add(&mut found, entry(None, Some(1)), Kind::Compute, Some("MIG-1"));
        add(&mut found, entry(Some(5), Some(1)), Kind::Compute, None);
        let found: Vec<Process> = found.into_values().collect();
        assert_eq!(found.len(), 2, "one on the board, one in the instance");
        assert_eq!(found[0].kinds, BTreeSet::from([Kind::Compute, Kind::Graphics]));
        assert_eq!((found[0].memory_bytes, &found[0].mig), (Some(0), &None));
        let mig = found[1].mig.as_ref().unwrap();
        assert_eq!((mig.gpu_instance, mig.uuid.as_deref()), (Some(1), Some("MIG-1")));
        assert_eq!(found[1].memory_bytes, Some(5));
    }

    #[test]
    fn of_several_samples_the_newest_that_can_be_one_counts() {
        let sample =
            |time_us, sm| Sample { pid: 7, time_us, sm, memory: 1, encoder: 0, decoder: 0 };
        let newest = newest(&[sample(2, 50), sample(1, 90), sample(3, 4_000_000), sample(3, 0)]);
        assert_eq!(newest[&7].sm_percent, 0);
        assert_eq!(newest[&7].memory_percent, 1);
        assert!(super::newest(&[sample(1, 101)]).is_empty());
    }
}
