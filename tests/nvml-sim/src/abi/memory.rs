//! How much memory there is and how full it is.

use nvml_wrapper_sys::bindings as sys;

use super::args::{Out, Tagged, Versioned as _};
use crate::engine::gpu::Gpu;
use crate::engine::gpu::mig::MigDevice;

const _: () = assert!(size_of::<sys::nvmlMemory_t>() == 24, "not the size NVML documents");
const _: () = assert!(size_of::<sys::nvmlBAR1Memory_t>() == 24, "not the size NVML documents");

/// Total, reserved and used bytes of a GPU, or of the GPU instance that a MIG device is in, which has nothing reserved.
fn figures(gpu: &Gpu, mig: Option<MigDevice<'_>>) -> [u64; 3] {
    match mig {
        Some(mig) => [mig.total_bytes(), 0, mig.instance.used_bytes],
        None => [gpu.memory.total_bytes, gpu.memory.reserved_bytes, gpu.memory.used_bytes],
    }
}

export! {
    /// The first version counts what is reserved as used.
    part fn nvmlDeviceGetMemoryInfo((_, gpu, mig), memory: Out<sys::nvmlMemory_t>) {
        let [total, reserved, used] = figures(gpu, mig);
        memory.set(sys::nvmlMemory_t { total, free: total - reserved - used, used: reserved + used })
    }

    part fn nvmlDeviceGetMemoryInfo_v2((_, gpu, mig), memory: Tagged<sys::nvmlMemory_v2_t>) {
        let [total, reserved, used] = figures(gpu, mig);
        let version = sys::nvmlMemory_v2_t::TAG;
        memory.set(sys::nvmlMemory_v2_t { version, total, reserved, free: total - reserved - used, used })
    }

    device fn nvmlDeviceGetBAR1MemoryInfo((_, gpu), memory: Out<sys::nvmlBAR1Memory_t>) {
        let (total, used) = (gpu.memory.bar1_total_bytes, gpu.memory.bar1_used_bytes);
        memory.set(sys::nvmlBAR1Memory_t { bar1Total: total, bar1Free: total - used, bar1Used: used })
    }

    device fn nvmlDeviceGetMemoryBusWidth((_, gpu), width: Out<u32>) {
        width.set(gpu.memory.bus_width_bits.get()?)
    }
}
