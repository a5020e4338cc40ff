//! What a GPU is, where newer boards have values that nvml-wrapper refuses or does not ask for.

use std::mem::zeroed;

use nvml_wrapper::{
    Device, Nvml,
    error::{NvmlError, nvml_sym, nvml_try},
};
use nvml_wrapper_sys::bindings::{
    nvmlConfComputeSystemState_t, nvmlDevice_t, nvmlMemory_t, nvmlPlatformInfo_t, nvmlReturn_t,
    nvmlSystemConfComputeSettings_t,
};

use super::tag;

const _: () = assert!(size_of::<nvmlMemory_t>() == 24);
const _: () = assert!(size_of::<nvmlConfComputeSystemState_t>() == 12);
const _: () = assert!(tag::<nvmlPlatformInfo_t>(2) == 0x0200_002c);
const _: () = assert!(tag::<nvmlSystemConfComputeSettings_t>(1) == 0x0100_0014);

/// One of NVML's many functions that tell one number of a device.
type TellsNumber = unsafe extern "C" fn(nvmlDevice_t, *mut u32) -> nvmlReturn_t;

fn number(device: &Device<'_>, call: &TellsNumber) -> Result<u32, NvmlError> {
    let mut number = 0;
    // SAFETY: one out-parameter of the type NVML writes; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), &raw mut number) })?;
    Ok(number)
}

/// `NVML_BRAND_*`.
pub fn brand(device: &Device<'_>) -> Result<u32, NvmlError> {
    number(device, nvml_sym(device.nvml().lib().nvmlDeviceGetBrand.as_ref())?)
}

/// `NVML_GPU_VIRTUALIZATION_MODE_*`.
pub fn virtualization_mode(device: &Device<'_>) -> Result<u32, NvmlError> {
    number(device, nvml_sym(device.nvml().lib().nvmlDeviceGetVirtualizationMode.as_ref())?)
}

/// `NVML_HOST_VGPU_MODE_*`.
pub fn host_vgpu_mode(device: &Device<'_>) -> Result<u32, NvmlError> {
    number(device, nvml_sym(device.nvml().lib().nvmlDeviceGetHostVgpuMode.as_ref())?)
}

/// The place of a module on its baseboard, as Xid lines and NVIDIA's tools count (driver 450+).
pub fn module_id(device: &Device<'_>) -> Result<u32, NvmlError> {
    number(device, nvml_sym(device.nvml().lib().nvmlDeviceGetModuleId.as_ref())?)
}

/// NVML's number of an `NVLink` version: 6 is 4.0.
pub fn nvlink_version(device: &Device<'_>, link: u32) -> Result<u32, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetNvLinkVersion.as_ref())?;
    let mut version = 0;
    // SAFETY: one out-parameter of the type NVML writes; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), link, &raw mut version) })?;
    Ok(version)
}

/// Whether the GPU's firmware (GSP) is in use, and whether it would be by default.
pub fn gsp_firmware_mode(device: &Device<'_>) -> Result<(bool, bool), NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetGspFirmwareMode.as_ref())?;
    let (mut enabled, mut default) = (0, 0);
    // SAFETY: two out-parameters of the type NVML writes; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), &raw mut enabled, &raw mut default) })?;
    Ok((enabled != 0, default != 0))
}

/// Where in its rack a GPU sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform {
    pub ib_guid: [u8; 16],
    /// ASCII, filled up with zeros.
    pub chassis_serial: [u8; 16],
    pub slot: u8,
    pub tray: u8,
    pub host: u8,
    pub peer_type: u8,
    pub module: u8,
}

/// `nvmlDeviceGetPlatformInfo`, version 2 (driver 565+; racks such as GB200 NVL72).
pub fn platform(device: &Device<'_>) -> Result<Platform, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetPlatformInfo.as_ref())?;
    // SAFETY: plain numbers and byte arrays, for all of which zero is a value.
    let mut info: nvmlPlatformInfo_t = unsafe { zeroed() };
    info.version = tag::<nvmlPlatformInfo_t>(2);
    // SAFETY: the struct carries the version and size it has; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), &raw mut info) })?;
    Ok(Platform {
        ib_guid: info.ibGuid,
        chassis_serial: info.chassisSerialNumber,
        slot: info.slotNumber,
        tray: info.trayIndex,
        host: info.hostId,
        peer_type: info.peerType,
        module: info.moduleId,
    })
}

/// Bytes of the memory that only a confidential virtual machine sees: all, and in use.
pub fn protected_memory(device: &Device<'_>) -> Result<(u64, u64), NvmlError> {
    let lib = device.nvml().lib();
    let call = nvml_sym(lib.nvmlDeviceGetConfComputeProtectedMemoryUsage.as_ref())?;
    let mut memory = nvmlMemory_t { total: 0, free: 0, used: 0 };
    // SAFETY: one out-parameter of the type NVML writes; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), &raw mut memory) })?;
    Ok((memory.total, memory.used))
}

/// The node's state of confidential computing, in numbers `NVML_CC_SYSTEM_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confidential {
    pub environment: u32,
    pub feature: u32,
    pub dev_tools: u32,
    /// `None` from [`confidential_state`].
    pub multi_gpu: Option<u32>,
}

/// `nvmlSystemGetConfComputeSettings` (driver 550+).
pub fn confidential_settings(nvml: &Nvml) -> Result<Confidential, NvmlError> {
    let call = nvml_sym(nvml.lib().nvmlSystemGetConfComputeSettings.as_ref())?;
    // SAFETY: plain numbers, for all of which zero is a value.
    let mut settings: nvmlSystemConfComputeSettings_t = unsafe { zeroed() };
    settings.version = tag::<nvmlSystemConfComputeSettings_t>(1);
    // SAFETY: the struct carries the version and size it has.
    nvml_try(unsafe { call(&raw mut settings) })?;
    Ok(Confidential {
        environment: settings.environment,
        feature: settings.ccFeature,
        dev_tools: settings.devToolsMode,
        multi_gpu: Some(settings.multiGpuMode),
    })
}

/// `nvmlSystemGetConfComputeState`, what there was before the settings.
pub fn confidential_state(nvml: &Nvml) -> Result<Confidential, NvmlError> {
    let call = nvml_sym(nvml.lib().nvmlSystemGetConfComputeState.as_ref())?;
    let mut state = nvmlConfComputeSystemState_t { environment: 0, ccFeature: 0, devToolsMode: 0 };
    // SAFETY: one out-parameter of the type NVML writes.
    nvml_try(unsafe { call(&raw mut state) })?;
    let (environment, feature, dev_tools) =
        (state.environment, state.ccFeature, state.devToolsMode);
    Ok(Confidential { environment, feature, dev_tools, multi_gpu: None })
}

/// Whether the GPUs take work: in a confidential virtual machine not before somebody has attested them.
pub fn confidential_ready(nvml: &Nvml) -> Result<bool, NvmlError> {
    let call = nvml_sym(nvml.lib().nvmlSystemGetConfComputeGpusReadyState.as_ref())?;
    let mut ready = 0;
    // SAFETY: one out-parameter of the type NVML writes.
    nvml_try(unsafe { call(&raw mut ready) })?;
    Ok(ready != 0)
}
