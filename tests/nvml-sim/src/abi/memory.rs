//! How much memory there is and how full it is.

use nvml_wrapper_sys::bindings as sys;

use super::args::{Out, Tagged, Versioned as _};

const _: () = assert!(size_of::<sys::nvmlMemory_t>() == 24, "not the size NVML documents");
const _: () = assert!(size_of::<sys::nvmlBAR1Memory_t>() == 24, "not the size NVML documents");

export! {
    /// The first version counts what is reserved as used.
    device fn nvmlDeviceGetMemoryInfo((_, gpu), memory: Out<sys::nvmlMemory_t>) {
        let (total, free) = (gpu.memory.total_bytes, gpu.memory.free_bytes());
        memory.set(sys::nvmlMemory_t { total, free, used: total - free })
    }

    device fn nvmlDeviceGetMemoryInfo_v2((_, gpu), memory: Tagged<sys::nvmlMemory_v2_t>) {
        memory.set(sys::nvmlMemory_v2_t {
            version: sys::nvmlMemory_v2_t::TAG,
            total: gpu.memory.total_bytes,
            reserved: gpu.memory.reserved_bytes,
            free: gpu.memory.free_bytes(),
            used: gpu.memory.used_bytes,
        })
    }

    device fn nvmlDeviceGetBAR1MemoryInfo((_, gpu), memory: Out<sys::nvmlBAR1Memory_t>) {
        let (total, used) = (gpu.memory.bar1_total_bytes, gpu.memory.bar1_used_bytes);
        memory.set(sys::nvmlBAR1Memory_t { bar1Total: total, bar1Free: total - used, bar1Used: used })
    }

    device fn nvmlDeviceGetMemoryBusWidth((_, gpu), width: Out<u32>) {
        width.set(gpu.memory.bus_width_bits.get()?)
    }
}
