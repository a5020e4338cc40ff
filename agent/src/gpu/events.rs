//! Xids by NVML's event set: the source that needs no capability at all.
//!
//! NVML tells the GPU and the number, not the driver's words, and not everything: bus loss without an Xid, SXids and
//! several fatal Xids never come this way. Where the kernel's print is heard too, both are one event. A GPU is known by
//! the address it had when it was registered: after an Xid 79 NVML may know nothing of it any more. Under MIG the event
//! names the instances. Driver 418+ (`nvmlEventSetWait_v2`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, SystemTime},
};

use nvml_wrapper::error::NvmlError;

use super::{
    GpuError, Worker, inventory,
    raw::{XidEvent, XidEvents},
    reading::reason,
    worker::Session,
};
use crate::xid::PciAddress;

/// How long one wait in the driver is. It returns at once when an event comes.
pub const WAIT_MS: u32 = 1000;

/// One Xid that NVML told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    pub time: SystemTime,
    pub pci: Option<PciAddress>,
    pub code: u32,
    pub gpu_instance: Option<u32>,
    pub compute_instance: Option<u32>,
}

/// The GPUs that are listened to.
#[derive(Debug)]
pub struct Listener {
    events: XidEvents,
    /// By [`XidEvents::register`]'s tag: the GPU's index, and the address it had. Written by [`Listener::register`].
    devices: Mutex<BTreeMap<usize, (u32, Option<PciAddress>)>>,
}

impl Listener {
    /// Creates the event set, in which there is no GPU yet.
    pub async fn new(gpu: &Worker) -> Result<Self, GpuError> {
        let create = |session: &Session<'_>| {
            let call = "nvmlEventSetCreate";
            let events = session.progress.during(call, || XidEvents::new(session.loaded));
            events.map_err(|error| GpuError::Call { call, reason: reason(&error) })
        };
        Ok(Self { events: gpu.ask(create).await?, devices: Mutex::default() })
    }

    /// Registers those GPUs that are not, and let themselves be: one that refuses or hangs does not keep the others from
    /// being heard. How many are heard, of how many; why where it is none.
    pub async fn register(self: &Arc<Self>, gpu: &Worker) -> Result<(usize, usize), GpuError> {
        let names = gpu.names().await?;
        let count = names.len();
        let heard: BTreeSet<_> = self.lock().values().map(|(index, _)| *index).collect();
        let missing = names.into_iter().filter(|name| !heard.contains(&name.index)).collect();
        let listener = Arc::clone(self);
        let register = move |session: &Session<'_>, index| {
            let call = "nvmlDeviceRegisterEvents";
            // The set is of one library, and so has to be the device.
            if !Arc::ptr_eq(session.loaded, &listener.events.loaded) {
                let reason = "NVML was loaded anew meanwhile".to_owned();
                return Err(GpuError::Call { call, reason });
            }
            let device = inventory::device(session.nvml, session, index)?;
            let tag = session.progress.during(call, || listener.events.register(&device));
            tag.map_err(|error| GpuError::Call { call, reason: reason(&error) })
        };
        let mut refused = None;
        for (name, tag) in gpu.ask_each(missing, register).await {
            match tag {
                Ok(tag) => drop(self.lock().insert(tag, (name.index, name.pci))),
                Err(error) => refused = Some(error),
            }
        }
        let heard = self.lock().len();
        refused.filter(|_| heard == 0).map_or(Ok((heard, count)), Err)
    }

    /// Waits and tells each Xid; returns why it ended. Blocks: for a thread of its own.
    pub fn run(&self, mut tell: impl FnMut(Told)) -> String {
        loop {
            if self.is_retired() {
                return "the driver was reloaded or upgraded".to_owned();
            }
            match self.events.wait(WAIT_MS) {
                Ok(None) => {}
                Ok(Some(XidEvent { device, code, gpu_instance, compute_instance })) => {
                    let pci = self.lock().get(&device).and_then(|(_, pci)| *pci);
                    let time = SystemTime::now();
                    tell(Told { time, pci, code, gpu_instance, compute_instance });
                }
                // One GPU is gone; the others may still have something to say. Not in a spin, should it say so for ever.
                Err(NvmlError::GpuLost) => std::thread::sleep(Duration::from_millis(100)),
                Err(error) => return format!("nvmlEventSetWait_v2: {}", reason(&error)),
            }
        }
    }

    /// The library no longer fits its driver, and another is or will be loaded.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.events.loaded.retired.load(Ordering::Relaxed)
    }

    /// Gives the event set back, when nobody waits any more. That of a library that is to be shut down goes with it, and
    /// must not keep it.
    pub async fn end(self: Arc<Self>, gpu: &Worker) {
        if self.is_retired() {
            return;
        }
        let give_back = move |session: &Session<'_>| {
            if Arc::ptr_eq(session.loaded, &self.events.loaded) {
                let freed = session.progress.during("nvmlEventSetFree", || self.events.free());
                tracing::debug!(?freed, "An event set of NVML has been given back.");
            }
            Ok(())
        };
        // Where NVML does not answer there is nothing to be given back to.
        let _ = gpu.ask(give_back).await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, (u32, Option<PciAddress>)>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
