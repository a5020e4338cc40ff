//! What a GPU is doing: utilisation, clocks, the processes on it.

use nvml_wrapper_sys::bindings as sys;
use serde::Deserialize;

use crate::engine::code::Code;
use crate::engine::gpu::mig::Instance;
use crate::engine::reading::Reading;

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Utilization {
    pub gpu_percent: Reading<u32>,
    pub memory_percent: Reading<u32>,
    pub encoder_percent: Reading<u32>,
    pub decoder_percent: Reading<u32>,
}

/// Clocks and the performance state they belong to.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Clocks {
    /// P0 is 0.
    pub performance_state: Reading<u32>,
    pub current: ClockSet,
    pub max: ClockSet,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ClockSet {
    pub graphics_mhz: Reading<u32>,
    pub sm_mhz: Reading<u32>,
    pub memory_mhz: Reading<u32>,
    pub video_mhz: Reading<u32>,
}

impl ClockSet {
    /// By NVML's number of the clock domain.
    pub fn domain(&self, domain: sys::nvmlClockType_t) -> Result<u32, Code> {
        match domain {
            sys::nvmlClockType_enum_NVML_CLOCK_GRAPHICS => self.graphics_mhz.get(),
            sys::nvmlClockType_enum_NVML_CLOCK_SM => self.sm_mhz.get(),
            sys::nvmlClockType_enum_NVML_CLOCK_MEM => self.memory_mhz.get(),
            sys::nvmlClockType_enum_NVML_CLOCK_VIDEO => self.video_mhz.get(),
            _ => Err(Code::INVALID_ARGUMENT),
        }
    }
}

/// Which of NVML's three lists a process is in.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum ProcessKind {
    Compute,
    Graphics,
    Mps,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Process {
    pub pid: u32,
    #[serde(default = "Process::compute")]
    pub kind: ProcessKind,
    /// What `nvmlSystemGetProcessName` says; left out, the process is gone by then.
    pub name: Option<String>,
    /// Absent, whatever the code, it is `NVML_VALUE_NOT_AVAILABLE`.
    pub used_bytes: Reading<u64>,
    /// Where on a divided GPU.
    pub mig: Option<Instance>,
    /// It is in its list from the call after this many of that list on: the list grows while a client asks how long it is.
    #[serde(default)]
    pub after_calls: u32,
    /// Left out, the process is in no utilisation sample.
    pub sm_percent: Option<u32>,
    #[serde(default)]
    pub memory_percent: u32,
}

impl Process {
    fn compute() -> ProcessKind {
        ProcessKind::Compute
    }
}
