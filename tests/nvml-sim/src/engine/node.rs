//! The node: its driver, its GPUs, and how a client finds one of them.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::code::Code;
use super::events::{self, PlannedEvent};
use super::faults::{Exports, Faults, Subject};
use super::gpu::Gpu;
use super::gpu::confidential::ConfidentialComputing;
use super::gpu::identity::PciAddress;
use super::gpu::load::Process;
use super::gpu::mig::Mig;
use super::reading::Reading;
use super::scenario::Error;

/// The schema of `[node]`: the driver, and calls that are about no GPU.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Driver {
    pub driver_version: String,
    pub driver_branch: String,
    pub nvml_version: String,
    /// 13.0 is 13000.
    pub cuda_driver_version: i32,
    /// What `nvmlInit` fails with.
    pub init_error: Option<Code>,
    pub confidential: Reading<ConfidentialComputing>,
    #[serde(default)]
    pub faults: Faults,
}

impl Driver {
    /// Field ids 251 to 255 became 269 to 273 with CUDA 13.0 Update 1, that is with driver 580.82.
    #[must_use]
    pub fn has_renumbered_fields(&self) -> bool {
        let mut parts = self.driver_version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (580, 82)
    }
}

#[derive(Debug, PartialEq)]
pub struct Node {
    pub driver: Driver,
    pub gpus: Vec<Gpu>,
    pub events: Vec<PlannedEvent>,
}

impl Node {
    /// Puts the parts together, gives each GPU what follows from its index, and refuses what cannot be.
    pub fn new(
        driver: Driver,
        mut gpus: Vec<Gpu>,
        events: Vec<PlannedEvent>,
        exports: Exports,
    ) -> Result<Self, Error> {
        let stray = |faults: &Faults, subject, place: &str| match faults.stray(subject, exports) {
            Some(symbol) => {
                let message =
                    format!("faults: {symbol} is no exported function about a {subject:?}");
                Err(Error::invalid(place, message))
            }
            None => Ok(()),
        };
        stray(&driver.faults, Subject::Node, "[node]")?;
        for (index, gpu) in (0_u32..).zip(&mut gpus) {
            gpu.place = index;
            gpu.sit(index);
            let (device, identity) = (gpu.pci.device_id, &mut gpu.identity);
            if identity.uuid.is_empty() {
                identity.uuid = format!("GPU-{device:08x}-0000-4000-8000-{index:012x}");
            }
            let serial = || Reading::Value(format!("165{:010}", index + 1));
            identity.serial.get_or_insert_with(serial);
            identity.minor.get_or_insert(index);
            let (identity, pci) = (&gpu.identity, &gpu.pci);
            for frame in &mut gpu.frames {
                (frame.identity, frame.pci) = (identity.clone(), pci.clone());
            }
        }
        let (mut addresses, mut uuids) = (BTreeSet::new(), BTreeSet::new());
        for (gpu, is_frame) in gpus.iter().flat_map(|gpu| {
            std::iter::once((gpu, false)).chain(gpu.frames.iter().map(|frame| (frame, true)))
        }) {
            let place = format!("GPU {}", gpu.index);
            stray(&gpu.faults, Subject::Gpu, &place)?;
            let wrong = |message: String| Err(Error::invalid(&place, message));
            if !is_frame && !addresses.insert(gpu.pci.address) {
                return wrong(format!("pci.address {} is another GPU's too", gpu.pci.address));
            }
            if !is_frame && !uuids.insert(&gpu.identity.uuid) {
                return wrong(format!("identity.uuid {} is another GPU's too", gpu.identity.uuid));
            }
            let memory = &gpu.memory;
            if memory.reserved_bytes.saturating_add(memory.used_bytes) > memory.total_bytes {
                return wrong(
                    "memory: reserved_bytes and used_bytes are more than total_bytes".to_owned(),
                );
            }
            if memory.bar1_used_bytes > memory.bar1_total_bytes {
                return wrong("memory: bar1_used_bytes is more than bar1_total_bytes".to_owned());
            }
            if let Ok(Err(message)) = gpu.mig.as_ref().map(Mig::check) {
                return wrong(format!("mig.{message}"));
            }
            let placed = |process: &&Process| {
                let at = process.mig;
                at.is_none_or(|at| {
                    gpu.mig.as_ref().is_ok_and(|mig| mig.devices().any(|d| d.place() == at))
                })
            };
            if let Some(process) = gpu.processes.iter().find(|process| !placed(process)) {
                return wrong(format!("process {}: mig is no device of this GPU", process.pid));
            }
            if let Some(link) = gpu.nvlink.as_ref().ok().and_then(|nvlink| nvlink.stray_link()) {
                return wrong(format!("nvlink.links.{link} is no link of this board"));
            }
        }
        gpus.retain(|gpu| !gpu.removed);
        for (index, gpu) in (0_u32..).zip(&mut gpus) {
            gpu.sit(index);
        }
        Ok(Self { driver, gpus, events })
    }

    /// This node, just read, as those see it who have the library open since it was `old`. What a driver finds out when
    /// it is loaded stays: which GPUs there are, and their order. One that is there no longer is lost, one that has come
    /// is seen after the next `nvmlInit`.
    #[must_use]
    pub fn after(mut self, old: &Self) -> Self {
        let mut read = std::mem::take(&mut self.gpus);
        self.gpus = old
            .gpus
            .iter()
            .map(|old| match read.iter().position(|gpu| gpu.place == old.place) {
                Some(position) => {
                    let mut gpu = read.swap_remove(position);
                    gpu.sit(old.index);
                    gpu
                }
                None => Gpu { lost: true, ..old.clone() },
            })
            .collect();
        events::succeed(&mut self.events, &old.events);
        self
    }

    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.gpus.len()).unwrap_or(u32::MAX)
    }

    /// A handle's index, or one the client gave.
    pub fn by_index(&self, index: u32) -> Result<&Gpu, Code> {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.gpus.get(index))
            .ok_or(Code::INVALID_ARGUMENT)
    }

    /// The index of the GPU that has this place in the scenario.
    pub fn index_of(&self, place: u32) -> Result<u32, Code> {
        self.find(|gpu| gpu.place == place).map(|gpu| gpu.index)
    }

    pub fn by_uuid(&self, uuid: &str) -> Result<&Gpu, Code> {
        self.find(|gpu| gpu.identity.uuid == uuid)
    }

    pub fn by_serial(&self, serial: &str) -> Result<&Gpu, Code> {
        self.find(|gpu| gpu.serial() == Ok(serial))
    }

    pub fn by_pci_address(&self, address: &str) -> Result<&Gpu, Code> {
        let address: PciAddress = address.parse().map_err(|_| Code::INVALID_ARGUMENT)?;
        self.find(|gpu| gpu.pci.address == address)
    }

    fn find(&self, wanted: impl Fn(&Gpu) -> bool) -> Result<&Gpu, Code> {
        self.gpus.iter().find(|gpu| wanted(gpu)).ok_or(Code::NOT_FOUND)
    }

    pub fn process_name(&self, pid: u32) -> Result<&str, Code> {
        let mut processes = self.gpus.iter().flat_map(|gpu| &gpu.processes);
        let name = processes
            .find(|process| process.pid == pid)
            .and_then(|process| process.name.as_deref());
        name.ok_or(Code::NOT_FOUND)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::engine::scenario;

    fn node(text: &str) -> Result<Node, String> {
        scenario::from_text(text, Path::new("."), |_, _| true).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_scenario_does_not_say_follows_from_the_index() {
        let node = node("profile = 'h100'").unwrap();
        let gpu = node.by_index(3).unwrap();
        assert_eq!(gpu.identity.uuid, "GPU-233010de-0000-4000-8000-000000000003");
        assert_eq!((gpu.serial(), gpu.identity.minor), (Ok("1650000000004"), Some(3)));
        assert_eq!(node.by_uuid(&gpu.identity.uuid).map(|gpu| gpu.index), Ok(3));
        assert_eq!(node.by_serial("1650000000004").map(|gpu| gpu.index), Ok(3));
        assert_eq!(node.by_pci_address("00000000:61:00.0").map(|gpu| gpu.index), Ok(3));
        assert_eq!(node.by_pci_address("nonsense").err(), Some(Code::INVALID_ARGUMENT));
        assert_eq!(node.by_pci_address("0000:62:00.0").err(), Some(Code::NOT_FOUND));
        assert_eq!(node.by_index(8).err(), Some(Code::INVALID_ARGUMENT));
    }

    #[test]
    fn impossible_nodes_are_refused() {
        for (text, reason) in [
            ("[all]\npci.address = '0:1:0'", "another GPU's"),
            ("[all]\nidentity.uuid = 'GPU-1'", "another GPU's"),
            ("[all]\nmemory.used_bytes = 85520809984", "more than total_bytes"),
            (
                "[all.mig]\nenabled = true\nmax_devices = 0\n[[all.mig.instances]]\nid = 1\nprofile = '1g.10gb'\nstart = 0\n\
                 compute = [{ id = 0, uuid = 'MIG-1' }]",
                "max_devices",
            ),
            (
                "[all]\nmig.instances = [{ id = 1, profile = '9g.1gb', start = 0 }]",
                "no profile is called",
            ),
            ("[all]\nmig.instances = [{ id = 1, profile = '3g.40gb', start = 5 }]", "eighth slice"),
            (
                "[all]\nmig.instances = [{ id = 1, profile = '3g.40gb', start = 0 }, { id = 2, profile = '1g.10gb', start = 3 }]",
                "another's too",
            ),
            (
                "[[all.processes]]\npid = 1\nused_bytes = 1\nmig = { gpu_instance = 1, compute_instance = 0 }",
                "no device of this GPU",
            ),
            ("[all]\nnvlink.links.18.state = 'inactive'", "links.18"),
            ("[all]\nnvlink.links.x.state = 'inactive'", "links.x"),
        ] {
            let message = node(&format!("profile = 'h100'\n{text}")).unwrap_err();
            assert!(message.contains(reason), "{message}");
        }
    }

    #[test]
    fn a_removed_gpu_is_not_counted_and_to_those_who_had_it_lost() {
        let removed = "profile = 'h100'\ngpus = 3\n[[gpu]]\nindex = 1\nremoved = true";
        let fresh = node(removed).unwrap();
        let uuids = |node: &Node| {
            node.gpus.iter().map(|gpu| (gpu.index, gpu.place, gpu.lost)).collect::<Vec<_>>()
        };
        assert_eq!(uuids(&fresh), [(0, 0, false), (1, 2, false)]);
        assert_eq!((fresh.index_of(2), fresh.index_of(1)), (Ok(1), Err(Code::NOT_FOUND)));
        let whole = node("profile = 'h100'\ngpus = 3").unwrap();
        let open = node(removed).unwrap().after(&whole);
        assert_eq!(uuids(&open), [(0, 0, false), (1, 1, true), (2, 2, false)]);
        // It comes back, and so does one that was never counted; only the first is seen.
        let open = node("profile = 'h100'\ngpus = 4").unwrap().after(&open);
        assert_eq!(open.gpus, whole.gpus);
        let fewer = node("profile = 'h100'\ngpus = 1").unwrap().after(&open);
        assert_eq!(uuids(&fewer), [(0, 0, false), (1, 1, true), (2, 2, true)]);
    }

    #[test]
    fn what_a_gpu_is_by_turns_has_its_place_and_index() {
        let text = "profile = 'h100'\n[all]\nframes = [{ power.usage_mw = 1 }]\n[[gpu]]\nindex = 0\nremoved = true";
        let node = node(text).unwrap();
        let whole = |gpu: &Gpu| (gpu.index, gpu.place, gpu.now().index, gpu.now().place);
        assert_eq!(whole(&node.gpus[2]), (2, 3, 2, 3));
        assert_eq!(node.gpus[2].now().power.usage_mw.get(), Ok(1));
    }

    #[test]
    fn field_ids_changed_with_driver_580_82() {
        let renumbered = |version: &str| {
            let text = format!("profile = 'h100'\nnode.driver_version = '{version}'");
            node(&text).unwrap().driver.has_renumbered_fields()
        };
        assert_eq!(
            ["580.65.06", "580.82", "580.95.05", "590.1", "550.163.01"].map(renumbered),
            [false, true, true, true, false]
        );
    }
}
