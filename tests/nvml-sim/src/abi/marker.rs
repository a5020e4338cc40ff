//! The mark of the simulator.

use std::ffi::{CStr, c_char};

/// The version of this crate, as C has it.
const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };

/// The simulator's version, a text that ends in a null and lives as long as the library.
///
/// No NVML has this symbol. A client that finds it knows that every figure is made up and must say so to whoever it
/// shows one to; it needs no session for that.
#[unsafe(no_mangle)]
pub extern "C" fn k8sGpuMcpSimulatorVersion() -> *const c_char {
    VERSION.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_crates() {
        assert_eq!(VERSION.to_str(), Ok(env!("CARGO_PKG_VERSION")));
    }
}
