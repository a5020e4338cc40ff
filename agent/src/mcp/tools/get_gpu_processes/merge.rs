//! NVML's view of the processes and the kernel's, made one: a row for each process.
//!
//! Both are joined by the process's number, and only where both numbers are the node's. Where NVML's are of the agent's own
//! PID namespace, the same number is another process: each view then has rows of its own.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    calls::Device,
    event::Pod,
    gpu::{
        GpuName,
        processes::{GpuProcesses, Process},
    },
    node::holders::Holder,
};

/// Whose number a process id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Namespace {
    /// The node's: the initial PID namespace.
    Node,
    /// The one that the agent is in, which is not the node's.
    Agent,
}

impl Namespace {
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Agent => "agent",
        }
    }
}

/// The place of a row in the whole list.
pub type Key = (Namespace, u32);

/// One process, as far as either knows it.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Where NVML lists it; empty where NVML does not.
    pub on: Vec<(GpuName, Process)>,
    /// What the kernel knows; `None` where it does not have the devices open, or nobody follows them.
    pub holder: Option<Holder>,
    /// What its cgroup says, where it has no device open that the kernel knows of.
    pub pod: Option<Arc<Pod>>,
    /// GPUs by index whose device it holds and on which NVML, which would know, lists no memory of it.
    pub without_memory: Vec<u32>,
}

impl Row {
    pub fn known_by(&self) -> &'static str {
        match (self.on.is_empty(), &self.holder) {
            (false, Some(_)) => "both",
            (false, None) => "nvml",
            (true, _) => "ebpf",
        }
    }

    /// The name that it has given itself.
    pub fn name(&self) -> Option<&str> {
        let holder = self.holder.as_ref().map(|holder| holder.party.name.as_str());
        holder.or_else(|| self.on.iter().find_map(|(_, process)| process.name.as_deref()))
    }

    pub fn pod(&self) -> Option<&Arc<Pod>> {
        let holder = self.holder.as_ref();
        holder.and_then(|holder| holder.party.pod.as_ref()).or(self.pod.as_ref())
    }

    /// Whether it is on this GPU, or holds its device.
    pub fn is_on(&self, gpu: &GpuName) -> bool {
        let mut held = self.holder.iter().flat_map(|holder| &holder.devices);
        self.on.iter().any(|(on, _)| on.index == gpu.index)
            || held.any(|held| held.pci.is_some() && held.pci == gpu.pci)
    }
}

/// Joins both views. `gpus` also tell by their minor numbers which device is whose; `node_pids`: NVML's numbers of processes
/// are the node's.
pub fn merge(gpus: &[GpuProcesses], holders: Vec<Holder>, node_pids: bool) -> BTreeMap<Key, Row> {
    let mut rows: BTreeMap<Key, Row> = BTreeMap::new();
    let namespace = if node_pids { Namespace::Node } else { Namespace::Agent };
    for gpu in gpus {
        for process in &gpu.processes {
            let row = rows.entry((namespace, process.pid)).or_default();
            row.on.push((gpu.name.clone(), process.clone()));
        }
    }
    for mut holder in holders {
        let row = rows.entry((Namespace::Node, holder.party.pid)).or_default();
        for held in &mut holder.devices {
            let Device::Gpu(minor) = held.device else { continue };
            let gpu = gpus.iter().find(|gpu| match held.pci {
                Some(pci) => gpu.name.pci == Some(pci),
                None => gpu.name.minor == Some(minor),
            });
            let Some(gpu) = gpu else { continue };
            held.pci = held.pci.or(gpu.name.pci);
            let listed = row.on.iter().any(|(on, _)| on.index == gpu.name.index);
            if node_pids && gpu.tells_all() && !listed {
                row.without_memory.push(gpu.name.index);
            }
        }
        row.holder = Some(holder);
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::SystemTime};

    use super::*;
    use crate::{
        event::Party,
        gpu::{
            pci_address,
            processes::{Kind, Mig},
            reading::Absent,
        },
        node::holders::Held,
    };

    fn gpu(index: u32, pids: &[u32]) -> GpuProcesses {
        let process = |pid: &u32| Process {
            pid: *pid,
            name: Some(format!("/bin/{pid}")),
            kinds: BTreeSet::from([Kind::Compute]),
            mig: None,
            memory_bytes: Some(1 << 30),
            utilization: None,
        };
        GpuProcesses {
            name: GpuName {
                index,
                pci: pci_address(&format!("{:02x}:00", index + 1)),
                uuid: None,
                minor: Some(index),
            },
            lost: false,
            mig_enabled: Some(false),
            memory_used_bytes: None,
            processes: pids.iter().map(process).collect(),
            instances: Vec::new(),
            absent: Vec::new(),
        }
    }

    fn holder(pid: u32, devices: &[Device]) -> Holder {
        let held = |device: &Device| Held {
            device: *device,
            pci: None,
            since: Some(SystemTime::UNIX_EPOCH),
        };
        Holder {
            party: Party { pid, name: format!("comm{pid}"), pod: None },
            started: None,
            devices: devices.iter().map(held).collect(),
            calls: 1,
            errors: 0,
            last_call: None,
            inside: Vec::new(),
        }
    }

    /// A line a row: whose number, who knows it, where NVML lists it, what it holds without memory.
    fn shown(rows: &BTreeMap<Key, Row>) -> Vec<String> {
        let line = |((namespace, pid), row): (&Key, &Row)| {
            let on: Vec<u32> = row.on.iter().map(|(gpu, _)| gpu.index).collect();
            format!(
                "{} {pid} {} on {on:?} without {:?}",
                namespace.name(),
                row.known_by(),
                row.without_memory
            )
        };
        rows.iter().map(line).collect()
    }

    #[test]
    fn each_view_alone_makes_rows() {
        let rows = merge(&[gpu(0, &[7]), gpu(1, &[7, 9])], Vec::new(), true);
        assert_eq!(
            shown(&rows),
            ["node 7 nvml on [0, 1] without []", "node 9 nvml on [1] without []"]
        );
        assert_eq!(rows[&(Namespace::Node, 7)].name(), Some("/bin/7"));
        let rows = merge(&[], vec![holder(7, &[Device::Gpu(0), Device::Control])], true);
        assert_eq!(shown(&rows), ["node 7 ebpf on [] without []"]);
    }

    #[test]
    fn a_process_that_both_know_is_one_row() {
        let rows = merge(&[gpu(0, &[7]), gpu(1, &[7])], vec![holder(7, &[Device::Gpu(0)])], true);
        assert_eq!(shown(&rows), ["node 7 both on [0, 1] without []"]);
        let row = &rows[&(Namespace::Node, 7)];
        assert_eq!(row.name(), Some("comm7"));
        // By the minor number alone.
        assert_eq!(row.holder.as_ref().unwrap().devices[0].pci, pci_address("01:00"));
        assert!(row.is_on(&gpu(0, &[]).name) && row.is_on(&gpu(1, &[]).name));
        assert!(!row.is_on(&gpu(2, &[]).name));
        let gone = GpuName { index: 9, ..gpu(0, &[]).name };
        assert!(row.is_on(&gone));
        assert!(!row.is_on(&GpuName { pci: None, ..gone }));
    }

    #[test]
    fn numbers_of_two_namespaces_are_not_joined() {
        let rows = merge(&[gpu(0, &[7])], vec![holder(7, &[Device::Gpu(0)])], false);
        assert_eq!(
            shown(&rows),
            ["node 7 ebpf on [] without []", "agent 7 nvml on [0] without []"]
        );
    }

    /// A DataLoader worker whose parent has died: NVML still names the parent, the kernel the worker.
    #[test]
    fn who_keeps_a_gpu_without_using_it_is_seen_beside_whom_nvml_names() {
        let worker = holder(8, &[Device::Gpu(0), Device::Gpu(1), Device::Uvm]);
        let rows = merge(&[gpu(0, &[7]), gpu(1, &[8])], vec![worker], true);
        assert_eq!(
            shown(&rows),
            ["node 7 nvml on [0] without []", "node 8 both on [1] without [0]"]
        );
    }

    #[test]
    fn where_nvml_does_not_tell_nobody_is_without_memory() {
        let absent = Absent {
            field: "compute_processes",
            call: "",
            reason: String::new(),
            by_design: false,
        };
        let silent = GpuProcesses { absent: vec![absent], ..gpu(0, &[]) };
        let lost = GpuProcesses { lost: true, ..gpu(1, &[]) };
        let held = [Device::Gpu(0), Device::Gpu(1), Device::Gpu(5), Device::Control];
        let rows = merge(&[silent, lost], vec![holder(8, &held)], true);
        assert_eq!(shown(&rows), ["node 8 ebpf on [] without []"]);
    }

    #[test]
    fn a_process_on_two_instances_of_a_divided_gpu_is_one_row() {
        let mut divided = gpu(0, &[7, 7]);
        for (process, instance) in divided.processes.iter_mut().zip([1, 2]) {
            process.mig = Some(Mig { gpu_instance: Some(instance), ..Mig::default() });
        }
        let rows =
            merge(&[divided], vec![holder(7, &[Device::Gpu(0), Device::Capability(12)])], true);
        assert_eq!(shown(&rows), ["node 7 both on [0, 0] without []"]);
    }
}
