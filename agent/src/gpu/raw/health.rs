//! What health is judged by, but for memory.

use std::mem::zeroed;

use nvml_wrapper::{
    Device,
    error::{NvmlError, nvml_sym, nvml_try},
};
use nvml_wrapper_sys::bindings::{
    nvmlGpuFabricInfo_v2_t, nvmlGpuFabricInfoV_t, nvmlMarginTemperature_t,
};

use super::tag;

const _: () = assert!(tag::<nvmlGpuFabricInfo_v2_t>(2) == 0x0200_0024);
const _: () = assert!(tag::<nvmlGpuFabricInfoV_t>(3) == 0x0300_0028);
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

/// Where the GPU stands with the NVLink fabric (`nvmlDeviceGetGpuFabricInfoV`; NVSwitch systems, driver 550+).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fabric {
    /// `NVML_GPU_FABRIC_STATE_*`: 0 not supported, 1 not started, 2 in progress, 3 completed.
    pub state: u32,
    /// The return code of the registration, valid when completed.
    pub status: u32,
    /// `NVML_GPU_FABRIC_HEALTH_MASK_*`, two and four bits a field, 0 = not supported.
    pub health_mask: u32,
    /// `NVML_GPU_FABRIC_HEALTH_SUMMARY_*`: 0 not supported, 1 healthy, 2 unhealthy, 3 limited capacity. `None` from a driver that
    /// has version 2 of the struct alone.
    pub health_summary: Option<u32>,
}

/// See [`Fabric`].
pub fn fabric(device: &Device<'_>) -> Result<Fabric, NvmlError> {
    match fabric_of(device, tag::<nvmlGpuFabricInfoV_t>(3)) {
        // NVML_ERROR_ARGUMENT_VERSION_MISMATCH, which nvml-wrapper has no name for.
        Err(NvmlError::UnexpectedVariant(25)) => {
            let older = fabric_of(device, tag::<nvmlGpuFabricInfo_v2_t>(2))?;
            Ok(Fabric { health_summary: None, ..older })
        }
        answer => answer,
    }
}

fn fabric_of(device: &Device<'_>, version: u32) -> Result<Fabric, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetGpuFabricInfoV.as_ref())?;
    // SAFETY: plain numbers and byte arrays, for all of which zero is a value.
    let mut info: nvmlGpuFabricInfoV_t = unsafe { zeroed() };
    info.version = version;
    // SAFETY: NVML writes the bytes of the version asked for: this struct's, or those of its prefix; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), &raw mut info) })?;
    Ok(Fabric {
        state: info.state.into(),
        status: info.status,
        health_mask: info.healthMask,
        health_summary: Some(info.healthSummary.into()),
    })
}
