//! Follows the devices: waits for the driver, loads the tracer, and looks now and then at what no event tells.

use std::{
    collections::BTreeMap,
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
    gpu::{bus, kernel_module},
    kernel::{
        Buffer,
        devices::{Acted, DeviceTracer, Majors, Maps, Told, majors},
        source::{Counts, State},
        tracer::Loader,
    },
    node::Node,
    pods::allocation,
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
            tokio::select! {
                () = node.trace_devices(loader, buffer, majors) => {}
                () = node.find_gpus() => {}
            }
        });
    }

    /// Loads the tracer and hears it, while there is something to hear. Nothing is asked of the driver and waited for.
    async fn trace_devices(&self, loader: Loader, buffer: Buffer, majors: Majors) {
        let branch = self.driver_branch();
        let load = move || DeviceTracer::load(loader, buffer, majors, branch);
        match tokio::task::spawn_blocking(load).await {
            Ok(Ok(tracer)) => self.hear_devices(tracer, majors).await,
            Ok(Err(error)) => self.sources.set(Source::Access, error.state()),
            Err(error) => {
                let remedy = "Report this with the agent's log.".to_owned();
                let state = State::Unavailable { reason: error.to_string(), remedy };
                self.sources.set(Source::Access, state);
            }
        }
    }

    /// The driver's numbers, if it is loaded.
    fn driver(&self) -> Result<Option<Majors>, State> {
        let path = self.devices.root.join("proc/devices");
        majors::read(&path).map_err(|error| State::Unavailable {
            reason: format!("{}: {error}", path.display()),
            remedy: "Mount /proc as the container runtime does.".to_owned(),
        })
    }

    /// The driver's branch, as in 580 of 580.95.05: from what the driver shows in `/proc`, for which it waits for nothing.
    fn driver_branch(&self) -> Option<u16> {
        kernel_module::read(&self.devices.root).ok()?.branch()
    }

    async fn hear_devices(&self, mut tracer: DeviceTracer, majors: Majors) {
        let maps = tracer.maps();
        let heard = Arc::new(AtomicU64::new(0));
        self.devices.state().maps = Some(Arc::clone(&maps));
        let (counted, counts) = (Arc::clone(&heard), Arc::clone(&maps));
        let how = tracer.how();
        self.sources.live(
            Source::Access,
            self.how(&how),
            Arc::new(move || Counts {
                heard: counted.load(Ordering::Relaxed),
                dropped: counts.unseen().events,
                ..Counts::default()
            }),
        );
        let hear = |told| {
            heard.fetch_add(1, Ordering::Relaxed);
            match told {
                Told::Place(place) => self.devices.learn(place),
                Told::Acted(acted) => self.hear_access(&acted),
            }
        };
        let ended = tokio::select! {
            ended = tracer.run(hear) => ended,
            () = self.look_at_calls(&maps) => return,
            () = self.look_at_names(&maps, majors, &how) => return,
        };
        let Err(error) = ended else { return };
        self.devices.state().maps = None;
        let reason = format!("reading the ring buffer failed: {error}");
        let remedy = "Restart the agent; report this.".to_owned();
        self.sources.set(Source::Access, State::Unavailable { reason, remedy });
    }

    /// By what means processes are seen, and pods named.
    fn how(&self, tracer: &str) -> String {
        format!("{tracer}; pods: {}", self.devices.pods.describe())
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

    /// What the kernel has counted is looked at now and then, whoever else does not answer.
    async fn look_at_calls(&self, maps: &Maps) {
        loop {
            sleep(TICK).await;
            self.find_stalled(maps);
            self.devices.correct(maps);
            maps.make_room(|process| self.devices.state().table.has(process));
        }
    }

    /// What may have another name by now: the driver's devices, and pods.
    async fn look_at_names(&self, maps: &Maps, mut majors: Majors, how: &str) {
        loop {
            self.ask_kubelet().await;
            self.devices.learn_again();
            self.sources.set(Source::Access, State::Live(self.how(how)));
            sleep(LOOK).await;
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
        }
    }

    /// Asks the kubelet which pod was given which GPU, where its socket is mounted: so the one pod that computes on a GPU has
    /// its name where the log directories are not.
    async fn ask_kubelet(&self) {
        if !self.devices.pods.ask_kubelet().await {
            return;
        }
        let Ok(gpus) = self.gpu.names().await else { return };
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

    /// Finds out which GPU has which minor number, now and then: from what the driver shows in `/proc`, and from NVML. A sick
    /// driver keeps both waiting, and what they said before holds as long.
    async fn find_gpus(&self) {
        loop {
            let root = self.devices.root.clone();
            let listed = self.gpu.read_files(bus::LISTED, move || bus::listed(&root)).await;
            let listed = listed.unwrap_or_default().into_iter();
            let mut gpus: BTreeMap<_, _> = listed.map(|gpu| (gpu.minor, gpu.pci)).collect();
            if self.devices.state().gpus.is_empty() {
                self.devices.state().gpus.clone_from(&gpus);
            }
            if let Ok(names) = self.gpu.names().await {
                gpus.extend(names.into_iter().filter_map(|name| name.minor.zip(name.pci)));
            }
            if !gpus.is_empty() {
                self.devices.state().gpus = gpus;
            }
            sleep(LOOK).await;
        }
    }
}

fn no_driver() -> State {
    State::Off(
        "the NVIDIA driver is not loaded: /proc/devices does not have it; it is looked for again every 30 s"
            .to_owned(),
    )
}
