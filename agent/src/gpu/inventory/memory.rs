//! What memory a GPU has, and the windows onto it.

use nvml_wrapper::Device;

use crate::gpu::{raw, reading::Reader};

/// Of the GPU's own memory, from the second version of the call: `reserved` is what driver and firmware keep, and is in
/// neither of the others, so that `used` is what `nvidia-smi` shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    pub total_bytes: Option<u64>,
    pub reserved_bytes: Option<u64>,
    pub used_bytes: Option<u64>,
    pub free_bytes: Option<u64>,
}

impl Memory {
    /// Of a GPU or of a MIG device, whose memory is its GPU instance's.
    pub fn read(d: &Device<'_>, r: &mut Reader<'_>, field: &'static str) -> Self {
        let Some(memory) = r.read(field, "nvmlDeviceGetMemoryInfo_v2", || d.memory_info()) else {
            return Self::default();
        };
        Self {
            total_bytes: Some(memory.total),
            reserved_bytes: Some(memory.reserved),
            used_bytes: Some(memory.used),
            free_bytes: Some(memory.free),
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Windows {
    pub bus_width_bits: Option<u32>,
    /// What the CPU can address at once.
    pub bar1_total_bytes: Option<u64>,
    pub bar1_used_bytes: Option<u64>,
    pub bar1_free_bytes: Option<u64>,
    /// What only a confidential virtual machine sees.
    pub protected_total_bytes: Option<u64>,
    pub protected_used_bytes: Option<u64>,
}

impl Windows {
    pub fn read(d: &Device<'_>, r: &mut Reader<'_>) -> Self {
        let bar1 = r.read("bar1", "nvmlDeviceGetBAR1MemoryInfo", || d.bar1_memory_info());
        let protected =
            r.read("protected_memory", "nvmlDeviceGetConfComputeProtectedMemoryUsage", || {
                raw::identity::protected_memory(d)
            });
        Self {
            bus_width_bits: r.read("memory_bus_width_bits", "nvmlDeviceGetMemoryBusWidth", || {
                d.memory_bus_width()
            }),
            bar1_total_bytes: bar1.as_ref().map(|bar1| bar1.total),
            bar1_used_bytes: bar1.as_ref().map(|bar1| bar1.used),
            bar1_free_bytes: bar1.as_ref().map(|bar1| bar1.free),
            protected_total_bytes: protected.map(|(total, _)| total),
            protected_used_bytes: protected.map(|(_, used)| used),
        }
    }
}
