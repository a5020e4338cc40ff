//! NVML's event set.

use std::{mem::zeroed, sync::Arc};

use nvml_wrapper::{
    Device,
    error::{NvmlError, nvml_sym, nvml_try},
};
use nvml_wrapper_sys::bindings::{nvmlEventData_t, nvmlEventSet_t, nvmlEventTypeXidCriticalError};

use crate::gpu::library::Loaded;

/// NVML's event set, registered for Xids. nvmlShutdown takes it along.
#[derive(Debug)]
pub struct XidEvents {
    /// Keeps the library loaded for as long as the set is there.
    pub loaded: Arc<Loaded>,
    set: nvmlEventSet_t,
}

// SAFETY: the set is a handle that NVML, which is thread-safe, resolves; it is bound to no thread.
unsafe impl Send for XidEvents {}
// SAFETY: as above: devices may be registered while another thread waits.
unsafe impl Sync for XidEvents {}

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
    pub fn new(loaded: &Arc<Loaded>) -> Result<Self, NvmlError> {
        let call = nvml_sym(loaded.nvml.lib().nvmlEventSetCreate.as_ref())?;
        let mut set = std::ptr::null_mut();
        // SAFETY: one out-parameter of the type NVML writes.
        nvml_try(unsafe { call(&raw mut set) })?;
        Ok(Self { loaded: Arc::clone(loaded), set })
    }

    /// `nvmlDeviceRegisterEvents` for Xids; returns what stands for the device in [`XidEvent::device`]. nvml-wrapper's
    /// frees the whole set when one device refuses.
    pub fn register(&self, device: &Device<'_>) -> Result<usize, NvmlError> {
        let call = nvml_sym(self.loaded.nvml.lib().nvmlDeviceRegisterEvents.as_ref())?;
        // SAFETY: handle and set both belong to this NVML.
        nvml_try(unsafe { call(device.handle(), nvmlEventTypeXidCriticalError.into(), self.set) })?;
        // SAFETY: only its address is taken, to tell devices apart.
        Ok(unsafe { device.handle() }.addr())
    }

    /// `nvmlEventSetFree`. Nothing may wait on the set any more; waiting again is an error of NVML's.
    pub fn free(&self) -> Result<(), NvmlError> {
        let call = nvml_sym(self.loaded.nvml.lib().nvmlEventSetFree.as_ref())?;
        // SAFETY: the set belongs to this NVML, which knows its sets and refuses one that it does not have.
        nvml_try(unsafe { call(self.set) })
    }

    /// `nvmlEventSetWait_v2`: the next Xid, or `None` when the time is over.
    pub fn wait(&self, timeout_ms: u32) -> Result<Option<XidEvent>, NvmlError> {
        let call = nvml_sym(self.loaded.nvml.lib().nvmlEventSetWait_v2.as_ref())?;
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
