//! From init to shutdown: GPUs that are lost meanwhile, events, waits.

use std::thread;
use std::time::{Duration, Instant};

use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings as sys;

use super::support::{nvml, raw, raw_closed, shipped, with_file, with_scenario};

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
