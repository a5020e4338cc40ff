//! Where a GPU stands with the fabric that NVSwitches make of NVLinks.

use std::mem::zeroed;

use nvml_wrapper::{
    Device,
    error::{NvmlError, nvml_sym, nvml_try},
};
use nvml_wrapper_sys::bindings::{
    nvmlGpuFabricInfo_t, nvmlGpuFabricInfo_v2_t, nvmlGpuFabricInfoV_t,
};

use super::tag;
use crate::gpu::reading::is_by_design;

const _: () = assert!(size_of::<nvmlGpuFabricInfo_t>() == 28);
const _: () = assert!(tag::<nvmlGpuFabricInfo_v2_t>(2) == 0x0200_0024);
const _: () = assert!(tag::<nvmlGpuFabricInfoV_t>(3) == 0x0300_0028);

/// What [`fabric`] tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fabric {
    /// `NVML_GPU_FABRIC_STATE_*`: 0 not supported, 1 not started, 2 in progress, 3 completed.
    pub state: u32,
    /// The return code of the registration, valid when completed, as are the next two.
    pub status: u32,
    pub clique_id: u32,
    pub cluster_uuid: [u8; 16],
    /// `NVML_GPU_FABRIC_HEALTH_MASK_*`, two and four bits a field, 0 = not supported, as are all where the driver has the
    /// first version alone.
    pub health_mask: u32,
    /// `NVML_GPU_FABRIC_HEALTH_SUMMARY_*`: 0 not supported, 1 healthy, 2 unhealthy, 3 limited capacity. `None` from a driver that
    /// does not have version 3.
    pub health_summary: Option<u32>,
}

/// `nvmlDeviceGetGpuFabricInfoV` in version 3, else 2 (driver 550+), else what there was before (525+), which is the same
/// without health.
pub fn fabric(device: &Device<'_>) -> Result<Fabric, NvmlError> {
    let lacks = |error: &NvmlError| {
        // NVML_ERROR_ARGUMENT_VERSION_MISMATCH, which nvml-wrapper has no name for; what the board lacks it lacks in each.
        is_by_design(error) && !matches!(error, NvmlError::NotSupported)
    };
    match versioned(device, tag::<nvmlGpuFabricInfoV_t>(3)) {
        Err(error) if lacks(&error) => {}
        answer => return answer,
    }
    match versioned(device, tag::<nvmlGpuFabricInfo_v2_t>(2)) {
        Err(error) if lacks(&error) => first_version(device),
        answer => answer.map(|older| Fabric { health_summary: None, ..older }),
    }
}

fn versioned(device: &Device<'_>, version: u32) -> Result<Fabric, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetGpuFabricInfoV.as_ref())?;
    // SAFETY: plain numbers and byte arrays, for all of which zero is a value.
    let mut info: nvmlGpuFabricInfoV_t = unsafe { zeroed() };
    info.version = version;
    // SAFETY: NVML writes the bytes of the version asked for: this struct's, or those of its prefix; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), &raw mut info) })?;
    Ok(Fabric {
        state: info.state.into(),
        status: info.status,
        clique_id: info.cliqueId,
        cluster_uuid: info.clusterUuid,
        health_mask: info.healthMask,
        health_summary: Some(info.healthSummary.into()),
    })
}

fn first_version(device: &Device<'_>) -> Result<Fabric, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetGpuFabricInfo.as_ref())?;
    // SAFETY: plain numbers and byte arrays, for all of which zero is a value.
    let mut info: nvmlGpuFabricInfo_t = unsafe { zeroed() };
    // SAFETY: the struct has the size that the function, which has one version, writes; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), &raw mut info) })?;
    Ok(Fabric {
        state: info.state.into(),
        status: info.status,
        clique_id: info.cliqueId,
        cluster_uuid: info.clusterUuid,
        ..Fabric::default()
    })
}
