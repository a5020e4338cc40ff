//! The PCIe link.

use nvml_wrapper_sys::bindings as sys;

use super::args::Out;
use crate::engine::code::Code;

export! {
    device fn nvmlDeviceGetCurrPcieLinkGeneration((_, gpu), generation: Out<u32>) {
        generation.set(gpu.pcie.generation.get()?)
    }

    device fn nvmlDeviceGetCurrPcieLinkWidth((_, gpu), lanes: Out<u32>) { lanes.set(gpu.pcie.width.get()?) }

    device fn nvmlDeviceGetMaxPcieLinkGeneration((_, gpu), generation: Out<u32>) {
        generation.set(gpu.pcie.max_gen.get()?)
    }

    device fn nvmlDeviceGetMaxPcieLinkWidth((_, gpu), lanes: Out<u32>) { lanes.set(gpu.pcie.max_width.get()?) }

    device fn nvmlDeviceGetGpuMaxPcieLinkGeneration((_, gpu), generation: Out<u32>) {
        generation.set(gpu.pcie.gpu_max_gen.get()?)
    }

    device fn nvmlDeviceGetPcieReplayCounter((_, gpu), replays: Out<u32>) { replays.set(gpu.pcie.replays.get()?) }

    /// KB/s over the last 20 ms.
    device fn nvmlDeviceGetPcieThroughput((_, gpu), direction: sys::nvmlPcieUtilCounter_t, kb_s: Out<u32>) {
        kb_s.set(match direction {
            sys::nvmlPcieUtilCounter_enum_NVML_PCIE_UTIL_TX_BYTES => gpu.pcie.transmit_kb_s.get()?,
            sys::nvmlPcieUtilCounter_enum_NVML_PCIE_UTIL_RX_BYTES => gpu.pcie.receive_kb_s.get()?,
            _ => return Err(Code::INVALID_ARGUMENT),
        })
    }

    device fn nvmlDeviceGetPcieSpeed((_, gpu), speed: Out<u32>) { speed.set(gpu.pcie.lane_speed()?) }
}
