//! Functions of NVML's beginnings and of another system, which monitors in use today call still (nvtop 3.0, nvitop): a real
//! library has them all.

use nvml_wrapper_sys::bindings as sys;

use super::args::{Count, List, Out};
use super::processes::list;
use crate::engine::code::Code;
use crate::engine::gpu::load::ProcessKind;

const _: () = assert!(size_of::<sys::nvmlProcessInfo_v1_t>() == 16, "not the size NVML documents");

/// As today's list has it, in the struct that knew nothing of MIG.
fn first_version(processes: &[sys::nvmlProcessInfo_t]) -> Vec<sys::nvmlProcessInfo_v1_t> {
    let first = |process: &sys::nvmlProcessInfo_t| sys::nvmlProcessInfo_v1_t {
        pid: process.pid,
        usedGpuMemory: process.usedGpuMemory,
    };
    processes.iter().map(first).collect()
}

export! {
    part fn nvmlDeviceGetComputeRunningProcesses(
        (session, gpu, mig), count: Count, processes: List<sys::nvmlProcessInfo_v1_t>,
    ) {
        processes.fill(&count, &first_version(&list(session, gpu, mig, ProcessKind::Compute)))
    }

    part fn nvmlDeviceGetGraphicsRunningProcesses(
        (session, gpu, mig), count: Count, processes: List<sys::nvmlProcessInfo_v1_t>,
    ) {
        processes.fill(&count, &first_version(&list(session, gpu, mig, ProcessKind::Graphics)))
    }

    part fn nvmlDeviceGetMPSComputeRunningProcesses(
        (session, gpu, mig), count: Count, processes: List<sys::nvmlProcessInfo_v1_t>,
    ) {
        processes.fill(&count, &first_version(&list(session, gpu, mig, ProcessKind::Mps)))
    }

    /// Of Windows.
    device fn nvmlDeviceGetDriverModel(
        (_, _), _current: Out<sys::nvmlDriverModel_t>, _pending: Out<sys::nvmlDriverModel_t>,
    ) { Err(Code::NOT_SUPPORTED) }

    device fn nvmlDeviceGetDriverModel_v2(
        (_, _), _current: Out<sys::nvmlDriverModel_t>, _pending: Out<sys::nvmlDriverModel_t>,
    ) { Err(Code::NOT_SUPPORTED) }
}
