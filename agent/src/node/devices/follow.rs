//! Follows the devices: waits for the driver, loads the tracer, and looks now and then at what no event tells.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::time::sleep;

use crate::{
    event::{
        Access, Report, Source,
        limit::{Admit, Key},
    },
    gpu::inventory,
    kernel::{
        Buffer,
        devices::{Acted, DeviceTracer, Majors, Maps, Told, majors},
        source::{Counts, State},
        tracer::Loader,
    },
    node::Node,
    pods::{allocation, kubelet},
    xid::PciAddress,
};

/// How often it is looked whether the driver is there.
const LOOK: Duration = Duration::from_secs(30);
/// How often it is looked for calls that do not come back.
const TICK: Duration = Duration::from_secs(5);

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
            let branch = node.driver_branch().await;
            let load = move || DeviceTracer::load(loader, buffer, majors, branch);
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

    /// The driver's branch, as in 580 of 580.95.05: from what the driver shows in `/proc`, else from NVML.
    async fn driver_branch(&self) -> Option<u16> {
        let shown = self.devices.root.join("proc/driver/nvidia/version");
        if let Ok(text) = std::fs::read_to_string(shown) {
            return branch_of_proc(&text);
        }
        let driver = self.gpu.ask(inventory::driver).await.ok()?;
        driver.driver_version?.split('.').next()?.parse().ok()
    }

    async fn hear_devices(self: &Arc<Self>, mut tracer: DeviceTracer, majors: Majors) {
        let maps = tracer.maps();
        let heard = Arc::new(AtomicU64::new(0));
        self.find_gpus().await;
        self.ask_kubelet().await;
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
                Told::Place(place) => self.devices.learn(place),
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
        let mut looked = Instant::now();
        loop {
            sleep(TICK).await;
            self.find_stalled(&maps);
            self.devices.correct(&maps);
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
                        tracing::warn!(%error, "The driver's new numbers are not known to the programs.");
                    }
                }
            }
            self.find_gpus().await;
            self.ask_kubelet().await;
            self.devices.learn_again();
        }
    }

    /// Asks the kubelet which pod was given which GPU, where its socket is mounted: so the one pod that computes on a GPU has
    /// its name where the log directories are not.
    async fn ask_kubelet(&self) {
        let socket = self.devices.pods.kubelet_socket();
        if !socket.exists() {
            return;
        }
        self.devices.pods.kubelet_said(kubelet::list(&socket).await);
        let Ok(gpus) = self.gpu.ask(inventory::names).await else { return };
        for name in &gpus {
            let uids = name.minor.map(|minor| self.devices.state().computing(minor));
            let uids = uids.unwrap_or_default();
            let uids: Vec<&str> = uids.iter().map(String::as_str).collect();
            let uuid = name.uuid.as_deref().unwrap_or_default();
            let (minor, index) = (name.minor, Some(name.index));
            let gpu = allocation::Gpu { uuid, minor, index, instances: &[] };
            self.devices.pods.name_by_elimination(&gpu, &uids, Instant::now());
        }
    }

    /// Tells of calls that do not come back, each once.
    fn find_stalled(&self, maps: &Maps) {
        let (now, inside) = (SystemTime::now(), maps.inside());
        let events = self.devices.state().stalled(inside, now);
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

/// From `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (…)`: the first number with a dot.
fn branch_of_proc(text: &str) -> Option<u16> {
    let line = text.lines().find(|line| line.starts_with("NVRM version"))?;
    line.split_whitespace().find_map(|word| word.split_once('.')?.0.parse().ok())
}

fn no_driver() -> State {
    State::Off(
        "the NVIDIA driver is not loaded: /proc/devices does not have it; it is looked for again every 30 s"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::branch_of_proc;

    #[test]
    fn the_branch_is_the_first_part_of_the_drivers_version() {
        for (text, expected) in [
            (
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\nGCC version:  gcc version 12.3.0 (Ubuntu)\n",
                Some(535),
            ),
            (
                "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs-builder@U22)\n",
                Some(580),
            ),
            ("GCC version: 12.3.0\n", None),
            ("", None),
        ] {
            assert_eq!(branch_of_proc(text), expected, "{text}");
        }
    }
}
