//! The driver's devices as a source: who has them open, what fails and what does not come back; and who of them a fault may have
//! to do with.
//!
//! Nothing is loaded while the driver is not: `/proc/devices` is looked at every [`LOOK`], so a driver that comes later, or
//! comes back with other numbers, is followed from then on.

mod attribution;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::sleep;

use super::{
    Node,
    holders::{Held, Holder, InCall},
};
use crate::{
    calls::Device,
    event::{
        Access, Attribution, Party, Report, Source, Task, access,
        limit::{Admit, Key, Limit},
    },
    gpu::inventory,
    kernel::{
        Buffer,
        devices::{Acted, DeviceTracer, Majors, Maps, Place, ProcessId, Told, majors},
        source::{Counts, State},
        tracer::Loader,
    },
    pods::Pods,
    xid::PciAddress,
};
use attribution::Clues;
use table::Table;

/// How often it is looked whether the driver is there.
const LOOK: Duration = Duration::from_secs(30);
/// How often it is looked for calls that do not come back.
const TICK: Duration = Duration::from_secs(5);
/// A call that has not come back for so long is told. What the driver waits for itself it gives up after 4 to 45 s, by version.
const STALLED: Duration = Duration::from_secs(10);

/// What is known of the devices of this node.
#[derive(Debug)]
pub struct Devices {
    /// Under which the host's files are.
    root: PathBuf,
    pub pods: Pods,
    /// Written by the task that follows the devices, read by every session.
    state: Mutex<Follow>,
}

#[derive(Debug, Default)]
struct Follow {
    table: Table,
    limit: Limit,
    /// GPUs by the minor number of their device.
    gpus: BTreeMap<u32, PciAddress>,
    /// Calls that were told as stalled: the thread, and since when it is in it.
    stalled: BTreeSet<(u32, SystemTime)>,
    maps: Option<Arc<Maps>>,
}

impl Devices {
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { pods: Pods::new(root.clone()), root, state: Mutex::default() }
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
        attribution::attribute(&follow.table, Clues { time, pid, task, gpu })
    }

    /// Takes over where in the cgroup tree processes are.
    fn learn(&self, place: &Place) {
        let Place { id, unified, memory } = place;
        let now = Instant::now();
        let pod = |names: &[String]| self.pods.pod(names.iter().map(String::as_str), now);
        let pod = pod(unified).or_else(|| pod(memory));
        self.state().table.learn(*id, pod);
    }
}

impl Follow {
    fn gpu(&self, device: Device) -> Option<PciAddress> {
        let Device::Gpu(minor) = device else { return None };
        self.gpus.get(&minor).copied()
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

impl Node {
    /// Follows the devices for as long as the process lives, from when the driver is there.
    pub fn follow_devices(self: &Arc<Self>, loader: Loader, buffer: Buffer) {
        self.sources.set(Source::Access, State::Starting);
        let node = Arc::clone(self);
        tokio::spawn(async move {
            let majors = loop {
                match node.driver() {
                    Ok(Some(majors)) => break majors,
                    Ok(None) => node.sources.set(Source::Access, no_driver()),
                    Err(state) => node.sources.set(Source::Access, state),
                }
                sleep(LOOK).await;
            };
            node.sources.set(Source::Access, State::Starting);
            let load = move || DeviceTracer::load(loader, buffer, majors);
            match tokio::task::spawn_blocking(load).await {
                Ok(Ok(tracer)) => node.hear_devices(tracer, majors).await,
                Ok(Err(error)) => node.sources.set(Source::Access, error.state()),
                Err(error) => {
                    let remedy = "Report this with the agent's log.".to_owned();
                    let state = State::Unavailable { reason: error.to_string(), remedy };
                    node.sources.set(Source::Access, state);
                }
            }
        });
    }

    /// The driver's numbers, if it is loaded.
    fn driver(&self) -> Result<Option<Majors>, State> {
        let path = self.devices.root.join("proc/devices");
        majors::read(&path).map_err(|error| State::Unavailable {
            reason: format!("{}: {error}", path.display()),
            remedy: "Mount /proc as the container runtime does.".to_owned(),
        })
    }

    async fn hear_devices(self: &Arc<Self>, mut tracer: DeviceTracer, majors: Majors) {
        let maps = tracer.maps();
        let heard = Arc::new(AtomicU64::new(0));
        self.find_gpus().await;
        self.devices.state().maps = Some(Arc::clone(&maps));
        let (counted, counts) = (Arc::clone(&heard), Arc::clone(&maps));
        let how = format!("{}; pods: {}", tracer.how(), self.devices.pods.describe());
        self.sources.live(
            Source::Access,
            how,
            Arc::new(move || Counts {
                heard: counted.load(Ordering::Relaxed),
                dropped: counts.unseen().events,
                ..Counts::default()
            }),
        );
        let watching = tokio::spawn(Arc::clone(self).watch_devices(Arc::clone(&maps), majors));
        let hear = |told| {
            heard.fetch_add(1, Ordering::Relaxed);
            match told {
                Told::Place(place) => self.devices.learn(&place),
                Told::Acted(acted) => self.hear_access(&acted),
            }
        };
        let Err(error) = tracer.run(hear).await else { return };
        watching.abort();
        self.devices.state().maps = None;
        let reason = format!("reading the ring buffer failed: {error}");
        let remedy = "Restart the agent; report this.".to_owned();
        self.sources.set(Source::Access, State::Unavailable { reason, remedy });
    }

    fn hear_access(&self, acted: &Acted) {
        let events = self.devices.state().apply(acted);
        for event in events {
            self.tell_access(acted.time, event);
        }
    }

    /// Puts an event into the journal, unless there were too many of its kind.
    fn tell_access(&self, time: SystemTime, mut access: Access) {
        let admitted = self.devices.state().limit.admit(Key::of(&access), Instant::now());
        if let Admit::Tell { folded } = admitted {
            access.folded = folded;
            self.journal.append(Report::access(time, access));
        }
    }

    /// What has to be looked at now and then while the devices are followed.
    async fn watch_devices(self: Arc<Self>, maps: Arc<Maps>, mut majors: Majors) {
        let (mut lost, mut again) = (0, false);
        let mut looked = Instant::now();
        loop {
            sleep(TICK).await;
            self.find_stalled(&maps);
            let dropped = maps.unseen().events;
            // Once more afterwards: of what was told before the loss some may have come after the first look.
            let more = std::mem::replace(&mut lost, dropped) != dropped;
            if std::mem::replace(&mut again, more) || more {
                let holders = maps.holders();
                self.devices.state().table.correct(&holders, SystemTime::now());
            }
            maps.make_room(|process| self.devices.state().table.has(process));
            if looked.elapsed() < LOOK {
                continue;
            }
            looked = Instant::now();
            if let Ok(Some(now)) = self.driver()
                && now != majors
            {
                match maps.set_majors(now) {
                    Ok(()) => majors = now,
                    Err(error) => {
                        tracing::warn!(%error, "The driver's new numbers are not known to the programs.")
                    }
                }
            }
            self.find_gpus().await;
        }
    }

    /// Tells of calls that do not come back, each once.
    fn find_stalled(&self, maps: &Maps) {
        let now = SystemTime::now();
        let inside = maps.inside();
        let stalled: Vec<_> = inside
            .into_iter()
            .filter_map(|it| {
                let inside = now.duration_since(it.since).ok().filter(|for_| *for_ >= STALLED)?;
                Some((it, inside))
            })
            .collect();
        let mut events = Vec::new();
        {
            let mut follow = self.devices.state();
            let calls = stalled.iter().map(|(it, _)| (it.tid, it.since)).collect();
            let told = std::mem::replace(&mut follow.stalled, calls);
            for (it, inside) in stalled {
                if told.contains(&(it.tid, it.since)) {
                    continue;
                }
                let known = follow.table.find(it.process.pid, now).map(|it| follow.table.party(it));
                let unknown = Party { pid: it.process.pid, name: it.name, pod: None };
                let (device, pci) = (it.device, follow.gpu(it.device));
                let did = access::Did::Stalled { call: it.call, inside };
                let party = known.unwrap_or(unknown);
                events.push(Access { party, tid: it.tid, device, pci, did, folded: 0 });
            }
        }
        for event in events {
            self.tell_access(now, event);
        }
    }

    /// Finds out which GPU has which minor number: from NVML, else from what the driver shows in `/proc`.
    async fn find_gpus(&self) {
        let mut gpus = gpus_of_proc(&self.devices.root);
        if let Ok(names) = self.gpu.ask(inventory::names).await {
            gpus.extend(names.into_iter().filter_map(|name| name.minor.zip(name.pci)));
        }
        self.devices.state().gpus = gpus;
    }
}

impl Devices {
    /// Who has the driver's devices open now, and what they do with them; `None` while nobody follows that.
    pub fn holders(&self) -> Option<Vec<Holder>> {
        let maps = self.maps()?;
        let (counted, inside) = (maps.counted(0), maps.inside());
        let (now, since_boot) = (SystemTime::now(), since_boot());
        let follow = self.state();
        let holder = |known: &table::Known| {
            let own = || counted.iter().filter(|it| it.process == known.process).map(|it| it.stat);
            let inside = inside.iter().filter(|it| it.process == known.process);
            Holder {
                party: follow.table.party(known),
                started: table::started(known.process, since_boot, now),
                devices: known
                    .devices
                    .iter()
                    .map(|(device, since)| Held {
                        device: *device,
                        pci: follow.gpu(*device),
                        since: *since,
                    })
                    .collect(),
                calls: own().map(|stat| stat.count).sum(),
                errors: own().map(|stat| stat.errors + stat.statuses).sum(),
                last_call: own().map(|stat| stat.last).max(),
                inside: inside
                    .map(|it| InCall {
                        tid: it.tid,
                        call: it.call,
                        device: it.device,
                        since: it.since,
                    })
                    .collect(),
            }
        };
        Some(follow.table.here().map(holder).collect())
    }
}

/// `/proc/driver/nvidia/gpus/0000:3b:00.0/information`, which has a line `Device Minor: 0`.
fn gpus_of_proc(root: &Path) -> BTreeMap<u32, PciAddress> {
    let Ok(folder) = std::fs::read_dir(root.join("proc/driver/nvidia/gpus")) else {
        return BTreeMap::new();
    };
    let gpu = |entry: std::fs::DirEntry| {
        let pci = PciAddress::parse(entry.file_name().as_encoded_bytes())?;
        let text = std::fs::read_to_string(entry.path().join("information")).ok()?;
        let minor = text.lines().find_map(|line| line.strip_prefix("Device Minor:"))?;
        Some((minor.trim().parse().ok()?, pci))
    };
    folder.filter_map(Result::ok).filter_map(gpu).collect()
}

fn since_boot() -> Duration {
    let since = clock_gettime(ClockId::Boottime);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    Duration::from_secs(part(since.tv_sec)) + Duration::from_nanos(part(since.tv_nsec))
}

fn no_driver() -> State {
    State::Off(
        "the NVIDIA driver is not loaded: /proc/devices does not have it; it is looked for again every 30 s"
            .to_owned(),
    )
}
