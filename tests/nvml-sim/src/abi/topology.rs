//! Where a GPU sits: how near to another, which CPUs and memory are near to it, what two GPUs can do with each other.

use nvml_wrapper_sys::bindings as sys;

use super::args::{Len, Out, PeerHandle, Words};
use super::handle;
use crate::engine::code::Code;

const _: () = assert!(size_of::<sys::nvmlC2cModeInfo_v1_t>() == 4, "not the size NVML documents");

export! {
    device fn nvmlDeviceGetTopologyCommonAncestor(
        (session, gpu), other: PeerHandle, level: Out<sys::nvmlGpuTopologyLevel_t>,
    ) {
        let other = handle::peer(&session.node, other)?;
        session.clone().through_gpu("nvmlDeviceGetTopologyCommonAncestor", other.index)?;
        level.set(gpu.topology.level(&other.topology)?)
    }

    device fn nvmlDeviceGetP2PStatus(
        (session, gpu), other: PeerHandle, what: sys::nvmlGpuP2PCapsIndex_t, status: Out<sys::nvmlGpuP2PStatus_t>,
    ) {
        let other = handle::peer(&session.node, other)?;
        session.clone().through_gpu("nvmlDeviceGetP2PStatus", other.index)?;
        status.set(gpu.topology.p2p.between(&other.topology.p2p, what)?)
    }

    device fn nvmlDeviceGetCpuAffinity((_, gpu), words: Len, cpus: Words) {
        cpus.fill(words, gpu.topology.cpus.as_ref()?.words())
    }

    /// Nodes and sockets are the same here.
    device fn nvmlDeviceGetCpuAffinityWithinScope(
        (_, gpu), words: Len, cpus: Words, scope: sys::nvmlAffinityScope_t,
    ) {
        known(scope)?;
        cpus.fill(words, gpu.topology.cpus.as_ref()?.words())
    }

    device fn nvmlDeviceGetMemoryAffinity(
        (_, gpu), words: Len, nodes: Words, scope: sys::nvmlAffinityScope_t,
    ) {
        known(scope)?;
        nodes.fill(words, gpu.topology.memory_nodes.as_ref()?.words())
    }

    device fn nvmlDeviceGetC2cModeInfoV((_, gpu), mode: Out<sys::nvmlC2cModeInfo_v1_t>) {
        gpu.topology.c2c.as_ref()?;
        mode.set(sys::nvmlC2cModeInfo_v1_t { isC2cEnabled: 1 })
    }
}

fn known(scope: sys::nvmlAffinityScope_t) -> Result<(), Code> {
    if matches!(scope, sys::NVML_AFFINITY_SCOPE_NODE | sys::NVML_AFFINITY_SCOPE_SOCKET) {
        Ok(())
    } else {
        Err(Code::INVALID_ARGUMENT)
    }
}
