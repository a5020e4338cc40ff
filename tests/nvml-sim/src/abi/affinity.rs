//! Which of the node's CPUs and memories are near a GPU.

use std::ffi::c_ulong;

use super::args::Roomy;
use crate::engine::code::Code;
use crate::engine::gpu::affinity::Numbers;

/// Fills as many words as the caller has room for; what is beyond them is left out, as NVML does.
fn fill(words: u32, set: Roomy<c_ulong>, numbers: &Numbers) -> Result<(), Code> {
    if words == 0 {
        return Err(Code::INVALID_ARGUMENT);
    }
    let filled: Vec<c_ulong> = (0..words as usize).map(|index| numbers.word(index)).collect();
    set.fill(&filled);
    Ok(())
}

export! {
    device fn nvmlDeviceGetCpuAffinity((_, gpu), words: u32, set: Roomy<c_ulong>) {
        fill(words, set, gpu.affinity.cpus.as_ref()?)
    }

    /// The same for a NUMA node and a socket.
    device fn nvmlDeviceGetMemoryAffinity((_, gpu), words: u32, set: Roomy<c_ulong>, _scope: u32) {
        fill(words, set, gpu.affinity.memory_nodes.as_ref()?)
    }
}
