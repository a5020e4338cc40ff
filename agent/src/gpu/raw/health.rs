//! What health is judged by.

use std::mem::zeroed;

use nvml_wrapper::{
    Device,
    error::{NvmlError, nvml_sym, nvml_try},
};
use nvml_wrapper_sys::bindings::{
    field_id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, nvmlGpuFabricInfo_v2_t, nvmlGpuFabricInfoV_t,
    nvmlMarginTemperature_t,
};

use super::{
    fields::{Field, field_value},
    tag,
};

const _: () = assert!(tag::<nvmlGpuFabricInfo_v2_t>(2) == 0x0200_0024);
const _: () = assert!(tag::<nvmlMarginTemperature_t>(1) == 0x0100_0008);

/// Row remapping of HBM, as counts since manufacture and two flags (A100 and later; driver 450+; not while MIG instances exist).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemappedRows {
    pub correctable: u32,
    pub uncorrectable: u32,
    /// A remapping waits for the next GPU reset.
    pub pending: bool,
    /// A remapping failed: the spare rows of a bank are used up.
    pub failed: bool,
}

/// `nvmlDeviceGetRemappedRows`.
pub fn remapped_rows(device: &Device<'_>) -> Result<RemappedRows, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetRemappedRows.as_ref())?;
    let (mut correctable, mut uncorrectable, mut pending, mut failed) = (0, 0, 0, 0);
    // SAFETY: four out-parameters of the type NVML writes, alive during the call; the handle belongs to this NVML.
    nvml_try(unsafe {
        call(
            device.handle(),
            &raw mut correctable,
            &raw mut uncorrectable,
            &raw mut pending,
            &raw mut failed,
        )
    })?;
    Ok(RemappedRows { correctable, uncorrectable, pending: pending != 0, failed: failed != 0 })
}

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

/// The driver's own verdict on what the GPU needs: 0 none, 1 GPU reset, 2 node reboot, 3 drain P2P, 4 drain and reset
/// (`NVML_FI_DEV_GET_GPU_RECOVERY_ACTION`; driver 570+; the number of Xid 154).
pub fn recovery_action(device: &Device<'_>) -> Result<u32, NvmlError> {
    let field = Field { id: NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, scope: 0 };
    let action = field_value(device, field)?.unsigned();
    action.and_then(|action| u32::try_from(action).ok()).ok_or(NvmlError::Unknown)
}

/// Where the GPU stands with the NVLink fabric (`nvmlDeviceGetGpuFabricInfoV`, version 2; NVSwitch systems, driver 550+).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fabric {
    /// `NVML_GPU_FABRIC_STATE_*`: 0 not supported, 1 not started, 2 in progress, 3 completed.
    pub state: u32,
    /// The return code of the registration, valid when completed.
    pub status: u32,
    /// `NVML_GPU_FABRIC_HEALTH_MASK_*`, two and four bits a field, 0 = not supported.
    pub health_mask: u32,
}

/// See [`Fabric`].
pub fn fabric(device: &Device<'_>) -> Result<Fabric, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetGpuFabricInfoV.as_ref())?;
    // The largest version is what the binding's pointer type asks for; version 2 is its prefix and what 550 knows.
    // SAFETY: plain numbers and byte arrays, for all of which zero is a value.
    let mut info: nvmlGpuFabricInfoV_t = unsafe { zeroed() };
    info.version = tag::<nvmlGpuFabricInfo_v2_t>(2);
    // SAFETY: NVML writes the bytes of the version asked for, which this struct has; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), &raw mut info) })?;
    Ok(Fabric { state: info.state.into(), status: info.status, health_mask: info.healthMask })
}
