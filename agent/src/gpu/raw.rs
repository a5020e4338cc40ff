//! The NVML calls that nvml-wrapper does not wrap: all of this room's `unsafe` but one symbol look-up.
//!
//! Each function takes its symbol through `.as_ref()`, so that a driver too old to have it is an error and not a panic,
//! and each versioned struct carries the tag NVML expects: its size, and its version in the top byte.

use std::mem::{size_of, zeroed};

use nvml_wrapper::{
    Device, Nvml,
    error::{NvmlError, nvml_sym, nvml_try},
};
use nvml_wrapper_sys::bindings::{
    field_id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, nvmlEventData_t, nvmlEventSet_t,
    nvmlEventTypeXidCriticalError, nvmlFieldValue_t, nvmlGpuFabricInfo_v2_t, nvmlGpuFabricInfoV_t,
    nvmlMarginTemperature_t,
};

/// `NVML_STRUCT_VERSION` of nvml.h.
#[expect(
    clippy::cast_possible_truncation,
    reason = "no NVML struct is larger than 16 MiB: its size has 24 bits"
)]
const fn tag<T>(version: u32) -> u32 {
    size_of::<T>() as u32 | version << 24
}

const _: () = assert!(tag::<nvmlGpuFabricInfo_v2_t>(2) == 0x0200_0024);
const _: () = assert!(tag::<nvmlMarginTemperature_t>(1) == 0x0100_0008);
const _: () = assert!(size_of::<nvmlFieldValue_t>() == 40);

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
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetFieldValues.as_ref())?;
    // SAFETY: plain numbers and a union of numbers, for all of which zero is a value.
    let mut field: nvmlFieldValue_t = unsafe { zeroed() };
    field.fieldId = NVML_FI_DEV_GET_GPU_RECOVERY_ACTION;
    // SAFETY: one element and a count of one; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), 1, &raw mut field) })?;
    nvml_try(field.nvmlReturn)?;
    // SAFETY: every member of the union starts at its first byte, so the first four bytes are initialised.
    Ok(unsafe { field.value.uiVal })
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

/// NVML's event set, registered for Xids. Lives as long as the process: freeing it could hang, and nothing would be won.
#[derive(Debug)]
pub struct XidEvents {
    nvml: &'static Nvml,
    set: nvmlEventSet_t,
}

// SAFETY: the set is a handle that NVML, which is thread-safe, resolves; it is bound to no thread and never freed.
unsafe impl Send for XidEvents {}

/// One Xid as NVML tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XidEvent {
    /// Which of the devices that were registered, by [`XidEvents::register`]'s tag.
    pub device: usize,
    pub code: u32,
    /// MIG instances, where the driver can tell them.
    pub gpu_instance: Option<u32>,
    pub compute_instance: Option<u32>,
}

impl XidEvents {
    /// `nvmlEventSetCreate`.
    pub fn new(nvml: &'static Nvml) -> Result<Self, NvmlError> {
        let call = nvml_sym(nvml.lib().nvmlEventSetCreate.as_ref())?;
        let mut set = std::ptr::null_mut();
        // SAFETY: one out-parameter of the type NVML writes.
        nvml_try(unsafe { call(&raw mut set) })?;
        Ok(Self { nvml, set })
    }

    /// `nvmlDeviceRegisterEvents` for Xids; returns what stands for the device in [`XidEvent::device`]. nvml-wrapper's
    /// frees the whole set when one device refuses.
    pub fn register(&self, device: &Device<'_>) -> Result<usize, NvmlError> {
        let call = nvml_sym(self.nvml.lib().nvmlDeviceRegisterEvents.as_ref())?;
        // SAFETY: handle and set both belong to this NVML.
        nvml_try(unsafe { call(device.handle(), nvmlEventTypeXidCriticalError.into(), self.set) })?;
        // SAFETY: only its address is taken, to tell devices apart.
        Ok(unsafe { device.handle() }.addr())
    }

    /// `nvmlEventSetWait_v2`: the next Xid, or `None` when the time is over.
    pub fn wait(&self, timeout_ms: u32) -> Result<Option<XidEvent>, NvmlError> {
        let call = nvml_sym(self.nvml.lib().nvmlEventSetWait_v2.as_ref())?;
        // SAFETY: plain numbers and a pointer, for all of which zero is a value.
        let mut data: nvmlEventData_t = unsafe { zeroed() };
        // SAFETY: the set belongs to this NVML, and data is the struct that version 2 writes.
        match nvml_try(unsafe { call(self.set, &raw mut data, timeout_ms) }) {
            Err(NvmlError::Timeout) => return Ok(None),
            answer => answer?,
        }
        let instance = |id| (id != u32::MAX).then_some(id);
        let xid = data.eventType & u64::from(nvmlEventTypeXidCriticalError) != 0;
        Ok(xid.then(|| XidEvent {
            device: data.device.addr(),
            code: u32::try_from(data.eventData).unwrap_or(u32::MAX),
            gpu_instance: instance(data.gpuInstanceId),
            compute_instance: instance(data.computeInstanceId),
        }))
    }
}

/// NVML's number for the architecture; nvml-wrapper refuses those newer than itself.
pub fn architecture(device: &Device<'_>) -> Result<u32, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetArchitecture.as_ref())?;
    let mut number = 0;
    // SAFETY: one out-parameter of the type NVML writes; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), &raw mut number) })?;
    Ok(number)
}
