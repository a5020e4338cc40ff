//! The file itself: its symbols, its mark, its trace, what an older driver lacks, a scenario with a mistake.

use std::fs;

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::error::NvmlError;

use super::support::{command, is_case, library, nvml, raw_closed, shipped, with_scenario};

#[test]
fn the_library_has_its_symbols_its_name_and_its_mark() {
    with_scenario("profile = 'h100'", || {
        let loaded = raw_closed();
        for symbol in nvml_sim::abi::symbols() {
            // SAFETY: The symbol is looked up and not called.
            let found =
                unsafe { loaded.__library.get::<unsafe extern "C" fn()>(symbol.as_bytes()) };
            assert!(found.is_ok(), "{symbol} is not exported");
        }
        // SAFETY: The function has this type.
        let marker = unsafe {
            loaded.__library.get::<unsafe extern "C" fn() -> *const std::ffi::c_char>(
                b"k8sGpuMcpSimulatorVersion\0",
            )
        };
        // SAFETY: It takes nothing and returns a text that lives as long as the library.
        let version = unsafe { std::ffi::CStr::from_ptr(marker.unwrap()()) };
        assert_eq!(version.to_str(), Ok(env!("CARGO_PKG_VERSION")));
        // SAFETY: It returns a text that lives as long as the library.
        let sentence = unsafe { std::ffi::CStr::from_ptr(loaded.nvmlErrorString(15)) };
        assert_eq!(sentence.to_str(), Ok("GPU is lost"));
        let bytes = fs::read(library()).unwrap();
        let name = b"\0libnvidia-ml.so.1\0";
        assert!(bytes.windows(name.len()).any(|window| window == name), "no SONAME");
    });
}

#[test]
fn an_older_driver_lacks_functions_and_answers_the_rest() {
    with_scenario("profile = 'h100'", || {
        let folder = tempfile::tempdir().unwrap();
        let older = folder.path().join("libnvidia-ml.so.1");
        let bytes = fs::read(library()).unwrap();
        fs::write(&older, nvml_sim::older::without(&bytes, nvml_sim::older::since(535))).unwrap();
        let nvml = Nvml::builder().lib_path(older.as_os_str()).init().unwrap();
        let gpu = nvml.device_by_index(0).unwrap();
        assert!(matches!(gpu.numa_node_id(), Err(NvmlError::FailedToLoadSymbol(_))));
        assert!(nvml.lib().nvmlDeviceGetGpuFabricInfoV.is_err());
        assert_eq!(gpu.memory_info().unwrap().total >> 20, 81_559);
        assert!(
            gpu.gsp_firmware_version().is_ok() && gpu.temperature(TemperatureSensor::Gpu).is_ok()
        );
    });
}

#[test]
fn each_call_is_traced_before_it_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    if is_case() {
        let nvml = nvml().unwrap();
        assert!(nvml.device_by_index(9).is_err());
        assert_eq!(nvml.device_count().unwrap(), 8);
        return;
    }
    let output = command(&shipped("healthy.toml")).env("NVML_SIM_TRACE", &trace).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let trace = fs::read_to_string(trace).unwrap();
    let calls: Vec<_> =
        trace.lines().filter(|call| *call != "nvmlSystemGetDriverVersion").collect();
    let expected =
        ["nvmlInit_v2", "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetCount_v2", "nvmlShutdown"];
    assert_eq!(calls, expected);
}

#[test]
fn a_mistake_in_the_scenario_is_told_and_nothing_is_simulated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mistaken.toml");
    fs::write(&path, "profile = 'h100'\n[all]\npower.usage_w = 300").unwrap();
    if is_case() {
        assert!(matches!(nvml(), Err(NvmlError::InvalidArg)));
        return;
    }
    let output = command(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("mistaken.toml") && said.contains("usage_w"), "{said}");
}
