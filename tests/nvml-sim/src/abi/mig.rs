//! Multi-Instance GPU: the mode, and that there are no instances. They come with a range of handles of their own.

use nvml_wrapper_sys::bindings as sys;

use super::args::Out;
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

    device fn nvmlDeviceGetMigDeviceHandleByIndex((_, gpu), _index: u32, _handle: Out<sys::nvmlDevice_t>) {
        gpu.mig.as_ref()?;
        Err(Code::NOT_FOUND)
    }

    device fn nvmlDeviceIsMigDeviceHandle((_, _), is_mig: Out<u32>) { is_mig.set(0) }
}
