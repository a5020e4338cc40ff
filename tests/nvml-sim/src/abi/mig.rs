//! Multi-Instance GPU: the mode, and the MIG devices, which have a range of handles of their own.

use nvml_wrapper_sys::bindings as sys;

use super::args::Out;
use super::handle;
use crate::engine::code::Code;

export! {
    device fn nvmlDeviceGetMigMode((_, gpu), current: Out<u32>, pending: Out<u32>) {
        let mig = gpu.mig.as_ref()?;
        current.set(mig.enabled.into())?;
        pending.set(mig.pending.into())
    }

    /// A board without MIG has a maximum of 0.
    device fn nvmlDeviceGetMaxMigDeviceCount((_, gpu), count: Out<u32>) {
        count.set(gpu.mig.as_ref().map_or(0, |mig| mig.max_devices))
    }

    device fn nvmlDeviceGetMigDeviceHandleByIndex((_, gpu), index: u32, handle: Out<sys::nvmlDevice_t>) {
        gpu.mig.as_ref()?;
        gpu.mig_devices().get(index as usize).ok_or(Code::NOT_FOUND)?;
        handle.set(handle::of_mig_device(gpu, index))
    }

    part fn nvmlDeviceIsMigDeviceHandle((_, _, mig), is_mig: Out<u32>) { is_mig.set(mig.is_some().into()) }

    part fn nvmlDeviceGetDeviceHandleFromMigDeviceHandle((_, gpu, mig), parent: Out<sys::nvmlDevice_t>) {
        mig.ok_or(Code::INVALID_ARGUMENT)?;
        parent.set(handle::of_gpu(gpu))
    }

    part fn nvmlDeviceGetGpuInstanceId((_, _, mig), id: Out<u32>) {
        id.set(mig.ok_or(Code::INVALID_ARGUMENT)?.gpu_instance)
    }

    part fn nvmlDeviceGetComputeInstanceId((_, _, mig), id: Out<u32>) {
        id.set(mig.ok_or(Code::INVALID_ARGUMENT)?.compute_instance)
    }
}
