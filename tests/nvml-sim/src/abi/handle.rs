//! Handles: numbers in the clothes of pointers.
//!
//! Each kind has a range of its own, so that a handle of another kind, a stale or an invented one is told apart and is
//! `INVALID_ARGUMENT` instead of a crash.

use std::ptr::without_provenance_mut;

use nvml_wrapper_sys::bindings as sys;

use super::args::{InstanceHandle, PeerHandle, SetHandle};
use crate::engine::code::Code;
use crate::engine::gpu::Gpu;
use crate::engine::gpu::mig::{GpuInstance, MigDevice};
use crate::engine::node::Node;

const GPU: usize = 0x4750_0000_0000;
const MIG: usize = 0x4d49_0000_0000;
const INSTANCE: usize = 0x4749_0000_0000;
const EVENT_SET: usize = 0x4553_0000_0000;

/// MIG devices or GPU instances of one GPU at most, in the numbers of their handles.
const MIG_DEVICES: u32 = 64;

/// The number behind a handle of the kind with this base.
fn number(handle: usize, base: usize) -> Result<u32, Code> {
    handle
        .checked_sub(base)
        .and_then(|number| u32::try_from(number).ok())
        .ok_or(Code::INVALID_ARGUMENT)
}

/// Valid for the life of the process: the same GPU has the same handle after another `nvmlInit`, as with NVML.
#[must_use]
pub fn of_gpu(gpu: &Gpu) -> sys::nvmlDevice_t {
    device(gpu.index)
}

#[must_use]
pub fn device(index: u32) -> sys::nvmlDevice_t {
    without_provenance_mut(GPU + index as usize)
}

pub fn gpu(node: &Node, handle: sys::nvmlDevice_t) -> Result<&Gpu, Code> {
    node.by_index(number(handle.addr(), GPU)?).map(Gpu::now)
}

/// The other GPU of a call about two.
pub fn peer(node: &Node, handle: PeerHandle) -> Result<&Gpu, Code> {
    node.by_index(number(handle.0, GPU)?).map(Gpu::now)
}

/// The handle of a GPU's MIG device, by its index there.
#[must_use]
pub fn of_mig_device(gpu: &Gpu, index: u32) -> sys::nvmlDevice_t {
    without_provenance_mut(MIG + (gpu.index * MIG_DEVICES + index) as usize)
}

/// What a handle of a GPU or of a MIG device stands for; its GPU in either case.
pub fn part(node: &Node, handle: sys::nvmlDevice_t) -> Result<(&Gpu, Option<MigDevice<'_>>), Code> {
    let Ok(number) = number(handle.addr(), MIG) else { return Ok((gpu(node, handle)?, None)) };
    let gpu = node.by_index(number / MIG_DEVICES)?.now();
    let device = gpu.mig.as_ref()?.devices().nth((number % MIG_DEVICES) as usize);
    Ok((gpu, Some(device.ok_or(Code::INVALID_ARGUMENT)?)))
}

/// The handle of a GPU instance, by its position in the scenario.
#[must_use]
pub fn of_gpu_instance(gpu: &Gpu, position: u32) -> sys::nvmlGpuInstance_t {
    without_provenance_mut(INSTANCE + (gpu.index * MIG_DEVICES + position) as usize)
}

pub fn gpu_instance(node: &Node, handle: InstanceHandle) -> Result<(&Gpu, &GpuInstance), Code> {
    let number = number(handle.0, INSTANCE)?;
    let gpu = node.by_index(number / MIG_DEVICES)?;
    let instance = gpu.mig.as_ref()?.instances().get((number % MIG_DEVICES) as usize);
    Ok((gpu, instance.ok_or(Code::INVALID_ARGUMENT)?))
}

#[must_use]
pub fn of_event_set(set: u32) -> sys::nvmlEventSet_t {
    without_provenance_mut(EVENT_SET + set as usize)
}

pub fn event_set(handle: SetHandle) -> Result<u32, Code> {
    number(handle.0, EVENT_SET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_do_not_mix() {
        assert_eq!(number(device(3).addr(), GPU), Ok(3));
        assert_eq!(event_set(SetHandle(of_event_set(1).addr())), Ok(1));
        assert_eq!(event_set(SetHandle(device(1).addr())), Err(Code::INVALID_ARGUMENT));
        assert_eq!(number(of_event_set(1).addr(), GPU), Err(Code::INVALID_ARGUMENT));
        assert_eq!(number(0, GPU), Err(Code::INVALID_ARGUMENT));
        assert_eq!(number(usize::MAX, EVENT_SET), Err(Code::INVALID_ARGUMENT));
    }
}
