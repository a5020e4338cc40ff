//! One GPU as its driver would describe it.
//!
//! The structs are the schema of `[gpu]` in a profile and of `[all]` and `[[gpu]]` in a scenario. Units stand in the
//! names. There are next to no defaults: a profile says everything, and what a board has not it calls "unsupported".

pub mod confidential;
pub mod fabric;
pub mod identity;
pub mod links;
pub mod load;
pub mod memory;
pub mod mig;
pub mod samples;
pub mod thermal;
pub mod topology;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nvml_wrapper_sys::bindings as sys;
use serde::Deserialize;

use super::code::Code;
use super::faults::Faults;
use super::reading::Reading;
use confidential::{HostVgpu, Platform, ProtectedMemory, Virtualization};
use fabric::Fabric;
use identity::{ComputeMode, Identity, Pci};
use links::{NvLink, Pcie};
use load::{Clocks, Process, Utilization};
use memory::{Ecc, Memory, Repair, RetiredPages, RowRemap};
use mig::Mig;
use samples::Samples;
use thermal::{Power, Thermal, Throttle};
use topology::Topology;

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

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Position in NVML's order, from 0. The engine sets it.
    #[serde(skip)]
    pub index: u32,
    /// Position in the scenario, which is the index unless a GPU before it was removed. The engine sets it.
    #[serde(skip)]
    pub place: u32,
    pub identity: Identity,
    pub pci: Pci,
    pub persistence: Reading<bool>,
    pub compute_mode: Reading<ComputeMode>,
    pub virtualization: Reading<Virtualization>,
    pub host_vgpu: Reading<HostVgpu>,
    pub protected_memory: Reading<ProtectedMemory>,
    pub platform: Reading<Platform>,
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
    pub topology: Topology,
    pub mig: Reading<Mig>,
    pub recovery_action: Reading<RecoveryAction>,
    #[serde(default)]
    pub processes: Vec<Process>,
    /// Fallen off the bus while the driver was loaded: counted still, and every call about it fails with `GPU_IS_LOST`.
    #[serde(default)]
    pub lost: bool,
    /// Falls off the bus this long after `nvmlInit`, so that a client can hold a handle to it.
    pub lost_after_ms: Option<u64>,
    /// Not there when the driver looked for GPUs: from the next `nvmlInit` on it is not counted. Who has the library open
    /// meanwhile has lost it.
    #[serde(default)]
    pub removed: bool,
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
    /// Takes its index, in all that it is by turns.
    pub fn sit(&mut self, index: u32) {
        self.index = index;
        for frame in &mut self.frames {
            (frame.index, frame.place) = (index, self.place);
        }
    }

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

    /// Whether the GPU is gone, in a library open since `started`.
    #[must_use]
    pub fn is_lost(&self, started: Instant) -> bool {
        let after = self.lost_after_ms.map(Duration::from_millis);
        self.lost || after.is_some_and(|after| started.elapsed() >= after)
    }

    pub fn serial(&self) -> Result<&str, Code> {
        let serial = self.identity.serial.as_ref().ok_or(Code::NOT_SUPPORTED)?;
        serial.as_ref().map(String::as_str)
    }

    /// Whether MIG is on.
    #[must_use]
    pub fn is_divided(&self) -> bool {
        self.mig.as_ref().is_ok_and(|mig| mig.enabled)
    }

    /// ECC counters, which exist only while ECC is on.
    pub fn ecc_counters(&self) -> Result<&Ecc, Code> {
        let ecc = self.ecc.as_ref()?;
        if ecc.enabled { Ok(ecc) } else { Err(Code::NOT_SUPPORTED) }
    }
}
