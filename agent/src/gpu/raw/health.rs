//! What health is judged by, but for memory.

use nvml_wrapper::{
    Device,
    error::{NvmlError, nvml_sym, nvml_try},
};
use nvml_wrapper_sys::bindings::nvmlMarginTemperature_t;

use super::tag;

const _: () = assert!(tag::<nvmlMarginTemperature_t>(1) == 0x0100_0008);

/// Why the clocks are where they are: the bits of `nvmlClocksEventReasons` (driver 535+; the older
/// `nvmlDeviceGetCurrentClocksThrottleReasons` has the same bits and is asked where the new name is absent).
pub fn clocks_event_reasons(device: &Device<'_>) -> Result<u64, NvmlError> {
    let lib = device.nvml().lib();
    let call = match lib.nvmlDeviceGetCurrentClocksEventReasons.as_ref() {
        Ok(call) => call,
        Err(_) => nvml_sym(lib.nvmlDeviceGetCurrentClocksThrottleReasons.as_ref())?,
    };
    let mut bits = 0;
    // SAFETY: one out-parameter of the type NVML writes; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), &raw mut bits) })?;
    Ok(bits)
}

/// Degrees left before the clocks are slowed down for heat (T.Limit; H100 and later, driver 550+).
pub fn margin_celsius(device: &Device<'_>) -> Result<i32, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetMarginTemperature.as_ref())?;
    let mut margin = nvmlMarginTemperature_t {
        version: tag::<nvmlMarginTemperature_t>(1),
        marginTemperature: 0,
    };
    // SAFETY: the struct carries the version and size it has; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), &raw mut margin) })?;
    Ok(margin.marginTemperature)
}

/// What the GPU could do in a slot that can do anything, as opposed to `nvmlDeviceGetMaxPcieLinkGeneration`.
pub fn pcie_generation_max_of_gpu(device: &Device<'_>) -> Result<u32, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetGpuMaxPcieLinkGeneration.as_ref())?;
    let mut generation = 0;
    // SAFETY: one out-parameter of the type NVML writes; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), &raw mut generation) })?;
    Ok(generation)
}
