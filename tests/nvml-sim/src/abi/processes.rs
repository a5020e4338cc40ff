//! Processes on a GPU.

use nvml_wrapper_sys::bindings as sys;

use super::args::{Count, List};
use super::throttle::now_us;
use crate::engine::code::Code;
use crate::engine::gpu::Gpu;
use crate::engine::gpu::load::ProcessKind;
use crate::engine::gpu::mig::MigDevice;
use crate::engine::library::Session;

const _: () = assert!(size_of::<sys::nvmlProcessInfo_t>() == 24, "not the size NVML documents");
const _: () =
    assert!(size_of::<sys::nvmlProcessUtilizationSample_t>() == 32, "not the size NVML documents");

/// The instance of a process that is in no MIG instance.
pub(super) const NO_INSTANCE: u32 = u32::MAX;
/// `NVML_VALUE_NOT_AVAILABLE` in a count of bytes.
const NOT_AVAILABLE: u64 = u64::MAX;

/// A list of a GPU or of a MIG device as it is at this call.
fn list(
    session: &Session,
    gpu: &Gpu,
    mig: Option<MigDevice<'_>>,
    kind: ProcessKind,
) -> Vec<sys::nvmlProcessInfo_t> {
    let asked = session.lists.asked(gpu.index, kind);
    let processes = gpu.processes.iter().filter(|process| {
        process.kind == kind
            && asked >= process.after_calls
            && mig.is_none_or(|mig| process.mig == Some(mig.place()))
    });
    processes
        .map(|process| sys::nvmlProcessInfo_t {
            pid: process.pid,
            usedGpuMemory: process.used_bytes.get().unwrap_or(NOT_AVAILABLE),
            gpuInstanceId: process.mig.map_or(NO_INSTANCE, |mig| mig.gpu_instance),
            computeInstanceId: process.mig.map_or(NO_INSTANCE, |mig| mig.compute_instance),
        })
        .collect()
}

export! {
    part fn nvmlDeviceGetComputeRunningProcesses_v3(
        (session, gpu, mig), count: Count, processes: List<sys::nvmlProcessInfo_t>,
    ) {
        processes.fill(&count, &list(session, gpu, mig, ProcessKind::Compute))
    }

    /// The same struct as the third version; only the first had a smaller one.
    part fn nvmlDeviceGetComputeRunningProcesses_v2(
        (session, gpu, mig), count: Count, processes: List<sys::nvmlProcessInfo_v2_t>,
    ) {
        processes.fill(&count, &list(session, gpu, mig, ProcessKind::Compute))
    }

    part fn nvmlDeviceGetGraphicsRunningProcesses_v3(
        (session, gpu, mig), count: Count, processes: List<sys::nvmlProcessInfo_t>,
    ) {
        processes.fill(&count, &list(session, gpu, mig, ProcessKind::Graphics))
    }

    part fn nvmlDeviceGetGraphicsRunningProcesses_v2(
        (session, gpu, mig), count: Count, processes: List<sys::nvmlProcessInfo_v2_t>,
    ) {
        processes.fill(&count, &list(session, gpu, mig, ProcessKind::Graphics))
    }

    part fn nvmlDeviceGetMPSComputeRunningProcesses_v2(
        (session, gpu, mig), count: Count, processes: List<sys::nvmlProcessInfo_v2_t>,
    ) {
        processes.fill(&count, &list(session, gpu, mig, ProcessKind::Mps))
    }

    part fn nvmlDeviceGetMPSComputeRunningProcesses_v3(
        (session, gpu, mig), count: Count, processes: List<sys::nvmlProcessInfo_t>,
    ) {
        processes.fill(&count, &list(session, gpu, mig, ProcessKind::Mps))
    }

    /// One sample per process that has figures, taken now. When none is younger than the caller's last: `NOT_FOUND`. A
    /// divided GPU has none.
    device fn nvmlDeviceGetProcessUtilization(
        (_, gpu), samples: List<sys::nvmlProcessUtilizationSample_t>, count: Count, last_seen_us: u64,
    ) {
        if gpu.is_divided() {
            return Err(Code::NOT_SUPPORTED);
        }
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
