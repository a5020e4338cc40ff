//! Confidential computing, and what a GPU lends to virtual machines.

use nvml_wrapper_sys::bindings as sys;

use super::args::{Out, Tagged, Versioned as _};

const _: () =
    assert!(size_of::<sys::nvmlConfComputeSystemState_t>() == 12, "not the size NVML documents");

type Settings = sys::nvmlSystemConfComputeSettings_v1_t;

export! {
    session fn nvmlSystemGetConfComputeState(session, state: Out<sys::nvmlConfComputeSystemState_t>) {
        let confidential = session.node.driver.confidential.as_ref()?;
        state.set(sys::nvmlConfComputeSystemState_t {
            environment: confidential.environment.number(),
            ccFeature: confidential.enabled.into(),
            devToolsMode: confidential.dev_tools.into(),
        })
    }

    session fn nvmlSystemGetConfComputeSettings(session, settings: Tagged<sys::nvmlSystemConfComputeSettings_t>) {
        let confidential = session.node.driver.confidential.as_ref()?;
        settings.set(Settings {
            version: Settings::TAG,
            environment: confidential.environment.number(),
            ccFeature: confidential.enabled.into(),
            devToolsMode: confidential.dev_tools.into(),
            multiGpuMode: confidential.multi_gpu.number(),
        })
    }

    session fn nvmlSystemGetConfComputeGpusReadyState(session, ready: Out<u32>) {
        ready.set(session.node.driver.confidential.as_ref()?.ready.into())
    }

    device fn nvmlDeviceGetConfComputeProtectedMemoryUsage((_, gpu), memory: Out<sys::nvmlMemory_t>) {
        let protected = gpu.protected_memory.as_ref()?;
        let (total, used) = (protected.total_bytes, protected.used_bytes);
        memory.set(sys::nvmlMemory_t { total, free: total.saturating_sub(used), used })
    }

    device fn nvmlDeviceGetHostVgpuMode((_, gpu), mode: Out<sys::nvmlHostVgpuMode_t>) {
        mode.set(gpu.host_vgpu.get()?.number())
    }
}
