//! Processes on a GPU.

use nvml_wrapper_sys::bindings as sys;

use super::args::{Count, List};
use super::throttle::now_us;
use crate::engine::code::Code;
use crate::engine::gpu::Gpu;
use crate::engine::gpu::load::ProcessKind;

const _: () = assert!(size_of::<sys::nvmlProcessInfo_t>() == 24, "not the size NVML documents");
const _: () =
    assert!(size_of::<sys::nvmlProcessUtilizationSample_t>() == 32, "not the size NVML documents");

/// The instance of a process that is in no MIG instance.
pub(super) const NO_INSTANCE: u32 = u32::MAX;

fn list(gpu: &Gpu, kind: ProcessKind) -> Vec<sys::nvmlProcessInfo_t> {
    let processes = gpu.processes.iter().filter(|process| process.kind == kind);
    processes
        .map(|process| sys::nvmlProcessInfo_t {
            pid: process.pid,
            usedGpuMemory: process.used_bytes,
            gpuInstanceId: NO_INSTANCE,
            computeInstanceId: NO_INSTANCE,
        })
        .collect()
}

export! {
    device fn nvmlDeviceGetComputeRunningProcesses_v3(
        (_, gpu), count: Count, processes: List<sys::nvmlProcessInfo_t>,
    ) {
        processes.fill(&count, &list(gpu, ProcessKind::Compute))
    }

    /// The same struct as the third version; only the first had a smaller one.
    device fn nvmlDeviceGetComputeRunningProcesses_v2(
        (_, gpu), count: Count, processes: List<sys::nvmlProcessInfo_v2_t>,
    ) {
        processes.fill(&count, &list(gpu, ProcessKind::Compute))
    }

    device fn nvmlDeviceGetGraphicsRunningProcesses_v3(
        (_, gpu), count: Count, processes: List<sys::nvmlProcessInfo_t>,
    ) {
        processes.fill(&count, &list(gpu, ProcessKind::Graphics))
    }

    device fn nvmlDeviceGetGraphicsRunningProcesses_v2(
        (_, gpu), count: Count, processes: List<sys::nvmlProcessInfo_v2_t>,
    ) {
        processes.fill(&count, &list(gpu, ProcessKind::Graphics))
    }

    device fn nvmlDeviceGetMPSComputeRunningProcesses_v3(
        (_, gpu), count: Count, processes: List<sys::nvmlProcessInfo_t>,
    ) {
        processes.fill(&count, &list(gpu, ProcessKind::Mps))
    }

    /// One sample per process that has figures, taken now. When none is younger than the caller's last: `NOT_FOUND`.
    device fn nvmlDeviceGetProcessUtilization(
        (_, gpu), samples: List<sys::nvmlProcessUtilizationSample_t>, count: Count, last_seen_us: u64,
    ) {
        let now = now_us()?;
        let sampled = gpu.processes.iter().filter_map(|process| {
            process.sm_percent.map(|sm| sys::nvmlProcessUtilizationSample_t {
                pid: process.pid,
                timeStamp: now,
                smUtil: sm,
                memUtil: process.memory_percent,
                encUtil: 0,
                decUtil: 0,
            })
        });
        let sampled: Vec<_> = sampled.filter(|sample| sample.timeStamp > last_seen_us).collect();
        if sampled.is_empty() {
            return Err(Code::NOT_FOUND);
        }
        samples.fill(&count, &sampled)
    }
}
