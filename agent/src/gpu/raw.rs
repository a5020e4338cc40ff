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
    nvmlMarginTemperature_t, nvmlProcessInfo_v2_t, nvmlProcessUtilizationSample_t, nvmlReturn_t,
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
const _: () = assert!(size_of::<nvmlProcessInfo_v2_t>() == 24);
const _: () = assert!(size_of::<nvmlProcessUtilizationSample_t>() == 32);

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

/// NVML's three lists of processes. One process can be in several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessList {
    Compute,
    Graphics,
    /// Clients of the MPS server; the server itself is in the compute list.
    Mps,
}

/// An entry of such a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// In the PID namespace of this process.
    pub pid: u32,
    /// `None` is `NVML_VALUE_NOT_AVAILABLE`.
    pub memory_bytes: Option<u64>,
    /// MIG instances; `None` where the GPU is not divided.
    pub gpu_instance: Option<u32>,
    pub compute_instance: Option<u32>,
}

/// A sample of what a process did with a GPU: shares of the time since the sample before it, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub pid: u32,
    /// Microseconds since 1970.
    pub time_us: u64,
    pub sm: u32,
    pub memory: u32,
    pub encoder: u32,
    pub decoder: u32,
}

/// `nvmlDeviceGet…RunningProcesses_v3` (driver 510+), and its second version with the same struct where a driver has no
/// third (450+). The first had a smaller struct, under the name without a number; it is never called.
pub fn processes(device: &Device<'_>, list: ProcessList) -> Result<Vec<Listed>, NvmlError> {
    let lib = device.nvml().lib();
    let (third, second) = match list {
        ProcessList::Compute => (
            lib.nvmlDeviceGetComputeRunningProcesses_v3.as_ref(),
            lib.nvmlDeviceGetComputeRunningProcesses_v2.as_ref(),
        ),
        ProcessList::Graphics => (
            lib.nvmlDeviceGetGraphicsRunningProcesses_v3.as_ref(),
            lib.nvmlDeviceGetGraphicsRunningProcesses_v2.as_ref(),
        ),
        ProcessList::Mps => (
            lib.nvmlDeviceGetMPSComputeRunningProcesses_v3.as_ref(),
            lib.nvmlDeviceGetMPSComputeRunningProcesses_v2.as_ref(),
        ),
    };
    let ask = |call: &unsafe extern "C" fn(_, _, *mut nvmlProcessInfo_v2_t) -> nvmlReturn_t| {
        // SAFETY: the list has room for as many of this struct, which is that of both versions, as the count says; the
        // handle belongs to this NVML.
        list_of(|count, list| unsafe { call(device.handle(), count, list) })
    };
    let listed = match nvml_sym(third).and_then(ask) {
        Err(NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound) => {
            nvml_sym(second).and_then(ask)?
        }
        listed => listed?,
    };
    let known = |id| (id != u32::MAX).then_some(id);
    let listed = listed.into_iter().map(|entry: nvmlProcessInfo_v2_t| Listed {
        pid: entry.pid,
        memory_bytes: (entry.usedGpuMemory != u64::MAX).then_some(entry.usedGpuMemory),
        gpu_instance: known(entry.gpuInstanceId),
        compute_instance: known(entry.computeInstanceId),
    });
    Ok(listed.collect())
}

/// `nvmlDeviceGetProcessUtilization`: samples taken after `since_us`, microseconds since 1970, several of one process among
/// them. None, which NVML calls not found, is an empty list.
pub fn process_samples(device: &Device<'_>, since_us: u64) -> Result<Vec<Sample>, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetProcessUtilization.as_ref())?;
    // SAFETY: the list has room for as many samples as the count says; the handle belongs to this NVML.
    let samples = list_of(|count, list| unsafe { call(device.handle(), list, count, since_us) });
    let samples = match samples {
        Err(NvmlError::NotFound) => return Ok(Vec::new()),
        samples => samples?,
    };
    let samples = samples.into_iter().map(|sample: nvmlProcessUtilizationSample_t| Sample {
        pid: sample.pid,
        time_us: sample.timeStamp,
        sm: sample.smUtil,
        memory: sample.memUtil,
        encoder: sample.encUtil,
        decoder: sample.decUtil,
    });
    Ok(samples.collect())
}

/// Lists are asked for with room for this many more than NVML said: they grow between two calls.
const HEADROOM: usize = 64;
/// No list of processes is longer; a driver that asks for more room is not obeyed.
const MOST: usize = 1 << 16;

/// A list that NVML writes, with room at first for [`HEADROOM`] and then for as many as it says there are, and more. One
/// that outgrows its room eight times is [`NvmlError::InsufficientSize`].
fn list_of<T: Copy>(
    mut fill: impl FnMut(*mut u32, *mut T) -> nvmlReturn_t,
) -> Result<Vec<T>, NvmlError> {
    let mut room = HEADROOM;
    for _ in 0..8 {
        let mut list: Vec<T> = Vec::with_capacity(room);
        let mut count = u32::try_from(room).unwrap_or(u32::MAX);
        match nvml_try(fill(&raw mut count, list.as_mut_ptr())) {
            Err(NvmlError::InsufficientSize(_)) => {
                room = (count as usize).max(room).min(MOST) + HEADROOM;
            }
            Err(error) => return Err(error),
            Ok(()) => {
                // SAFETY: NVML has written as many as it says, and never more than there was room for.
                unsafe { list.set_len((count as usize).min(room)) };
                return Ok(list);
            }
        }
    }
    Err(NvmlError::InsufficientSize(None))
}
