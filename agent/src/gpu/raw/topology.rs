//! How GPUs stand to each other, by numbers that newer hardware adds to.

use nvml_wrapper::{
    Device,
    error::{NvmlError, nvml_sym, nvml_try},
};
use nvml_wrapper_sys::bindings::nvmlC2cModeInfo_v1_t;

const _: () = assert!(size_of::<nvmlC2cModeInfo_v1_t>() == 4);

/// `nvmlDeviceGetTopologyCommonAncestor`: `NVML_TOPOLOGY_*`, 0 the nearest, 50 the farthest.
pub fn common_ancestor(one: &Device<'_>, other: &Device<'_>) -> Result<u32, NvmlError> {
    let call = nvml_sym(one.nvml().lib().nvmlDeviceGetTopologyCommonAncestor.as_ref())?;
    let mut level = 0;
    // SAFETY: one out-parameter of the type NVML writes; both handles belong to this NVML.
    nvml_try(unsafe { call(one.handle(), other.handle(), &raw mut level) })?;
    Ok(level)
}

/// `nvmlDeviceGetP2PStatus` for one of `NVML_P2P_CAPS_INDEX_*`: `NVML_P2P_STATUS_*`, 0 is ok.
pub fn p2p_status(one: &Device<'_>, other: &Device<'_>, capability: u32) -> Result<u32, NvmlError> {
    let call = nvml_sym(one.nvml().lib().nvmlDeviceGetP2PStatus.as_ref())?;
    let mut status = 0;
    // SAFETY: one out-parameter of the type NVML writes; both handles belong to this NVML.
    nvml_try(unsafe { call(one.handle(), other.handle(), capability, &raw mut status) })?;
    Ok(status)
}

/// `nvmlDeviceGetNvLinkRemoteDeviceType`: `NVML_NVLINK_DEVICE_TYPE_*` (driver 470+).
pub fn link_peer_kind(device: &Device<'_>, link: u32) -> Result<u32, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetNvLinkRemoteDeviceType.as_ref())?;
    let mut kind = 0;
    // SAFETY: one out-parameter of the type NVML writes; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), link, &raw mut kind) })?;
    Ok(kind)
}

/// Whether the links between the GPU's chip and the CPU's are in use (`nvmlDeviceGetC2cModeInfoV`, driver 535+).
pub fn c2c_enabled(device: &Device<'_>) -> Result<bool, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetC2cModeInfoV.as_ref())?;
    let mut mode = nvmlC2cModeInfo_v1_t { isC2cEnabled: 0 };
    // SAFETY: the struct is the one version there is, its size asserted above; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), &raw mut mode) })?;
    Ok(mode.isC2cEnabled != 0)
}
