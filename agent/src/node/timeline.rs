//! The recorder's sampler: every second each GPU is read once, by a task of its own.
//!
//! A GPU that hangs, is lost or refuses leaves a gap with its reason and keeps no other from being read. Where there is no
//! NVML, none is counted and it is tried again; a GPU that comes later is followed from then on. Memory is taken for a GPU
//! when it is first read, and is bounded ([`crate::timeline`]).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::Node;
use crate::{
    gpu::{
        GpuError, GpuName, inventory,
        reading::{Absent, LOST},
        sample::{self, Seen, Taken},
        worker::Session,
    },
    timeline::{Rings, Window},
};

/// Between two samples.
const EVERY: Duration = Duration::from_secs(1);
/// Between two looks at how many GPUs there are.
const COUNTED_EVERY: Duration = Duration::from_secs(30);
/// The names of a GPU are read again after this many samples: the driver may have been loaded anew, with others.
const NAMED_EVERY: u32 = 60;

/// Of every GPU that was ever counted, by NVML's index.
#[derive(Debug, Default)]
pub struct Timelines(Mutex<BTreeMap<u32, Track>>);

/// One GPU. Written by its task, read by whoever asks.
#[derive(Debug)]
struct Track {
    name: GpuName,
    rings: Rings,
    /// What the last sample could not read.
    absent: Vec<Absent>,
}

/// What is known of a GPU over a stretch of time.
#[derive(Debug, Clone)]
pub struct Known {
    pub name: GpuName,
    pub window: Window,
    pub absent: Vec<Absent>,
}

impl Timelines {
    /// What is known between two points in time of the GPUs that are wanted.
    #[must_use]
    pub fn known(
        &self,
        wanted: impl Fn(&GpuName) -> bool,
        (from, to): (SystemTime, SystemTime),
    ) -> Vec<Known> {
        let tracks = self.lock();
        let wanted = tracks.values().filter(|track| wanted(&track.name));
        let known = |track: &Track| Known {
            name: track.name.clone(),
            window: track.rings.window(from, to),
            absent: track.absent.clone(),
        };
        wanted.map(known).collect()
    }

    /// How many GPUs are followed, and the memory that this takes.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let tracks = self.lock();
        (tracks.len(), tracks.values().map(|track| track.rings.bytes()).sum())
    }

    /// Begins a GPU; false where it was begun before.
    fn begin(&self, index: u32) -> bool {
        let mut tracks = self.lock();
        let is_new = !tracks.contains_key(&index);
        tracks.entry(index).or_insert_with(|| Track {
            name: GpuName { index, pci: None, uuid: None, minor: None },
            rings: Rings::default(),
            absent: Vec::new(),
        });
        is_new
    }

    fn put(&self, index: u32, clock: Duration, taken: Taken) {
        let now = SystemTime::now();
        let mut tracks = self.lock();
        let Some(track) = tracks.get_mut(&index) else { return };
        if let Some(name) = taken.name {
            // Another GPU under the same number has another past.
            if name.uuid.is_some() && track.name.uuid.is_some() && name.uuid != track.name.uuid {
                track.rings = Rings::default();
            }
            // One that is lost keeps the names it had.
            let GpuName { index, pci, uuid, minor } = name;
            let before = &track.name;
            let (pci, minor) = (pci.or(before.pci), minor.or(before.minor));
            track.name = GpuName { index, pci, uuid: uuid.or_else(|| before.uuid.clone()), minor };
        }
        if taken.lost {
            track.rings.missed(now, LOST);
        } else {
            track.rings.push(now, clock, &taken.sample);
            track.absent = taken.absent;
        }
    }

    fn miss(&self, index: u32, error: &GpuError) {
        let reason = match error {
            // The same for as long as it lasts.
            GpuError::Hung { call, .. } => {
                format!("{call} has not come back: the driver is stuck in it")
            }
            other => other.to_string(),
        };
        if let Some(track) = self.lock().get_mut(&index) {
            track.rings.missed(SystemTime::now(), &reason);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Track>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// Samples the GPUs for as long as the process lives.
    pub fn sample_gpus(self: &Arc<Self>) {
        let node = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                // Why it cannot be told is what get_agent_status says of NVML.
                for index in 0..node.gpu.ask(inventory::count).await.unwrap_or(0) {
                    if node.timelines.begin(index) {
                        tokio::spawn(Arc::clone(&node).sample_gpu(index));
                    }
                }
                sleep(COUNTED_EVERY).await;
            }
        });
    }

    async fn sample_gpu(self: Arc<Self>, index: u32) {
        let started = Instant::now();
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut seen, mut until_named) = (Seen::default(), 0);
        // Why there is no NVML. It is not loaded again every second for this: each attempt is a line of a broken driver.
        let mut without: Option<GpuError> = None;
        loop {
            ticks.tick().await;
            if let Some(error) = without.as_ref().filter(|_| !self.gpu.is_loaded()) {
                self.timelines.miss(index, error);
                continue;
            }
            let names = until_named == 0;
            let question =
                move |session: &Session<'_>, index| sample::sample(session, index, names, seen);
            match self.gpu.ask_gpu(index, question).await {
                Ok(taken) => {
                    without = None;
                    seen = taken.seen;
                    until_named = if names { NAMED_EVERY } else { until_named } - 1;
                    self.timelines.put(index, started.elapsed(), taken);
                }
                Err(error) => {
                    until_named = 0;
                    self.timelines.miss(index, &error);
                    without = matches!(error, GpuError::Unavailable(_)).then_some(error);
                }
            }
        }
    }
}
