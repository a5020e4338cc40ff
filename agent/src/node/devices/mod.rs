//! The driver's devices as a source: who has them open, what fails and what does not come back; and who of them a fault may have
//! to do with.
//!
//! Nothing is loaded while the driver is not: `/proc/devices` is looked at every 30 s, so a driver that comes later, or comes
//! back with other numbers, is followed from then on (`follow`).

mod attribution;
mod follow;
mod named;
mod stalled;
mod table;
pub mod window;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use rustix::time::{ClockId, clock_gettime};

use super::holders::{Held, Holder, InCall};
use crate::{
    calls::Device,
    event::{Access, Attribution, KnownBy, Party, Pod, Task, access, limit::Limit},
    kernel::{
        devices::{Acted, CallStat, Inside, Maps, Place, ProcessId},
        privileges,
    },
    pods::Pods,
    xid::PciAddress,
};
use attribution::Clues;
use named::Named;
use table::Table;

/// Most pods whose names are asked for again and again.
const UNNAMED: usize = 256;

/// What is known of the devices of this node.
#[derive(Debug)]
pub struct Devices {
    /// Under which the host's files are.
    root: PathBuf,
    pub pods: Pods,
    /// Written by the task that follows the devices, read by every session.
    state: Mutex<Follow>,
    /// Processes that lines named lately. `None` where a number in `/proc` is of another process than in the kernel's lines.
    named: Option<Mutex<Named>>,
}

#[derive(Debug, Default)]
struct Follow {
    table: Table,
    limit: Limit,
    /// GPUs by the minor number of their device.
    gpus: BTreeMap<u32, PciAddress>,
    /// Calls that were told as stalled: the thread, and when it entered them.
    stalled: BTreeSet<(u32, Duration)>,
    maps: Option<Arc<Maps>>,
    /// Events that were lost when the table was put right last, and whether that was news then.
    lost: u64,
    lost_lately: bool,
    /// Places of pods whose names are not known yet.
    unnamed: BTreeMap<u64, Place>,
}

impl Devices {
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        let named = privileges::in_initial_pid_namespace().then(Mutex::default);
        Self { pods: Pods::new(root.clone()), root, state: Mutex::default(), named }
    }

    /// Where the host's files are.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn state(&self) -> MutexGuard<'_, Follow> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the programs count, while they are attached.
    #[must_use]
    pub fn maps(&self) -> Option<Arc<Maps>> {
        self.state().maps.clone()
    }

    /// The process of a call: itself if it has devices open now or had lately.
    #[must_use]
    pub fn party(&self, process: ProcessId) -> Option<Party> {
        let follow = self.state();
        let known = follow.table.find(process.pid, SystemTime::now())?;
        (known.process == process).then(|| follow.table.party(known))
    }

    /// The GPU of a device.
    #[must_use]
    pub fn gpu(&self, device: Device) -> Option<PciAddress> {
        self.state().gpu(device)
    }

    /// Who a fault may have to do with.
    #[must_use]
    pub fn attribute(
        &self,
        time: SystemTime,
        pci: Option<PciAddress>,
        pid: Option<u32>,
        task: Option<&Task>,
    ) -> Option<Attribution> {
        let follow = self.state();
        let minor = follow.gpus.iter().find(|(_, of)| Some(**of) == pci);
        let gpu = minor.map(|(minor, _)| Device::Gpu(*minor));
        let found = attribution::attribute(&follow.table, Clues { time, pid, task, gpu });
        drop(follow);
        found.or_else(|| self.named(pid?))
    }

    /// The process that a line names and that has no device open, if it is there.
    fn named(&self, pid: u32) -> Option<Attribution> {
        let mut named = self.named.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let party = named.party(pid, Instant::now(), || {
            let comm = std::fs::read_to_string(self.root.join(format!("proc/{pid}/comm"))).ok()?;
            Some(Party { pid, name: comm.trim_end().to_owned(), pod: self.pod_of(pid) })
        });
        Some(Attribution { known_by: KnownBy::Line, parties: vec![party?] })
    }

    /// The pod of a process of the agent's PID namespace, by its cgroup.
    #[must_use]
    pub fn pod_of(&self, pid: u32) -> Option<Arc<Pod>> {
        let text = std::fs::read_to_string(self.root.join(format!("proc/{pid}/cgroup"))).ok()?;
        self.pods.pod_of_proc(&text, Instant::now())
    }

    /// Takes over where in the cgroup tree processes are.
    fn learn(&self, place: Place) {
        let now = Instant::now();
        let pod = |names: &[String]| self.pods.pod(names.iter().map(String::as_str), now);
        let pod = pod(&place.unified).or_else(|| pod(&place.other));
        let is_unnamed = pod.as_ref().is_some_and(|pod| pod.name.is_none());
        let mut follow = self.state();
        follow.table.learn(place.id, pod);
        if !is_unnamed {
            follow.unnamed.remove(&place.id);
        } else if follow.unnamed.len() < UNNAMED {
            follow.unnamed.insert(place.id, place);
        }
    }

    /// Puts right who has what open, where events of that were lost since it was put right last.
    fn correct(&self, maps: &Maps) {
        let lost = maps.unseen().events;
        let mut follow = self.state();
        // Once more afterwards: of what was told before the loss some may have come after the first look.
        let more = std::mem::replace(&mut follow.lost, lost) != lost;
        if std::mem::replace(&mut follow.lost_lately, more) || more {
            follow.table.correct(&maps.holders(), SystemTime::now());
        }
    }

    /// Asks again for the names of pods that had none.
    fn learn_again(&self) {
        let unnamed = self.state().unnamed.clone();
        for place in unnamed.into_values() {
            self.learn(place);
        }
    }
}

impl Follow {
    fn gpu(&self, device: Device) -> Option<PciAddress> {
        let Device::Gpu(minor) = device else { return None };
        self.gpus.get(&minor).copied()
    }

    /// The uids of the pods that compute on a GPU: who only looks at one does not open UVM.
    fn computing(&self, minor: u32) -> BTreeSet<String> {
        let both = [Device::Gpu(minor), Device::Uvm];
        let computes = |known: &&table::Known| both.iter().all(|it| known.devices.contains_key(it));
        let pods = self.table.here().filter(computes).filter_map(|it| self.table.pod(it.place));
        pods.filter_map(|pod| pod.uid.clone()).collect()
    }

    /// What is to be told of what a process did.
    fn apply(&mut self, acted: &Acted) -> Vec<Access> {
        let before = self.table.find(acted.process.pid, acted.time).map(|it| self.table.party(it));
        let events = self.table.apply(acted);
        let Acted { process, name, place, .. } = acted;
        let party = Party { pid: process.pid, name: name.clone(), pod: self.table.pod(*place) };
        // What failed before anything was open comes without a place.
        let party = before.filter(|_| party.pod.is_none()).unwrap_or(party);
        let tell = |(device, did)| {
            let (party, pci) = (party.clone(), self.gpu(device));
            Access { party, tid: acted.tid, device, pci, did, folded: 0 }
        };
        events.into_iter().filter(|(_, did)| is_event(did)).map(tell).collect()
    }
}

/// Programs ask the driver for much that a GPU does not have; a status that says so is counted, and no event.
fn is_event(did: &access::Did) -> bool {
    match did {
        access::Did::Failed { failure: failure @ access::Failure::Status(_), .. } => {
            failure.is_serious()
        }
        _ => true,
    }
}

impl Devices {
    /// Who has the driver's devices open now, and what they do with them; `None` while nobody follows that.
    pub fn holders(&self) -> Option<Vec<Holder>> {
        let maps = self.maps()?;
        self.correct(&maps);
        let mut counted: HashMap<ProcessId, Vec<CallStat>> = HashMap::new();
        for it in maps.counted(0) {
            counted.entry(it.process).or_default().push(it.stat);
        }
        let mut inside: HashMap<ProcessId, Vec<InCall>> = HashMap::new();
        for Inside { process, tid, device, call, since, name: _, entered: _ } in maps.inside() {
            inside.entry(process).or_default().push(InCall { tid, call, device, since });
        }
        let (now, since_boot) = (SystemTime::now(), since_boot());
        let follow = self.state();
        let holder = |known: &table::Known| {
            let stats = counted.remove(&known.process);
            let sum = window::sum(stats.iter().flatten());
            let devices = known.devices.iter().map(|(device, since)| Held {
                device: *device,
                pci: follow.gpu(*device),
                since: *since,
            });
            Holder {
                party: follow.table.party(known),
                started: table::started(known.process, since_boot, now),
                devices: devices.collect(),
                calls: sum.count,
                errors: sum.errors + sum.statuses,
                last_call: stats.is_some().then_some(sum.last),
                inside: inside.remove(&known.process).unwrap_or_default(),
            }
        };
        Some(follow.table.here().map(holder).collect())
    }
}

fn since_boot() -> Duration {
    let since = clock_gettime(ClockId::Boottime);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    Duration::from_secs(part(since.tv_sec)) + Duration::from_nanos(part(since.tv_nsec))
}
