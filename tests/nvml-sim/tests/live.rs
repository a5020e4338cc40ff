//! A client that runs while its node changes: faults that come and go, GPUs that are lost and found, events that nobody
//! had planned, a scenario with a mistake in it.
//!
//! Each case runs in a process of its own, as in `abi/`, and writes its scenario anew.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "the helpers of a test panic as tests do"
)]

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use std::{env, fs, thread};

use nvml_sim::engine::watch::LOOK_EVERY;
use nvml_wrapper::Device;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;

#[expect(dead_code, reason = "what abi needs besides")]
mod support;

use support::{command, is_case, nvml, with_scenario};

const HEALTHY: &str = "profile = 'h100'\n";

/// Puts another scenario in place of the one that this process was started with.
fn change(text: &str) {
    let path = PathBuf::from(env::var_os("NVML_SIM_SCENARIO").unwrap());
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, path).unwrap();
    // The next call looks at the file.
    thread::sleep(LOOK_EVERY);
}

fn with_gpu(index: u32, keys: &str) -> String {
    format!("{HEALTHY}[[gpu]]\nindex = {index}\n{keys}")
}

fn celsius(gpu: &Device<'_>) -> Result<u32, NvmlError> {
    gpu.temperature(TemperatureSensor::Gpu)
}

/// Makes a call in a thread of its own and waits for it as long as it may take.
fn begin<T: Send + 'static>(
    call: impl FnOnce() -> T + Send + 'static,
) -> impl Fn(Duration) -> Result<T, RecvTimeoutError> {
    let (done, returned) = mpsc::channel();
    thread::spawn(move || done.send(call()));
    move |time| returned.recv_timeout(time)
}

const SOON: Duration = Duration::from_secs(20);
const A_WHILE: Duration = Duration::from_millis(150);

#[test]
fn values_and_faults_come_and_go_under_a_handle() {
    with_scenario(HEALTHY, || {
        let nvml = nvml().unwrap();
        let (gpu, other) = (nvml.device_by_index(3).unwrap(), nvml.device_by_index(4).unwrap());
        assert_eq!(celsius(&gpu).unwrap(), 29);
        change(&with_gpu(3, "thermal.gpu_celsius = 71\npower.energy_mj = 600001234"));
        assert_eq!((celsius(&gpu).unwrap(), celsius(&other).unwrap()), (71, 29));
        assert_eq!(gpu.total_energy_consumption().unwrap(), 600_001_234);
        change(&with_gpu(3, "faults = { '*' = 'RESET_REQUIRED', 'nvmlDeviceGetUUID' = 'none' }"));
        assert!(matches!(celsius(&gpu), Err(NvmlError::ResetRequired)));
        assert!(gpu.uuid().is_ok() && celsius(&other).is_ok());
        change(&with_gpu(3, "lost = true"));
        assert!(matches!(gpu.uuid(), Err(NvmlError::GpuLost)));
        assert!(matches!(nvml.device_by_index(3), Err(NvmlError::GpuLost)));
        assert_eq!(nvml.device_count().unwrap(), 8);
        change(HEALTHY);
        assert_eq!(celsius(&gpu).unwrap(), 29);
    });
}

#[test]
fn a_call_that_hangs_answers_when_the_fault_is_taken_away() {
    let hung = with_gpu(2, "faults.nvmlDeviceGetTemperature = { hang = true }");
    with_scenario(&hung.clone(), || {
        let ask = || begin(|| celsius(&nvml().unwrap().device_by_index(2).unwrap()));
        let answer = ask();
        assert_eq!(answer(A_WHILE).err(), Some(RecvTimeoutError::Timeout));
        // Other changes do not let it go.
        change(&format!("{hung}\npower.usage_mw = 1"));
        assert_eq!(answer(A_WHILE).err(), Some(RecvTimeoutError::Timeout));
        change(&with_gpu(2, "thermal.gpu_celsius = 44"));
        assert_eq!(answer(SOON).unwrap().unwrap(), 44);
        change(&hung);
        let answer = ask();
        assert_eq!(answer(A_WHILE).err(), Some(RecvTimeoutError::Timeout));
        change(&with_gpu(2, "lost = true"));
        assert!(matches!(answer(SOON).unwrap(), Err(NvmlError::GpuLost)));
    });
}

#[test]
fn a_driver_that_is_stuck_lets_go_with_the_code_it_ends_in() {
    let stuck = format!("{HEALTHY}[node.faults]\n'*' = {{ hang = true }}");
    with_scenario(HEALTHY, || {
        let open = nvml().unwrap();
        change(&stuck);
        let init = begin(|| nvml().map(drop));
        let call = begin(move || open.device_by_index(0).and_then(|gpu| celsius(&gpu)));
        assert_eq!(init(A_WHILE).err(), Some(RecvTimeoutError::Timeout));
        assert_eq!(call(A_WHILE).err(), Some(RecvTimeoutError::Timeout));
        change(&format!("{HEALTHY}[node.faults]\n'*' = 'UNKNOWN'"));
        assert!(matches!(init(SOON).unwrap(), Err(NvmlError::Unknown)));
        assert!(matches!(call(SOON).unwrap(), Err(NvmlError::Unknown)));
    });
}

#[test]
fn a_driver_is_upgraded_under_its_library() {
    with_scenario(HEALTHY, || {
        let open = nvml().unwrap();
        let gpu = open.device_by_index(0).unwrap();
        change(&format!("{HEALTHY}[node.faults]\n'*' = 'LIB_RM_VERSION_MISMATCH'"));
        assert!(matches!(open.device_count(), Err(NvmlError::LibRmVersionMismatch)));
        assert!(matches!(celsius(&gpu), Err(NvmlError::LibRmVersionMismatch)));
        assert!(matches!(nvml(), Err(NvmlError::LibRmVersionMismatch)));
        change(&format!("{HEALTHY}node.driver_version = '590.44.01'"));
        assert_eq!(nvml().unwrap().sys_driver_version().unwrap(), "590.44.01");
        assert!(celsius(&gpu).is_ok());
    });
}

#[test]
fn how_many_gpus_there_are_changes_with_the_next_init() {
    with_scenario(HEALTHY, || {
        let nvml = || nvml().unwrap();
        let open = nvml();
        let third = open.device_by_index(3).unwrap();
        let uuid = third.uuid().unwrap();
        change(&with_gpu(2, "removed = true"));
        assert_eq!(open.device_count().unwrap(), 8);
        assert!(matches!(open.device_by_index(2), Err(NvmlError::GpuLost)));
        assert_eq!((third.index().unwrap(), third.uuid().unwrap()), (3, uuid.clone()));
        drop(open);
        let open = nvml();
        assert_eq!(open.device_count().unwrap(), 7);
        assert_eq!(open.device_by_index(2).unwrap().uuid().unwrap(), uuid);
        assert_eq!(open.device_by_uuid(uuid.as_str()).unwrap().index().unwrap(), 2);
        change(HEALTHY);
        assert_eq!(open.device_count().unwrap(), 7);
        drop(open);
        assert_eq!(nvml().device_count().unwrap(), 8);
    });
}

#[test]
fn an_event_that_was_not_planned_reaches_who_waits() {
    let event = |gpu, xid| format!("[[event]]\ngpu = {gpu}\nxid = {xid}\nafter_ms = 0\n");
    let removed = "[[gpu]]\nindex = 0\nremoved = true\n";
    with_scenario(&format!("{HEALTHY}{removed}"), || {
        let nvml = nvml().unwrap();
        let gpu = nvml.device_by_index(5).unwrap();
        let set = nvml.create_event_set().unwrap();
        let set = gpu.register_events(EventTypes::CRITICAL_XID_ERROR, set).unwrap();
        let planned = format!("{HEALTHY}{removed}{}", event(6, 79));
        let waiting = begin(move || {
            thread::sleep(A_WHILE);
            change(&planned);
        });
        let told = set.wait(20_000).unwrap();
        assert_eq!((told.event_data, told.device.index().unwrap()), (Some(XidError::Value(79)), 5));
        waiting(SOON).unwrap();
        change(&format!("{HEALTHY}{removed}{}{}", event(6, 48), event(6, 79)));
        assert_eq!(set.wait(20_000).unwrap().event_data, Some(XidError::Value(48)));
        assert!(matches!(set.wait(50), Err(NvmlError::Timeout)), "the other came before");
    });
}

#[test]
fn a_mistake_changes_nothing_and_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scenario.toml");
    fs::write(&path, HEALTHY).unwrap();
    if is_case() {
        let nvml = nvml().unwrap();
        let gpu = nvml.device_by_index(0).unwrap();
        change("profile = 'h100'\n[all]\nther");
        for _ in 0..3 {
            assert_eq!(celsius(&gpu).unwrap(), 29);
            thread::sleep(LOOK_EVERY);
        }
        fs::remove_file(env::var_os("NVML_SIM_SCENARIO").unwrap()).unwrap();
        thread::sleep(LOOK_EVERY);
        assert_eq!(celsius(&gpu).unwrap(), 29);
        change("profile = 'h100'\n[all]\nthermal.gpu_celsius = 50");
        assert_eq!(celsius(&gpu).unwrap(), 50);
        return;
    }
    let output = command(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let complaints: Vec<_> = said.lines().filter(|line| line.starts_with("nvml-sim: ")).collect();
    assert_eq!(complaints.len(), 2, "{said}");
    assert!(complaints[0].contains("stays as it was") && complaints[0].contains("scenario.toml"));
    assert!(complaints[1].contains("cannot read"), "{said}");
}
