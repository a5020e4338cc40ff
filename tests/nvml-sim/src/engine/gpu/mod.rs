//! One GPU as its driver would describe it.
//!
//! The structs are the schema of `[gpu]` in a profile and of `[all]` and `[[gpu]]` in a scenario. Units stand in the
//! names. There are next to no defaults: a profile says everything, and what a board has not it calls "unsupported".

pub mod fabric;
pub mod identity;
pub mod links;
pub mod load;
pub mod memory;
pub mod samples;
pub mod thermal;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nvml_wrapper_sys::bindings as sys;
use serde::Deserialize;

use super::code::Code;
use super::faults::Faults;
use super::reading::Reading;
use fabric::Fabric;
use identity::{ComputeMode, Identity, Pci, Virtualization};
use links::{NvLink, Pcie};
use load::{Clocks, Process, Utilization};
use memory::{Ecc, Memory, Repair, RetiredPages, RowRemap};
use samples::Samples;
use thermal::{Power, Thermal, Throttle};

named! {
    /// What the driver asks the operator to do, `NVML_FI_DEV_GET_GPU_RECOVERY_ACTION`.
    RecoveryAction: sys::nvmlDeviceGpuRecoveryAction_s {
        "none" = sys::nvmlDeviceGpuRecoveryAction_s_NVML_GPU_RECOVERY_ACTION_NONE,
        "gpu_reset" = sys::nvmlDeviceGpuRecoveryAction_s_NVML_GPU_RECOVERY_ACTION_GPU_RESET,
        "node_reboot" = sys::nvmlDeviceGpuRecoveryAction_s_NVML_GPU_RECOVERY_ACTION_NODE_REBOOT,
        "drain_p2p" = sys::nvmlDeviceGpuRecoveryAction_s_NVML_GPU_RECOVERY_ACTION_DRAIN_P2P,
        "drain_and_reset" = sys::nvmlDeviceGpuRecoveryAction_s_NVML_GPU_RECOVERY_ACTION_DRAIN_AND_RESET,
    }
}

/// Multi-Instance GPU.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Mig {
    pub enabled: bool,
    pub pending: bool,
    pub max_devices: u32,
    /// By NVML's index of MIG devices; there while MIG is enabled.
    #[serde(default)]
    pub devices: Vec<MigDevice>,
}

/// A compute instance in a GPU instance, which NVML has a handle for as for a GPU.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct MigDevice {
    pub uuid: String,
    pub gpu_instance: u32,
    pub compute_instance: u32,
}

impl MigDevice {
    #[must_use]
    pub fn instance(&self) -> Instance {
        Instance { gpu_instance: self.gpu_instance, compute_instance: self.compute_instance }
    }
}

/// A place on a divided GPU.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    pub gpu_instance: u32,
    pub compute_instance: u32,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Position in NVML's order, from 0. The engine sets it.
    #[serde(skip)]
    pub index: u32,
    pub identity: Identity,
    pub pci: Pci,
    pub persistence: Reading<bool>,
    pub compute_mode: Reading<ComputeMode>,
    pub virtualization: Reading<Virtualization>,
    pub memory: Memory,
    pub utilization: Utilization,
    pub clocks: Clocks,
    pub samples: Samples,
    pub thermal: Thermal,
    pub power: Power,
    pub throttle: Throttle,
    pub ecc: Reading<Ecc>,
    pub row_remap: Reading<RowRemap>,
    pub retired_pages: Reading<RetiredPages>,
    pub repair: Reading<Repair>,
    pub pcie: Pcie,
    pub nvlink: Reading<NvLink>,
    pub fabric: Reading<Fabric>,
    pub mig: Reading<Mig>,
    pub recovery_action: Reading<RecoveryAction>,
    #[serde(default)]
    pub processes: Vec<Process>,
    /// Fallen off the bus: every call about this GPU fails with `GPU_IS_LOST`.
    #[serde(default)]
    pub lost: bool,
    /// Falls off the bus this long after `nvmlInit`, so that a client can hold a handle to it.
    pub lost_after_ms: Option<u64>,
    /// What it is by turns, see [`Gpu::at`]. The scenario makes them of `frames`.
    #[serde(skip)]
    pub frames: Vec<Gpu>,
    #[serde(default = "second")]
    pub frame_ms: u64,
    #[serde(default)]
    pub faults: Faults,
}

fn second() -> u64 {
    1000
}

/// Microseconds.
const MILLISECOND_US: u64 = 1000;

impl Gpu {
    /// What it is at a time, in microseconds since 1970: one frame after the other, each for `frame_ms`, and then from the
    /// first on again.
    #[must_use]
    pub fn at(&self, time_us: u64) -> &Self {
        let turn = time_us / (self.frame_ms * MILLISECOND_US).max(1);
        let frames = self.frames.len() as u64;
        let frame = turn.checked_rem(frames).and_then(|frame| usize::try_from(frame).ok());
        frame.and_then(|frame| self.frames.get(frame)).unwrap_or(self)
    }

    /// What it is now.
    #[must_use]
    pub fn now(&self) -> &Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.at(u64::try_from(since.as_micros()).unwrap_or(0))
    }

    /// Lets the faults of `symbol` strike, and refuses when the GPU is gone.
    pub fn reach(&self, symbol: &str, started: Instant) -> Result<(), Code> {
        self.faults.strike(symbol)?;
        let lost = self.lost
            || self
                .lost_after_ms
                .is_some_and(|after| started.elapsed() >= Duration::from_millis(after));
        if lost { Err(Code::GPU_IS_LOST) } else { Ok(()) }
    }

    pub fn serial(&self) -> Result<&str, Code> {
        let serial = self.identity.serial.as_ref().ok_or(Code::NOT_SUPPORTED)?;
        serial.as_ref().map(String::as_str)
    }

    /// The MIG devices there are.
    pub fn mig_devices(&self) -> &[MigDevice] {
        self.mig.as_ref().ok().filter(|mig| mig.enabled).map_or(&[], |mig| &mig.devices)
    }

    /// ECC counters, which exist only while ECC is on.
    pub fn ecc_counters(&self) -> Result<&Ecc, Code> {
        let ecc = self.ecc.as_ref()?;
        if ecc.enabled { Ok(ecc) } else { Err(Code::NOT_SUPPORTED) }
    }
}
