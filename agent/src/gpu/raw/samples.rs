//! The samples that the driver takes by itself, some seconds of them.

use nvml_wrapper::{
    Device,
    error::{NvmlError, nvml_sym},
};
use nvml_wrapper_sys::bindings::{
    nvmlSample_t, nvmlSamplingType_enum_NVML_GPU_UTILIZATION_SAMPLES,
    nvmlSamplingType_enum_NVML_MEMORY_CLK_SAMPLES,
    nvmlSamplingType_enum_NVML_MEMORY_UTILIZATION_SAMPLES,
    nvmlSamplingType_enum_NVML_PROCESSOR_CLK_SAMPLES,
    nvmlSamplingType_enum_NVML_TOTAL_POWER_SAMPLES, nvmlValueType_t,
};

use super::{fields, list_in};

const _: () = assert!(size_of::<nvmlSample_t>() == 16);

/// What the driver samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// In milliwatts.
    Power,
    /// In percent, as the next.
    GpuUtilization,
    MemoryUtilization,
    /// In MHz, as the next.
    ProcessorClock,
    MemoryClock,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampled {
    /// Microseconds since 1970.
    pub time_us: u64,
    pub value: u64,
}

/// More than the driver keeps of anything: 120 samples, where that is known. NVML fills the room it is given and does not say
/// that there was more.
const ROOM: usize = 512;

/// `nvmlDeviceGetSamples`: what was sampled after `since_us`, microseconds since 1970. None, which NVML calls not found, is an
/// empty list. A divided GPU (MIG) has no samples of utilisation.
pub fn samples(
    device: &Device<'_>,
    sampling: Sampling,
    since_us: u64,
) -> Result<Vec<Sampled>, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetSamples.as_ref())?;
    let which = match sampling {
        Sampling::Power => nvmlSamplingType_enum_NVML_TOTAL_POWER_SAMPLES,
        Sampling::GpuUtilization => nvmlSamplingType_enum_NVML_GPU_UTILIZATION_SAMPLES,
        Sampling::MemoryUtilization => nvmlSamplingType_enum_NVML_MEMORY_UTILIZATION_SAMPLES,
        Sampling::ProcessorClock => nvmlSamplingType_enum_NVML_PROCESSOR_CLK_SAMPLES,
        Sampling::MemoryClock => nvmlSamplingType_enum_NVML_MEMORY_CLK_SAMPLES,
    };
    let mut kind: nvmlValueType_t = 0;
    let listed = list_in(ROOM, |count, list: *mut nvmlSample_t| {
        // SAFETY: the list has room for as many samples as the count says, and the type of their values is written besides;
        // the handle belongs to this NVML.
        unsafe { call(device.handle(), which, since_us, &raw mut kind, count, list) }
    });
    let listed = match listed {
        Err(NvmlError::NotFound) => return Ok(Vec::new()),
        listed => listed?,
    };
    let typed = |sample: &nvmlSample_t| {
        let value = fields::typed(kind, sample.sampleValue)?.unsigned();
        let value = value.ok_or(NvmlError::UnexpectedVariant(kind))?;
        Ok(Sampled { time_us: sample.timeStamp, value })
    };
    // NVML leaves some versions' buffers with empty places.
    let taken = |sample: &&nvmlSample_t| sample.timeStamp > since_us;
    listed.iter().filter(taken).map(typed).collect()
}
