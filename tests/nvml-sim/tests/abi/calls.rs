//! What every call has to bear: bad arguments, versions of structs, lists, faults that the scenario sets.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings as sys;

use super::support::{field, handle, nvml, raw, with_scenario};

#[test]
fn bad_arguments_are_refused_and_nothing_is_written() {
    with_scenario("profile = 'h100'", || {
        let library = raw();
        let device = handle(&library, 0);
        let null = std::ptr::null_mut::<u32>();
        let foreign = std::ptr::without_provenance_mut(0xdead);
        let mut power = 7;
        // SAFETY: Null pointers and foreign handles are what the calls must bear.
        unsafe {
            assert_eq!(library.nvmlDeviceGetPowerUsage(device, null), 2);
            assert_eq!(library.nvmlDeviceGetPowerUsage(std::ptr::null_mut(), &raw mut power), 2);
            assert_eq!(library.nvmlDeviceGetPowerUsage(foreign, &raw mut power), 2);
            assert_eq!(library.nvmlEventSetFree(foreign.cast()), 2);
            assert_eq!(library.nvmlDeviceGetHandleByUUID(std::ptr::null(), null.cast()), 2);
        }
        assert_eq!(power, 7);
        let mut name = [0x55; 8];
        // SAFETY: The length is the buffer's.
        assert_eq!(unsafe { library.nvmlDeviceGetName(device, name.as_mut_ptr(), 8) }, 7);
        assert_eq!(name, [0x55; 8]);
    });
}

#[test]
fn each_version_of_a_struct_is_answered_in_its_size() {
    with_scenario(
        "profile = 'h100'\n[all]\nfabric.clique_id = 77\nfabric.health.summary = 'unhealthy'",
        || {
            let library = raw();
            let device = handle(&library, 0);
            let ask = |tag: u32| {
                let mut memory = [0x5555_5555_u32; 11];
                memory[0] = tag;
                // SAFETY: The memory is longer than the longest version.
                let status = unsafe {
                    library.nvmlDeviceGetGpuFabricInfoV(device, memory.as_mut_ptr().cast())
                };
                (status, memory)
            };
            let (status, memory) = ask(0x0200_0024);
            assert_eq!((status, memory[6], memory[9]), (0, 77, 0x5555_5555));
            let (status, memory) = ask(0x0300_0028);
            assert_eq!((status, memory[6], memory[9] & 0xff, memory[10]), (0, 77, 2, 0x5555_5555));
            for tag in [0, 3, 0x0100_001C, 0x0400_0028] {
                let (status, memory) = ask(tag);
                assert_eq!((status, memory[1]), (25, 0x5555_5555), "{tag:#x}");
            }
        },
    );
}

#[test]
fn lists_say_how_long_they_are() {
    let scenario = "profile = 'h100'
        [all]
        processes = [
            { pid = 11, used_bytes = 1024 }, { pid = 12, used_bytes = 2048, sm_percent = 40 },
            { pid = 13, used_bytes = 4096, kind = 'graphics' },
        ]
        [all.retired_pages]
        single_bit = [{ address = 0x1000, time_s = 1_700_000_000 }]
        double_bit = []
        pending = true";
    with_scenario(scenario, || {
        let library = raw();
        let device = handle(&library, 0);
        let mut count = 0;
        let null = std::ptr::null_mut();
        // SAFETY: A null list asks for the length.
        let status = unsafe {
            library.nvmlDeviceGetComputeRunningProcesses_v3(device, &raw mut count, null)
        };
        assert_eq!((status, count), (7, 2));
        let nvml = nvml().unwrap();
        let gpu = nvml.device_by_index(0).unwrap();
        let pids = |list: Vec<nvml_wrapper::struct_wrappers::device::ProcessInfo>| {
            list.iter().map(|process| process.pid).collect::<Vec<_>>()
        };
        assert_eq!(pids(gpu.running_compute_processes().unwrap()), [11, 12]);
        assert_eq!(pids(gpu.running_graphics_processes().unwrap()), [13]);
        let samples = gpu.process_utilization_stats(None).unwrap();
        assert_eq!(
            samples.iter().map(|sample| (sample.pid, sample.sm_util)).collect::<Vec<_>>(),
            [(12, 40)]
        );
        let cause =
            nvml_wrapper::enum_wrappers::device::RetirementCause::MultipleSingleBitEccErrors;
        let pages = gpu.retired_pages(cause).unwrap();
        assert_eq!(
            pages.iter().map(|page| (page.address, page.timestamp)).collect::<Vec<_>>(),
            [(0x1000, 1_700_000_000)]
        );
        assert!(gpu.are_pages_pending_retired().unwrap());
    });
}

#[test]
fn a_list_can_grow_between_two_calls() {
    let scenario = "profile = 'h100'
        [all]
        processes = [{ pid = 11, used_bytes = 1 }, { pid = 12, used_bytes = 1, after_calls = 1 }]";
    with_scenario(scenario, || {
        let nvml = nvml().unwrap();
        let gpu = |index| nvml.device_by_index(index).unwrap();
        assert_eq!(gpu(0).running_compute_processes_count().unwrap(), 1);
        assert_eq!(gpu(0).running_compute_processes_count().unwrap(), 2);
        assert_eq!(gpu(1).running_compute_processes_count().unwrap(), 1);
    });
}

#[test]
fn fields_have_the_numbers_of_the_driver() {
    let scenario = "profile = 'h100'\n[all]\nthrottle.time_ns.hw_thermal = 12345\n";
    let old = sys::field_id::NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN;
    with_scenario(scenario, || {
        let library = raw();
        let device = handle(&library, 0);
        assert_eq!(field(&library, device, 270, 0), Ok(12_345));
        assert_eq!(field(&library, device, old, 0), Err(3));
        assert_eq!(field(&library, device, 9999, 0), Err(3));
    });
}

#[test]
fn faults_strike_the_call_and_the_gpu_they_are_for() {
    let scenario = "profile = 'h100'
        [all.faults]
        nvmlDeviceGetPowerUsage = 'NO_PERMISSION'
        [[gpu]]
        index = 1
        faults = { nvmlDeviceGetTemperature = 999, nvmlDeviceGetHandleByUUID = 'TIMEOUT' }
        [node.faults]
        nvmlSystemGetNVMLVersion = 'FUNCTION_NOT_FOUND'";
    with_scenario(scenario, || {
        let nvml = nvml().unwrap();
        let (first, second) = (nvml.device_by_index(0).unwrap(), nvml.device_by_index(1).unwrap());
        assert!(matches!(first.power_usage(), Err(NvmlError::NoPermission)));
        assert!(matches!(second.power_usage(), Err(NvmlError::NoPermission)));
        assert_eq!(first.temperature(TemperatureSensor::Gpu).unwrap(), 29);
        assert!(matches!(second.temperature(TemperatureSensor::Gpu), Err(NvmlError::Unknown)));
        assert!(matches!(nvml.device_by_uuid(second.uuid().unwrap()), Err(NvmlError::Timeout)));
        assert!(matches!(nvml.sys_nvml_version(), Err(NvmlError::FunctionNotFound)));
    });
}

#[test]
fn a_call_that_hangs_hinders_no_other() {
    let scenario = "profile = 'h100'
        [[gpu]]
        index = 2
        faults = { nvmlDeviceGetFieldValues = { hang = true }, nvmlDeviceGetName = { delay_ms = 60 } }";
    with_scenario(scenario, || {
        let (done, returned) = mpsc::channel();
        thread::spawn(move || {
            let library = raw();
            let _ = done.send(None);
            let _ = done.send(Some(field(&library, handle(&library, 2), 230, 0)));
        });
        assert_eq!(returned.recv(), Ok(None));
        thread::sleep(Duration::from_millis(50));
        let nvml = nvml().unwrap();
        let gpu = nvml.device_by_index(2).unwrap();
        let start = Instant::now();
        assert!(gpu.name().is_ok());
        assert!(start.elapsed() >= Duration::from_millis(60));
        drop(nvml);
        assert_eq!(
            returned.recv_timeout(Duration::from_millis(50)),
            Err(mpsc::RecvTimeoutError::Timeout)
        );
    });
}
