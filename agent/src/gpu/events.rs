//! Xids by NVML's event set: the source that needs no capability at all.
//!
//! NVML tells the GPU and the number, not the driver's words, and not everything: bus loss without an Xid, SXids and
//! several fatal Xids never come this way. Where the kernel's print is heard too, both are one event. A GPU is known by
//! the address it had when it was registered: after an Xid 79 NVML may know nothing of it any more. Under MIG the event
//! names the instances. Driver 418+ (`nvmlEventSetWait_v2`).

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use nvml_wrapper::error::NvmlError;

use super::{
    GpuError, inventory, pci_address,
    raw::{XidEvent, XidEvents},
    reading::reason,
    worker::Session,
};
use crate::xid::PciAddress;

/// How long one wait in the driver is. It returns at once when an event comes.
const WAIT_MS: u32 = 1000;

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
    devices: BTreeMap<usize, Option<PciAddress>>,
    /// GPUs that NVML counts.
    pub gpu_count: u32,
}

impl Listener {
    /// Registers every GPU that lets itself be. One that refuses does not keep the others from being heard.
    pub fn new(session: &Session<'_>) -> Result<Self, GpuError> {
        let failed = |call| move |error: NvmlError| GpuError::Call { call, reason: reason(&error) };
        let gpu_count = inventory::count(session)?;
        let events = session
            .progress
            .during("nvmlEventSetCreate", || XidEvents::new(session.nvml))
            .map_err(failed("nvmlEventSetCreate"))?;
        let mut devices = BTreeMap::new();
        let mut refused = None;
        for index in 0..gpu_count {
            let Ok(device) = inventory::device(session.nvml, session, index) else { continue };
            let pci = session.progress.during("nvmlDeviceGetPciInfo_v3", || device.pci_info()).ok();
            match session.progress.during("nvmlDeviceRegisterEvents", || events.register(&device)) {
                Ok(tag) => {
                    devices.insert(tag, pci.and_then(|pci| pci_address(&pci.bus_id)));
                }
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) if devices.is_empty() => Err(failed("nvmlDeviceRegisterEvents")(error)),
            _ => Ok(Self { events, devices, gpu_count }),
        }
    }

    /// How many GPUs are heard.
    #[must_use]
    pub fn heard(&self) -> usize {
        self.devices.len()
    }

    /// Waits and tells each Xid; returns why it ended. Blocks: for a thread of its own.
    pub fn run(&self, mut tell: impl FnMut(Told)) -> String {
        loop {
            match self.events.wait(WAIT_MS) {
                Ok(None) => {}
                Ok(Some(XidEvent { device, code, gpu_instance, compute_instance })) => {
                    let pci = self.devices.get(&device).copied().flatten();
                    let time = SystemTime::now();
                    tell(Told { time, pci, code, gpu_instance, compute_instance });
                }
                // One GPU is gone; the others may still have something to say. Not in a spin, should it say so for ever.
                Err(NvmlError::GpuLost) => std::thread::sleep(Duration::from_millis(100)),
                Err(error) => return format!("nvmlEventSetWait_v2: {}", reason(&error)),
            }
        }
    }
}
