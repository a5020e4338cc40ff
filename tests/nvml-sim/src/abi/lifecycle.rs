//! Opening and closing the library, and what is about the driver and not a GPU.

use std::ffi::c_char;

use nvml_wrapper_sys::bindings as sys;

use super::args::{Len, Out, Tagged, Text, Versioned as _};
use super::exports;
use crate::engine::code::{self, Code};
use crate::engine::library::LIBRARY;

export! {
    library fn nvmlInit_v2(library) { library.init("nvmlInit_v2", exports) }

    /// What `nvmlInit_v2` was called before NVML 5; today's library has both.
    library fn nvmlInit(library) { library.init("nvmlInit", exports) }

    /// The flags (no GPUs needed, attach to none) change nothing here.
    library fn nvmlInitWithFlags(library, _flags: u32) { library.init("nvmlInitWithFlags", exports) }

    session fn nvmlShutdown(_) { LIBRARY.shutdown() }

    session fn nvmlSystemGetDriverVersion(session, version: Text, length: Len) {
        version.put(length, &session.node.driver.driver_version)
    }

    session fn nvmlSystemGetDriverBranch(
        session, branch: Tagged<sys::nvmlSystemDriverBranchInfo_t>, length: u32,
    ) {
        type Info = sys::nvmlSystemDriverBranchInfo_v1_t;
        let mut info: Info = branch.read()?;
        if (length as usize) < info.branch.len() {
            return Err(Code::INSUFFICIENT_SIZE);
        }
        info.branch = super::args::array(&session.node.driver.driver_branch)?;
        branch.set(Info { version: Info::TAG, ..info })
    }

    session fn nvmlSystemGetNVMLVersion(session, version: Text, length: Len) {
        version.put(length, &session.node.driver.nvml_version)
    }

    session fn nvmlSystemGetCudaDriverVersion(session, version: Out<i32>) {
        version.set(session.node.driver.cuda_driver_version)
    }

    session fn nvmlSystemGetCudaDriverVersion_v2(session, version: Out<i32>) {
        version.set(session.node.driver.cuda_driver_version)
    }

    /// The names in the scenario only: the processes are as simulated as the GPUs.
    session fn nvmlSystemGetProcessName(session, pid: u32, name: Text, length: Len) {
        name.put(length, session.node.process_name(pid)?)
    }
}

/// The sentence for a return code; needs no session and is no fault's target.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlErrorString(result: sys::nvmlReturn_t) -> *const c_char {
    code::sentence(result).as_ptr()
}

#[cfg(test)]
const _: fn(&sys::NvmlLib) = |library| {
    fn same<F, E>(_: &Result<F, E>, _: F) {}
    same(&library.nvmlErrorString, nvmlErrorString);
};
