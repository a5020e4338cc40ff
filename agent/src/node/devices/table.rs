//! The processes that have the driver's devices open, as the kernel's events tell: who they are, since when, and who was there
//! lately and is gone.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    calls::Device,
    event::{Party, Pod, access},
    kernel::devices::{Acted, Did, Holder, ProcessId, majors},
};

/// Processes that are remembered when they are gone: an Xid may name one that it killed.
const GONE: usize = 256;
/// How long a process that is gone is meant by its number. After that it may have been given again, to one that has nothing open.
const LATELY: Duration = Duration::from_mins(1);
/// Places that are remembered: more than the kernel remembers to have told.
const PLACES: usize = 4096;

/// Who has what open.
#[derive(Debug, Default)]
pub struct Table {
    here: BTreeMap<u32, Known>,
    /// With when they went, the last one last.
    gone: VecDeque<(SystemTime, Known)>,
    places: HashMap<u64, Option<Arc<Pod>>>,
    /// In the order in which they came.
    order: VecDeque<u64>,
}

/// A process that has, or had, devices open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub process: ProcessId,
    pub name: String,
    pub place: u64,
    /// Since when; `None` from before the tracer came.
    pub devices: BTreeMap<Device, Option<SystemTime>>,
}

impl Table {
    /// What is at a place in the cgroup tree.
    pub fn learn(&mut self, place: u64, pod: Option<Arc<Pod>>) {
        if self.places.insert(place, pod).is_none() {
            self.order.push_back(place);
        }
        if self.order.len() > PLACES
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
    }

    /// Takes over what a process did. Returns what is to be told of it: a device and what became of that.
    pub fn apply(&mut self, acted: &Acted) -> Vec<(Device, access::Did)> {
        let Acted { time, process, name, place, did, tid: _ } = acted;
        match did {
            // What shares its bit with others and is not named.
            Did::Got(_, devices) if devices.is_empty() => Vec::new(),
            Did::Got(way, devices) => {
                let known = self.known(*process, name, *place, *time);
                let since = (*way != access::Way::Found).then_some(*time);
                let news = devices.iter().filter(|device| !known.devices.contains_key(device));
                let news: Vec<_> = news.copied().collect();
                known.devices.extend(news.iter().map(|device| (*device, since)));
                news.into_iter().map(|device| (device, access::Did::Opened(*way))).collect()
            }
            Did::Lost { held } => self.lose(*process, *held, false, *time),
            Did::Ended => self.lose(*process, u64::MAX, true, *time),
            Did::Failed { device, call, failure, took } => {
                let (call, failure, took) = (*call, *failure, *took);
                vec![(*device, access::Did::Failed { call, failure, took })]
            }
            Did::Renamed => {
                if let Some(known) = self.here.get_mut(&process.pid) {
                    known.name.clone_from(name);
                }
                Vec::new()
            }
        }
    }

    /// Takes from a process what is among `held`.
    fn lose(
        &mut self,
        process: ProcessId,
        held: u64,
        exited: bool,
        time: SystemTime,
    ) -> Vec<(Device, access::Did)> {
        let Some(known) = self.here.get_mut(&process.pid) else { return Vec::new() };
        let lost = known.devices.extract_if(.., |device, _| majors::is_among(*device, held));
        let lost = lost.map(|(device, since)| {
            let held = since.and_then(|since| time.duration_since(since).ok());
            (device, access::Did::Closed { held, exited })
        });
        let lost = lost.collect();
        if known.devices.is_empty() {
            self.forget(process.pid, time);
        }
        lost
    }

    /// What the kernel has now, after events of it were lost.
    pub fn correct(&mut self, holders: &[Holder], now: SystemTime) {
        let there: BTreeMap<u32, &Holder> =
            holders.iter().map(|holder| (holder.process.pid, holder)).collect();
        let is_gone = |known: &&Known| {
            there.get(&known.process.pid).is_none_or(|holder| holder.process != known.process)
        };
        let gone: Vec<u32> = self.here.values().filter(is_gone).map(|it| it.process.pid).collect();
        for pid in gone {
            self.forget(pid, now);
        }
        for holder in holders {
            let devices = majors::devices(holder.held);
            if devices.is_empty() && !self.has(holder.process) {
                continue;
            }
            let known = self.known(holder.process, &holder.name, holder.place, now);
            known.devices.retain(|device, _| majors::is_among(*device, holder.held));
            for device in devices {
                known.devices.entry(device).or_insert(Some(holder.since));
            }
        }
    }

    fn known(&mut self, process: ProcessId, name: &str, place: u64, now: SystemTime) -> &mut Known {
        if self.here.get(&process.pid).is_some_and(|known| known.process != process) {
            // Its number was given again, and its end was not told.
            self.forget(process.pid, now);
        }
        let new = || Known { process, name: name.to_owned(), place, devices: BTreeMap::new() };
        self.here.entry(process.pid).or_insert_with(new)
    }

    fn forget(&mut self, pid: u32, now: SystemTime) {
        let Some(known) = self.here.remove(&pid) else { return };
        if self.gone.len() == GONE {
            self.gone.pop_front();
        }
        self.gone.push_back((now, known));
    }

    /// Every process that has something open.
    pub fn here(&self) -> impl Iterator<Item = &Known> {
        self.here.values()
    }

    /// Whether a process has something open.
    #[must_use]
    pub fn has(&self, process: ProcessId) -> bool {
        self.here.get(&process.pid).is_some_and(|known| known.process == process)
    }

    /// The process of this number that has something open, or had lately.
    #[must_use]
    pub fn find(&self, pid: u32, time: SystemTime) -> Option<&Known> {
        let long_ago = |gone: SystemTime| time.duration_since(gone).is_ok_and(|ago| ago > LATELY);
        let gone =
            || self.gone.iter().rev().find(|(at, it)| it.process.pid == pid && !long_ago(*at));
        self.here.get(&pid).or_else(|| gone().map(|(_, known)| known))
    }

    #[must_use]
    pub fn pod(&self, place: u64) -> Option<Arc<Pod>> {
        self.places.get(&place).cloned().flatten()
    }

    #[must_use]
    pub fn party(&self, known: &Known) -> Party {
        let Known { process, name, place, .. } = known;
        Party { pid: process.pid, name: name.clone(), pod: self.pod(*place) }
    }
}

/// How long ago a process started, as a time of the wall clock.
#[must_use]
pub fn started(process: ProcessId, since_boot: Duration, now: SystemTime) -> Option<SystemTime> {
    now.checked_sub(since_boot.checked_sub(process.started)?)
}

#[cfg(test)]
mod tests {
    use agent_ebpf::access::held;

    use super::*;
    use crate::event::access::Way;

    const PYTHON: ProcessId = ProcessId { pid: 4711, started: Duration::from_secs(100) };
    const AGAIN: ProcessId = ProcessId { pid: 4711, started: Duration::from_mins(15) };

    fn time(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn did(table: &mut Table, at: u64, process: ProcessId, did: Did) -> Vec<(Device, access::Did)> {
        let (time, name) = (time(at), "python3".to_owned());
        table.apply(&Acted { time, process, tid: process.pid, name, place: 7, did })
    }

    #[test]
    fn a_device_is_told_once_when_it_comes_and_once_when_it_goes() {
        let mut table = Table::default();
        let (gpu, uvm) = (Device::Gpu(0), Device::Uvm);
        let opened = |device, way| (device, access::Did::Opened(way));
        let got = did(&mut table, 10, PYTHON, Did::Got(Way::Opened, vec![gpu]));
        assert_eq!(got, [opened(gpu, Way::Opened)]);
        let got = did(&mut table, 11, PYTHON, Did::Got(Way::Found, vec![gpu, uvm]));
        assert_eq!(got, [opened(uvm, Way::Found)]);
        let gone = did(&mut table, 15, PYTHON, Did::Lost { held: 1 << 0 });
        let held = Some(Duration::from_secs(5));
        assert_eq!(gone, [(gpu, access::Did::Closed { held, exited: false })]);
        assert_eq!(did(&mut table, 16, PYTHON, Did::Lost { held: 1 << 0 }), []);
        // It was there before the tracer: nobody knows for how long.
        let gone = did(&mut table, 20, PYTHON, Did::Ended);
        assert_eq!(gone, [(uvm, access::Did::Closed { held: None, exited: true })]);
        assert_eq!(table.here().count(), 0);
        assert_eq!(table.find(4711, time(80)).map(|known| known.process), Some(PYTHON));
        assert_eq!(table.find(4711, time(81)), None, "that was long ago");
    }

    #[test]
    fn what_shares_its_bit_goes_with_that_and_is_nobody_by_itself() {
        let (mut table, capability) = (Table::default(), 1 << held::CAPABILITIES);
        let cap = Device::Capability(3);
        did(&mut table, 10, PYTHON, Did::Got(Way::Opened, vec![cap]));
        let gone = did(&mut table, 11, PYTHON, Did::Lost { held: capability });
        assert_eq!(gone.len(), 1);
        // Which one it has is not known.
        assert_eq!(did(&mut table, 12, PYTHON, Did::Got(Way::Found, Vec::new())), []);
        let (name, held) = ("python3".to_owned(), capability);
        let holder = Holder { process: PYTHON, name, place: 7, held, since: time(12) };
        table.correct(std::slice::from_ref(&holder), time(13));
        assert_eq!(table.here().count(), 0);
        did(&mut table, 14, PYTHON, Did::Got(Way::Opened, vec![cap]));
        table.correct(&[holder], time(15));
        assert!(table.has(PYTHON));
    }

    #[test]
    fn a_number_that_was_given_again_is_another_process() {
        let mut table = Table::default();
        did(&mut table, 10, PYTHON, Did::Got(Way::Opened, vec![Device::Gpu(0)]));
        let got = did(&mut table, 20, AGAIN, Did::Got(Way::Opened, vec![Device::Gpu(0)]));
        assert_eq!(got.len(), 1);
        assert!(table.has(AGAIN) && !table.has(PYTHON));
        assert_eq!(table.find(4711, time(20)).map(|known| known.process), Some(AGAIN));
    }

    #[test]
    fn what_the_kernel_has_corrects_what_was_missed() {
        let mut table = Table::default();
        did(&mut table, 10, PYTHON, Did::Got(Way::Opened, vec![Device::Gpu(0), Device::Uvm]));
        let other = ProcessId { pid: 5, started: Duration::from_secs(1) };
        did(&mut table, 10, other, Did::Got(Way::Opened, vec![Device::Gpu(1)]));
        let name = "python3".to_owned();
        let held = 1 << 0 | 1 << 3;
        let holder = Holder { process: PYTHON, name, place: 7, held, since: time(12) };
        table.correct(&[holder], time(13));
        let known = table.find(4711, time(12)).expect("there");
        let expected = [(Device::Gpu(0), Some(time(10))), (Device::Gpu(3), Some(time(12)))];
        assert_eq!(known.devices, expected.into());
        assert!(!table.has(other));
    }

    #[test]
    fn who_is_gone_and_where_they_were_is_remembered_within_bounds() {
        let mut table = Table::default();
        for pid in 0..1000 {
            let process = ProcessId { pid, started: Duration::from_secs(1) };
            did(&mut table, 1, process, Did::Got(Way::Opened, vec![Device::Gpu(0)]));
            did(&mut table, 2, process, Did::Ended);
        }
        assert_eq!((table.here.len(), table.gone.len()), (0, GONE));
        for place in 0..10_000 {
            table.learn(place, None);
            table.learn(place, Some(Arc::new(Pod::default())));
        }
        assert_eq!((table.places.len(), table.order.len()), (PLACES, PLACES));
        assert!(table.pod(9_999).is_some() && table.pod(0).is_none());
    }
}
