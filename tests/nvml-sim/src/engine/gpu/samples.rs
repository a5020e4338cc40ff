//! What the driver samples by itself and keeps for a while.

use nvml_wrapper_sys::bindings as sys;
use serde::Deserialize;

use super::{Gpu, MILLISECOND_US};
use crate::engine::code::Code;
use crate::engine::reading::Reading;

/// The buffers of `nvmlDeviceGetSamples`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Samples {
    pub power: Reading<Buffer>,
    /// Of GPU, memory, encoder and decoder each.
    pub utilization: Reading<Buffer>,
    /// Of processor and memory each.
    pub clock: Reading<Buffer>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Buffer {
    pub period_ms: u64,
    pub count: u64,
}

/// The value that is sampled.
type Sampled = fn(&Gpu) -> Result<u32, Code>;

impl Gpu {
    /// What was sampled after a time and up to now, in microseconds since 1970, with the time of each. A divided GPU has no
    /// samples of utilisation.
    pub fn samples(
        &self,
        sampling: sys::nvmlSamplingType_t,
        after_us: u64,
        now_us: u64,
    ) -> Result<Vec<(u64, u32)>, Code> {
        let divided = self.mig.as_ref().is_ok_and(|mig| mig.enabled);
        let (buffer, value): (_, Sampled) = match sampling {
            sys::nvmlSamplingType_enum_NVML_TOTAL_POWER_SAMPLES => {
                (&self.samples.power, |gpu| gpu.power.instant_mw.get().or(gpu.power.usage_mw.get()))
            }
            sys::nvmlSamplingType_enum_NVML_PROCESSOR_CLK_SAMPLES => {
                (&self.samples.clock, |gpu| gpu.clocks.current.sm_mhz.get())
            }
            sys::nvmlSamplingType_enum_NVML_MEMORY_CLK_SAMPLES => {
                (&self.samples.clock, |gpu| gpu.clocks.current.memory_mhz.get())
            }
            _ if divided => return Err(Code::NOT_SUPPORTED),
            sys::nvmlSamplingType_enum_NVML_GPU_UTILIZATION_SAMPLES => {
                (&self.samples.utilization, |gpu| gpu.utilization.gpu_percent.get())
            }
            sys::nvmlSamplingType_enum_NVML_MEMORY_UTILIZATION_SAMPLES => {
                (&self.samples.utilization, |gpu| gpu.utilization.memory_percent.get())
            }
            sys::nvmlSamplingType_enum_NVML_ENC_UTILIZATION_SAMPLES => {
                (&self.samples.utilization, |gpu| gpu.utilization.encoder_percent.get())
            }
            sys::nvmlSamplingType_enum_NVML_DEC_UTILIZATION_SAMPLES => {
                (&self.samples.utilization, |gpu| gpu.utilization.decoder_percent.get())
            }
            known if known < sys::nvmlSamplingType_enum_NVML_SAMPLINGTYPE_COUNT => {
                return Err(Code::NOT_SUPPORTED);
            }
            _ => return Err(Code::INVALID_ARGUMENT),
        };
        let Buffer { period_ms, count } = buffer.get()?;
        let period = (period_ms * MILLISECOND_US).max(1);
        let newest = now_us / period;
        let times = (newest.saturating_sub(count) + 1..=newest).map(|turn| turn * period);
        times
            .filter(|time| *time > after_us)
            .map(|time| Ok((time, value(self.at(time))?)))
            .collect()
    }
}
