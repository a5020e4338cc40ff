//! The built library as its clients load it: by `dlopen`, through `nvml-wrapper` and through the plain functions.
//!
//! Each case runs in a process of its own with a scenario of its own, because a loaded library has one session and its
//! environment is the process's. The case starts this test binary again for itself alone and fails with it.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "the helpers of a test panic as tests do"
)]

use std::fs;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{
    Brand, EccCounter, MemoryError, TemperatureSensor, TemperatureThreshold,
};
use nvml_wrapper::enum_wrappers::nv_link::ErrorCounter;
use nvml_wrapper::enums::device::{DeviceArchitecture, UsedGpuMemory};
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings as sys;
mod support;

use support::{
    command, field, handle, is_case, library, nvml, raw, raw_closed, shipped, with_file,
    with_scenario,
};

#[test]
fn a_healthy_node_is_inventoried() {
    with_file(&shipped("healthy.toml"), || {
        let nvml = nvml().unwrap();
        assert_eq!(nvml.sys_driver_version().unwrap(), "580.95.05");
        assert_eq!(nvml.sys_cuda_driver_version().unwrap(), 13_000);
        assert_eq!(nvml.device_count().unwrap(), 8);
        let buses = [0x1b, 0x43, 0x52, 0x61, 0x9d, 0xc3, 0xd1, 0xdf];
        for (index, bus) in (0..).zip(buses) {
            let gpu = nvml.device_by_index(index).unwrap();
            assert_eq!(gpu.index().unwrap(), index);
            assert_eq!(gpu.name().unwrap(), "NVIDIA H100 80GB HBM3");
            let uuid = gpu.uuid().unwrap();
            assert_eq!(uuid, format!("GPU-233010de-0000-4000-8000-{index:012x}"));
            assert_eq!(nvml.device_by_uuid(uuid).unwrap().index().unwrap(), index);
            let pci = gpu.pci_info().unwrap();
            assert_eq!((pci.bus, pci.device, pci.domain), (bus, 0, 0));
            assert_eq!(pci.bus_id, format!("00000000:{bus:02X}:00.0"));
            assert_eq!(
                (pci.pci_device_id, pci.pci_sub_system_id),
                (0x2330_10DE, Some(0x16C1_10DE))
            );
            assert_eq!(nvml.device_by_pci_bus_id(pci.bus_id).unwrap().index().unwrap(), index);
            assert_eq!(gpu.minor_number().unwrap(), index);
            assert_eq!(gpu.brand().unwrap(), Brand::Nvidia);
            assert_eq!(gpu.architecture().unwrap(), DeviceArchitecture::Hopper);
            let compute = gpu.cuda_compute_capability().unwrap();
            assert_eq!((compute.major, compute.minor), (9, 0));
            let memory = gpu.memory_info().unwrap();
            assert_eq!((memory.total >> 20, memory.used), (81_559, 0));
            assert_eq!(memory.free + memory.reserved, memory.total);
            assert_eq!(gpu.temperature(TemperatureSensor::Gpu).unwrap(), 29);
            assert_eq!(gpu.power_usage().unwrap(), 68_570);
            assert_eq!(gpu.enforced_power_limit().unwrap(), 700_000);
            assert_eq!(gpu.current_throttle_reasons().unwrap(), ThrottleReasons::GPU_IDLE);
            assert_eq!(
                (gpu.current_pcie_link_gen().unwrap(), gpu.current_pcie_link_width().unwrap()),
                (5, 16)
            );
            assert!(gpu.is_ecc_enabled().unwrap().currently_enabled);
            assert_eq!(gpu.running_compute_processes_count().unwrap(), 0);
            let links = (0..18).filter(|link| gpu.link_wrapper_for(*link).is_active().unwrap());
            assert_eq!(links.count(), 18);
        }
        assert!(matches!(nvml.device_by_index(8), Err(NvmlError::InvalidArg)));
    });
}

#[test]
fn what_this_board_has_not_is_not_supported() {
    with_file(&shipped("healthy.toml"), || {
        let nvml = nvml().unwrap();
        let gpu = nvml.device_by_index(0).unwrap();
        let slowdown = gpu.temperature_threshold(TemperatureThreshold::Slowdown);
        assert!(matches!(slowdown, Err(NvmlError::NotSupported)), "{slowdown:?}");
        let pages = gpu.are_pages_pending_retired();
        assert!(matches!(pages, Err(NvmlError::NotSupported)), "{pages:?}");
        assert!(matches!(gpu.numa_node_id(), Err(NvmlError::NotSupported)));
        assert!(matches!(gpu.fan_speed(0), Err(NvmlError::NotSupported)));
        let library = raw();
        let device = handle(&library, 0);
        let slowdown =
            field(&library, device, sys::field_id::NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT, 0);
        assert_eq!(slowdown, Ok(u64::from((-2_i32).cast_unsigned())));
    });
}

#[test]
fn of_eight_gpus_one_is_sick() {
    with_file(&shipped("one-sick-gpu.toml"), || {
        let nvml = nvml().unwrap();
        let library = raw();
        for index in 0..8 {
            let sick = index == 3;
            let gpu = nvml.device_by_index(index).unwrap();
            let errors =
                gpu.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile).unwrap();
            assert_eq!(errors, u64::from(sick), "GPU {index}");
            let device = handle(&library, index);
            let (mut correctable, mut uncorrectable, mut pending, mut failure) = (9, 9, 9, 9);
            // SAFETY: Four pointers to live locals.
            let status = unsafe {
                library.nvmlDeviceGetRemappedRows(
                    device,
                    &raw mut correctable,
                    &raw mut uncorrectable,
                    &raw mut pending,
                    &raw mut failure,
                )
            };
            assert_eq!(status, 0);
            let sick_number = u32::from(sick);
            assert_eq!(
                (correctable, uncorrectable, pending, failure),
                (0, sick_number, sick_number, 0)
            );
            let action =
                field(&library, device, sys::field_id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, 0);
            assert_eq!(action, Ok(u64::from(sick)), "GPU {index}");
            // What all eight do is normal.
            assert_eq!(gpu.current_throttle_reasons().unwrap(), ThrottleReasons::SW_POWER_CAP);
            assert_eq!(gpu.utilization_rates().unwrap().gpu, 100);
            let processes = gpu.running_compute_processes().unwrap();
            assert_eq!(processes.len(), 1);
            assert_eq!(
                processes[0].used_gpu_memory,
                UsedGpuMemory::Used(gpu.memory_info().unwrap().used)
            );
            assert_eq!(nvml.sys_process_name(processes[0].pid, 64).unwrap(), "/usr/bin/python3");
        }
    });
}

#[test]
fn init_fails_as_the_scenario_says() {
    with_file(&shipped("driver-not-loaded.toml"), || {
        assert!(matches!(nvml(), Err(NvmlError::DriverNotLoaded)));
        // SAFETY: The function takes no arguments.
        assert_eq!(unsafe { raw_closed().nvmlShutdown() }, 1, "a failed init opens nothing");
    });
}

#[test]
fn a_lost_gpu_is_counted_and_cannot_be_had() {
    with_file(&shipped("gpu-lost.toml"), || {
        let nvml = nvml().unwrap();
        assert_eq!(nvml.device_count().unwrap(), 8);
        for index in 0..8 {
            match nvml.device_by_index(index) {
                Ok(gpu) => assert!(index != 5 && gpu.name().is_ok()),
                Err(error) => {
                    assert!(index == 5 && matches!(error, NvmlError::GpuLost), "{index}: {error}");
                }
            }
        }
    });
}

#[test]
fn a_gpu_can_be_lost_while_its_handle_is_held() {
    with_scenario("profile = 'h100'\n[[gpu]]\nindex = 1\nlost_after_ms = 300", || {
        let nvml = nvml().unwrap();
        let gpu = nvml.device_by_index(1).unwrap();
        assert!(gpu.name().is_ok());
        thread::sleep(Duration::from_millis(350));
        assert!(matches!(gpu.name(), Err(NvmlError::GpuLost)));
        assert!(nvml.device_by_index(0).unwrap().name().is_ok());
    });
}

#[test]
fn a_session_lasts_from_the_first_init_to_the_last_shutdown() {
    with_scenario("profile = 'h100'\ngpus = 2", || {
        let library = raw_closed();
        let mut count = 7;
        // SAFETY: The pointer is to a live local; init and shutdown take no arguments.
        let mut get_count = || unsafe { library.nvmlDeviceGetCount_v2(&raw mut count) };
        assert_eq!(get_count(), 1);
        // SAFETY: As above.
        let (init, shutdown) = unsafe { (|| library.nvmlInit_v2(), || library.nvmlShutdown()) };
        assert_eq!((init(), init()), (0, 0));
        assert_eq!(shutdown(), 0);
        assert_eq!(get_count(), 0);
        assert_eq!(shutdown(), 0);
        assert_eq!(get_count(), 1);
        assert_eq!(shutdown(), 1);
        assert_eq!(count, 2);
    });
}

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

#[test]
fn a_divided_gpu_has_a_list_of_its_own_for_each_instance() {
    with_file(&shipped("busy-node.toml"), || {
        let nvml = nvml().unwrap();
        let gpu = nvml.device_by_index(3).unwrap();
        assert!(gpu.mig_mode().unwrap().current == 1 && !gpu.mig_is_mig_device_handle().unwrap());
        let part = gpu.mig_device_by_index(1).unwrap();
        assert!(part.mig_is_mig_device_handle().unwrap());
        assert_eq!(part.uuid().unwrap(), "MIG-9c2d7e44-1b0f-5c8a-8f3e-6a7b8c9d0e1f");
        assert_eq!(part.mig_parent_device().unwrap().index().unwrap(), 3);
        assert_eq!(part.name().unwrap(), "NVIDIA H100 80GB HBM3 MIG 2g.20gb");
        assert!(matches!(part.serial(), Err(NvmlError::InvalidArg)));
        let attributes = part.attributes().unwrap();
        assert_eq!((attributes.multiprocessor_count, attributes.memory_size_mb), (32, 20096));
        assert!(matches!(gpu.attributes(), Err(NvmlError::NotSupported)));
        assert_eq!(gpu.mig_device_by_index(0).unwrap().memory_info().unwrap().used, 10 << 30);
        assert!(matches!(gpu.utilization_rates(), Err(NvmlError::NotSupported)));
        assert!(matches!(gpu.mig_device_by_index(2), Err(NvmlError::NotFound)));
        let listed = part.running_compute_processes().unwrap();
        assert_eq!((listed.len(), listed[0].pid), (1, 6301));
        assert_eq!((listed[0].gpu_instance_id, listed[0].compute_instance_id), (Some(2), Some(0)));
        assert_eq!(listed[0].used_gpu_memory, UsedGpuMemory::Unavailable);
        assert_eq!(gpu.running_compute_processes_count().unwrap(), 2);
        assert!(matches!(gpu.process_utilization_stats(None), Err(NvmlError::NotSupported)));
        let whole = nvml.device_by_index(0).unwrap();
        assert!(matches!(whole.mig_device_by_index(0), Err(NvmlError::NotFound)));
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
fn an_event_comes_once_when_it_is_due() {
    let scenario = "profile = 'h100'
        [[event]]
        gpu = 3
        xid = 79
        after_ms = 120";
    with_scenario(scenario, || {
        let nvml = nvml().unwrap();
        let gpu = nvml.device_by_index(3).unwrap();
        assert!(gpu.supported_event_types().unwrap().contains(EventTypes::CRITICAL_XID_ERROR));
        let set = nvml.create_event_set().unwrap();
        let start = Instant::now();
        let set = gpu.register_events(EventTypes::CRITICAL_XID_ERROR, set).unwrap();
        let event = set.wait(10_000).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(120));
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "the wait ended with its time, not with the event"
        );
        assert_eq!(event.device.index().unwrap(), 3);
        assert_eq!(event.event_data, Some(XidError::Value(79)));
        let start = Instant::now();
        assert!(matches!(set.wait(50), Err(NvmlError::Timeout)));
        assert!(start.elapsed() >= Duration::from_millis(50));
        // Another set gets it again; a wait does not keep a shutdown from ending it.
        let other = gpu
            .register_events(EventTypes::CRITICAL_XID_ERROR, nvml.create_event_set().unwrap())
            .unwrap();
        assert_eq!(other.wait(10_000).unwrap().event_data, Some(XidError::Value(79)));
    });
}

#[test]
fn a_shutdown_ends_the_waits() {
    with_scenario("profile = 'h100'", || {
        let library = raw();
        let mut set = std::ptr::null_mut();
        // SAFETY: The pointer is to a live local.
        assert_eq!(unsafe { library.nvmlEventSetCreate(&raw mut set) }, 0);
        let set_number = set.addr();
        let waiting = thread::spawn(move || {
            let library = raw_closed();
            let handle = std::ptr::without_provenance_mut(set_number);
            // SAFETY: Plain numbers and a handle, for which zero is a value.
            let mut data: sys::nvmlEventData_t = unsafe { std::mem::zeroed() };
            let start = Instant::now();
            // SAFETY: The pointer is to a live local.
            let status = unsafe { library.nvmlEventSetWait_v2(handle, &raw mut data, 20_000) };
            (status, start.elapsed())
        });
        thread::sleep(Duration::from_millis(100));
        // SAFETY: The function takes no arguments.
        assert_eq!(unsafe { library.nvmlShutdown() }, 0);
        let (status, waited) = waiting.join().unwrap();
        assert_eq!(status, 1);
        assert!(waited < Duration::from_secs(10), "{waited:?}");
    });
}

#[test]
fn links_are_read_by_call_and_by_field() {
    let scenario = "profile = 'h100'
        [[gpu]]
        index = 6
        nvlink.links.17 = { state = 'inactive', crc_flit_errors = 120 }
        nvlink.links.2 = { replay_errors = 5 }";
    with_scenario(scenario, || {
        use sys::field_id as id;
        let nvml = nvml().unwrap();
        let gpu = nvml.device_by_index(6).unwrap();
        assert!(!gpu.link_wrapper_for(17).is_active().unwrap());
        assert!(gpu.link_wrapper_for(16).is_active().unwrap());
        assert_eq!(gpu.link_wrapper_for(17).error_counter(ErrorCounter::DlCrcFlit).unwrap(), 120);
        assert!(matches!(gpu.link_wrapper_for(18).is_active(), Err(NvmlError::InvalidArg)));
        assert_eq!(gpu.link_wrapper_for(17).remote_pci_info().unwrap().bus_id, "00000000:08:00.0");
        let library = raw();
        let device = handle(&library, 6);
        let read = |number, scope| field(&library, device, number, scope);
        assert_eq!(read(id::NVML_FI_DEV_NVLINK_LINK_COUNT, 0), Ok(18));
        assert_eq!(read(id::NVML_FI_DEV_NVSWITCH_CONNECTED_LINK_COUNT, 0), Ok(17));
        assert_eq!(read(id::NVML_FI_DEV_NVLINK_GET_SPEED, 2), Ok(26_562));
        assert_eq!(read(id::NVML_FI_DEV_NVLINK_GET_SPEED, 17), Ok(0));
        assert_eq!(read(id::NVML_FI_DEV_NVLINK_ERROR_DL_CRC, 17), Ok(120));
        assert_eq!(read(id::NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY, u32::MAX), Ok(5));
        assert_eq!(read(id::NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY, 18), Err(2));
        assert_eq!(read(id::NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_L2, 0), Ok(5));
        assert_eq!(read(id::NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_L7, 0), Ok(0));
        assert_eq!(read(id::NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL, 0), Ok(120));
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
