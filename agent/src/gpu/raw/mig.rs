//! How a GPU is divided by MIG, as far as nvml-wrapper does not tell it.

use std::{mem::zeroed, ptr::null_mut};

use nvml_wrapper::{
    Device,
    error::{NvmlError, nvml_sym, nvml_try},
};
use nvml_wrapper_sys::bindings::{
    nvmlGpuInstance_t, nvmlGpuInstanceInfo_t, nvmlGpuInstanceProfileInfo_v2_t,
};

use super::tag;

const _: () = assert!(tag::<nvmlGpuInstanceProfileInfo_v2_t>(2) == 0x0200_0098);
const _: () = assert!(size_of::<nvmlGpuInstanceInfo_t>() == 24);

/// A size that GPU instances of a board can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigProfile {
    /// By which instances name it.
    pub id: u32,
    /// As `nvidia-smi` has it: "MIG 3g.40gb".
    pub name: String,
    /// As many fit on an empty board.
    pub instances: u32,
}

/// A GPU instance and its place among the board's slices of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuInstance {
    pub id: u32,
    pub profile_id: u32,
    pub start: u32,
    pub size: u32,
}

/// More numbers of profiles than any driver has (17 today): a driver that refuses none is not asked for ever.
const MOST_PROFILES: u32 = 64;

/// `nvmlDeviceGetGpuInstanceProfileInfoV`, version 2 (driver 510+), for each number there is.
pub fn mig_profiles(device: &Device<'_>) -> Result<Vec<MigProfile>, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetGpuInstanceProfileInfoV.as_ref())?;
    let mut profiles = Vec::new();
    for number in 0..MOST_PROFILES {
        // SAFETY: plain numbers and a text, for all of which zero is a value.
        let mut info: nvmlGpuInstanceProfileInfo_v2_t = unsafe { zeroed() };
        info.version = tag::<nvmlGpuInstanceProfileInfo_v2_t>(2);
        // SAFETY: the struct carries the version and size it has; the handle belongs to this NVML.
        match nvml_try(unsafe { call(device.handle(), number, &raw mut info) }) {
            Ok(()) => {}
            // Of the numbers that there are, no board has all.
            Err(NvmlError::NotSupported) => continue,
            Err(NvmlError::InvalidArg) => break,
            Err(error) => return Err(error),
        }
        let name: Vec<u8> =
            info.name.iter().map(|c| c.to_ne_bytes()[0]).take_while(|byte| *byte != 0).collect();
        profiles.push(MigProfile {
            id: info.id,
            name: String::from_utf8_lossy(&name).into_owned(),
            instances: info.instanceCount,
        });
    }
    Ok(profiles)
}

/// The GPU instances of one profile, those without compute instances too. The driver tells them to UID 0 alone.
pub fn gpu_instances(
    device: &Device<'_>,
    profile: &MigProfile,
) -> Result<Vec<GpuInstance>, NvmlError> {
    let lib = device.nvml().lib();
    let list = nvml_sym(lib.nvmlDeviceGetGpuInstances.as_ref())?;
    let describe = nvml_sym(lib.nvmlGpuInstanceGetInfo.as_ref())?;
    // NVML demands room for as many as the profile has; more does no harm.
    let mut handles: Vec<nvmlGpuInstance_t> = vec![null_mut(); profile.instances.max(64) as usize];
    let mut count = 0;
    // SAFETY: the list has room for as many as the profile has instances; the handle belongs to this NVML.
    nvml_try(unsafe { list(device.handle(), profile.id, handles.as_mut_ptr(), &raw mut count) })?;
    let describe = |handle| {
        // SAFETY: plain numbers and a pointer, for all of which zero is a value.
        let mut info: nvmlGpuInstanceInfo_t = unsafe { zeroed() };
        // SAFETY: one out-parameter of the type NVML writes; the handle is one that it gave a moment ago.
        nvml_try(unsafe { describe(handle, &raw mut info) })?;
        let placement = info.placement;
        Ok(GpuInstance {
            id: info.id,
            profile_id: info.profileId,
            start: placement.start,
            size: placement.size,
        })
    };
    handles.into_iter().take(count as usize).map(describe).collect()
}

/// The ids of the instances that a MIG device is: GPU instance, compute instance.
pub fn mig_place(device: &Device<'_>) -> Result<(u32, u32), NvmlError> {
    let lib = device.nvml().lib();
    let gpu = nvml_sym(lib.nvmlDeviceGetGpuInstanceId.as_ref())?;
    let compute = nvml_sym(lib.nvmlDeviceGetComputeInstanceId.as_ref())?;
    let (mut gpu_instance, mut compute_instance) = (0, 0);
    // SAFETY: one out-parameter of the type NVML writes; the handle belongs to this NVML.
    nvml_try(unsafe { gpu(device.handle(), &raw mut gpu_instance) })?;
    // SAFETY: as above.
    nvml_try(unsafe { compute(device.handle(), &raw mut compute_instance) })?;
    Ok((gpu_instance, compute_instance))
}
