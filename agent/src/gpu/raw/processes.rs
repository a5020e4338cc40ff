//! Who computes on a GPU.

use nvml_wrapper::{
    Device,
    error::{NvmlError, nvml_sym},
};
use nvml_wrapper_sys::bindings::{
    nvmlProcessInfo_v2_t, nvmlProcessUtilizationSample_t, nvmlReturn_t,
};

use super::list_of;

const _: () = assert!(size_of::<nvmlProcessInfo_v2_t>() == 24);
const _: () = assert!(size_of::<nvmlProcessUtilizationSample_t>() == 32);

/// NVML's three lists of processes. One process can be in several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessList {
    Compute,
    Graphics,
    /// Clients of the MPS server; the server itself is in the compute list.
    Mps,
}

/// An entry of such a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// In the PID namespace of this process.
    pub pid: u32,
    /// `None` is `NVML_VALUE_NOT_AVAILABLE`.
    pub memory_bytes: Option<u64>,
    /// MIG instances; `None` where the GPU is not divided.
    pub gpu_instance: Option<u32>,
    pub compute_instance: Option<u32>,
}

/// A sample of what a process did with a GPU: shares of the time since the sample before it, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub pid: u32,
    /// Microseconds since 1970.
    pub time_us: u64,
    pub sm: u32,
    pub memory: u32,
    pub encoder: u32,
    pub decoder: u32,
}

/// `nvmlDeviceGet…RunningProcesses_v3` (driver 510+), and its second version with the same struct where a driver has no
/// third (450+). The first had a smaller struct, under the name without a number; it is never called.
pub fn processes(device: &Device<'_>, list: ProcessList) -> Result<Vec<Listed>, NvmlError> {
    let lib = device.nvml().lib();
    let (third, second) = match list {
        ProcessList::Compute => (
            lib.nvmlDeviceGetComputeRunningProcesses_v3.as_ref(),
            lib.nvmlDeviceGetComputeRunningProcesses_v2.as_ref(),
        ),
        ProcessList::Graphics => (
            lib.nvmlDeviceGetGraphicsRunningProcesses_v3.as_ref(),
            lib.nvmlDeviceGetGraphicsRunningProcesses_v2.as_ref(),
        ),
        ProcessList::Mps => (
            lib.nvmlDeviceGetMPSComputeRunningProcesses_v3.as_ref(),
            lib.nvmlDeviceGetMPSComputeRunningProcesses_v2.as_ref(),
        ),
    };
    let ask = |call: &unsafe extern "C" fn(_, _, *mut nvmlProcessInfo_v2_t) -> nvmlReturn_t| {
        // SAFETY: the list has room for as many of this struct, which is that of both versions, as the count says; the
        // handle belongs to this NVML.
        list_of(|count, list| unsafe { call(device.handle(), count, list) })
    };
    let listed = match nvml_sym(third).and_then(ask) {
        Err(NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound) => {
            nvml_sym(second).and_then(ask)?
        }
        listed => listed?,
    };
    let known = |id| (id != u32::MAX).then_some(id);
    let listed = listed.into_iter().map(|entry: nvmlProcessInfo_v2_t| Listed {
        pid: entry.pid,
        memory_bytes: (entry.usedGpuMemory != u64::MAX).then_some(entry.usedGpuMemory),
        gpu_instance: known(entry.gpuInstanceId),
        compute_instance: known(entry.computeInstanceId),
    });
    Ok(listed.collect())
}

/// `nvmlDeviceGetProcessUtilization`: samples taken after `since_us`, microseconds since 1970, several of one process among
/// them. None, which NVML calls not found, is an empty list.
pub fn process_samples(device: &Device<'_>, since_us: u64) -> Result<Vec<Sample>, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetProcessUtilization.as_ref())?;
    // SAFETY: the list has room for as many samples as the count says; the handle belongs to this NVML.
    let samples = list_of(|count, list| unsafe { call(device.handle(), list, count, since_us) });
    let samples = match samples {
        Err(NvmlError::NotFound) => return Ok(Vec::new()),
        samples => samples?,
    };
    let samples = samples.into_iter().map(|sample: nvmlProcessUtilizationSample_t| Sample {
        pid: sample.pid,
        time_us: sample.timeStamp,
        sm: sample.smUtil,
        memory: sample.memUtil,
        encoder: sample.encUtil,
        decoder: sample.decUtil,
    });
    Ok(samples.collect())
}
