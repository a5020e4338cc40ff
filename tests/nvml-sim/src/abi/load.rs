//! How busy a GPU is and at what clocks.

use nvml_wrapper_sys::bindings as sys;

use super::args::Out;
use crate::engine::code::Code;
use crate::engine::gpu::Gpu;
use crate::engine::gpu::load::Utilization;

/// Over how long encoder and decoder are averaged; a plausible figure, which NVML leaves to the board.
const SAMPLING_PERIOD_US: u32 = 167_000;

/// A divided GPU has no utilisation.
fn of_whole(gpu: &Gpu) -> Result<&Utilization, Code> {
    if gpu.is_divided() { Err(Code::NOT_SUPPORTED) } else { Ok(&gpu.utilization) }
}

export! {
    /// A divided GPU has none.
    device fn nvmlDeviceGetUtilizationRates((_, gpu), utilization: Out<sys::nvmlUtilization_t>) {
        let gpu = of_whole(gpu)?;
        utilization.set(sys::nvmlUtilization_t { gpu: gpu.gpu_percent.get()?, memory: gpu.memory_percent.get()? })
    }

    device fn nvmlDeviceGetEncoderUtilization((_, gpu), percent: Out<u32>, period_us: Out<u32>) {
        percent.set(of_whole(gpu)?.encoder_percent.get()?)?;
        period_us.set(SAMPLING_PERIOD_US)
    }

    device fn nvmlDeviceGetDecoderUtilization((_, gpu), percent: Out<u32>, period_us: Out<u32>) {
        percent.set(of_whole(gpu)?.decoder_percent.get()?)?;
        period_us.set(SAMPLING_PERIOD_US)
    }

    device fn nvmlDeviceGetPerformanceState((_, gpu), state: Out<sys::nvmlPstates_t>) {
        state.set(gpu.clocks.performance_state.get()?)
    }

    /// The older name of the same.
    device fn nvmlDeviceGetPowerState((_, gpu), state: Out<sys::nvmlPstates_t>) {
        state.set(gpu.clocks.performance_state.get()?)
    }

    device fn nvmlDeviceGetClockInfo((_, gpu), domain: sys::nvmlClockType_t, mhz: Out<u32>) {
        mhz.set(gpu.clocks.current.domain(domain)?)
    }

    device fn nvmlDeviceGetMaxClockInfo((_, gpu), domain: sys::nvmlClockType_t, mhz: Out<u32>) {
        mhz.set(gpu.clocks.max.domain(domain)?)
    }

    /// Current and customer-boost maximum; targets set by applications are not simulated.
    device fn nvmlDeviceGetClock(
        (_, gpu), domain: sys::nvmlClockType_t, which: sys::nvmlClockId_t, mhz: Out<u32>,
    ) {
        mhz.set(match which {
            sys::nvmlClockId_enum_NVML_CLOCK_ID_CURRENT => gpu.clocks.current.domain(domain)?,
            sys::nvmlClockId_enum_NVML_CLOCK_ID_CUSTOMER_BOOST_MAX => gpu.clocks.max.domain(domain)?,
            known if known < sys::nvmlClockId_enum_NVML_CLOCK_ID_COUNT => return Err(Code::NOT_SUPPORTED),
            _ => return Err(Code::INVALID_ARGUMENT),
        })
    }
}
