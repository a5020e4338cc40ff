//! One GPU as its driver would describe it.
//!
//! The structs are the schema of `[gpu]` in a profile and of `[all]` and `[[gpu]]` in a scenario. Units stand in the
//! names. There are next to no defaults: a profile says everything, and what a board has not it calls "unsupported".

pub mod affinity;
pub mod confidential;
pub mod fabric;
pub mod identity;
pub mod links;
pub mod load;
pub mod memory;
pub mod mig;
pub mod thermal;

use std::time::{Duration, Instant};

use nvml_wrapper_sys::bindings as sys;
use serde::Deserialize;

use super::code::Code;
use super::faults::Faults;
use super::reading::Reading;
use affinity::Affinity;
use confidential::{HostVgpu, Platform, ProtectedMemory, Virtualization};
use fabric::Fabric;
use identity::{ComputeMode, Identity, Pci};
use links::{NvLink, Pcie};
use load::{Clocks, Process, Utilization};
use memory::{Ecc, Memory, Repair, RetiredPages, RowRemap};
use mig::Mig;
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
    pub host_vgpu: Reading<HostVgpu>,
    pub protected_memory: Reading<ProtectedMemory>,
    pub platform: Reading<Platform>,
    pub affinity: Affinity,
    pub memory: Memory,
    pub utilization: Utilization,
    pub clocks: Clocks,
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
    #[serde(default)]
    pub faults: Faults,
}

impl Gpu {
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
