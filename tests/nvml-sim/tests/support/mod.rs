//! A process of its own for each case, and the library in it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, thread};

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings as sys;
use nvml_wrapper_sys::bindings::NvmlLib;

const CASE: &str = "NVML_SIM_TEST_CASE";

/// The library beside this test's executable, where cargo has put it.
pub fn library() -> PathBuf {
    let executable = env::current_exe().unwrap();
    let library = executable.with_file_name("libnvml_sim.so");
    assert!(library.exists(), "{} is not built", library.display());
    library
}

/// This test binary for the calling test alone, with that scenario.
pub fn command(scenario: &Path) -> Command {
    let name = thread::current().name().expect("the harness names its threads").to_owned();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([&name, "--exact", "--nocapture"]);
    command.env(CASE, &name).env("NVML_SIM_SCENARIO", scenario);
    command
}

/// Whether this is the process that a test started for itself.
pub fn is_case() -> bool {
    env::var_os(CASE).is_some()
}

/// Runs `case` in a process of its own.
pub fn with_file(scenario: &Path, case: impl FnOnce()) {
    if is_case() {
        return case();
    }
    let output = command(scenario).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "the case did not run: {said}");
}

pub fn with_scenario(text: &str, case: impl FnOnce()) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scenario.toml");
    fs::write(&path, text).unwrap();
    with_file(&path, case);
}

pub fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name)
}

pub fn nvml() -> Result<Nvml, NvmlError> {
    Nvml::builder().lib_path(library().as_os_str()).init()
}

/// The plain functions, with a session open.
pub fn raw() -> NvmlLib {
    let library = raw_closed();
    // SAFETY: The function takes no arguments.
    assert_eq!(unsafe { library.nvmlInit_v2() }, 0);
    library
}

/// The plain functions, without a session.
pub fn raw_closed() -> NvmlLib {
    // SAFETY: Loading this library runs no code of its own.
    unsafe { NvmlLib::new(library()) }.unwrap()
}

pub fn handle(library: &NvmlLib, index: u32) -> sys::nvmlDevice_t {
    let mut device = std::ptr::null_mut();
    // SAFETY: The pointer is to a live local.
    assert_eq!(unsafe { library.nvmlDeviceGetHandleByIndex_v2(index, &raw mut device) }, 0);
    device
}

pub fn field(
    library: &NvmlLib,
    device: sys::nvmlDevice_t,
    field: u32,
    scope: u32,
) -> Result<u64, u32> {
    // SAFETY: Plain numbers, for which zero is a value.
    let mut value: sys::nvmlFieldValue_t = unsafe { std::mem::zeroed() };
    (value.fieldId, value.scopeId) = (field, scope);
    // SAFETY: One entry, and the count says so.
    assert_eq!(unsafe { library.nvmlDeviceGetFieldValues(device, 1, &raw mut value) }, 0);
    assert_eq!((value.fieldId, value.scopeId), (field, scope), "the question stays as it was");
    if value.nvmlReturn != 0 {
        return Err(value.nvmlReturn);
    }
    // SAFETY: All members are plain numbers over zeroed memory.
    let long = unsafe { value.value.ullVal };
    Ok(match value.valueType {
        sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG => long,
        _ => long & u64::from(u32::MAX),
    })
}
