use agent_ebpf::{COMM_LEN, access::held};

use super::*;
use crate::calls::Device;

fn frame() -> Frame {
    let boot = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    Frame { boot, majors: Majors { nvidia: 195, uvm: 511, caps: 235, reserved: 0 } }
}

fn time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_005)
}

const FIVE_SECONDS: u64 = 5_000_000_000;
const PROCESS: ProcessId = ProcessId { pid: 4711, started: Duration::from_secs(3) };
const GPU_1: u32 = 195 << 20 | 1;
const NAME: &[u8; COMM_LEN] = b"python3\0leftover";

/// Numbers as the programs write them: of eight bytes, then of four.
fn bytes(long: &[u64], short: &[u32]) -> Vec<u8> {
    let long = long.iter().flat_map(|number| number.to_ne_bytes());
    long.chain(short.iter().flat_map(|number| number.to_ne_bytes())).collect()
}

fn record(kind: u32, device: u32, held: u64, call: [u32; 3], failure: i32) -> Vec<u8> {
    let mut record = bytes(&[], &[kind, device]);
    record.extend(bytes(&[FIVE_SECONDS, 3_000_000_000, 77, held, 250], &[4711, 4712]));
    record.extend(bytes(&[], &call));
    record.extend(failure.to_ne_bytes());
    record.extend(NAME);
    assert_eq!(record.len(), size_of::<Access>());
    record
}

#[track_caller]
fn check(record: &[u8], expected: Option<Did>) {
    let (process, name) = (PROCESS, "python3".to_owned());
    let acted = |did| Acted { time: time(), process, tid: 4712, name, place: 77, did };
    assert_eq!(told(record, &frame()), expected.map(|did| Told::Acted(acted(did))));
}

#[test]
fn a_record_says_what_a_process_did() {
    let gpu = Device::Gpu(1);
    let two = 1 << 1 | 1 << held::UVM;
    let control = [call::IOCTL, 0xc020_462a, 0x2080_0102];
    let asked = Call::Ioctl { request: 0xc020_462a, command: 0x2080_0102 };
    let took = Duration::from_nanos(250);
    let failed = |failure| Some(Did::Failed { device: gpu, call: asked, failure, took });
    check(&record(what::OPENED, GPU_1, 1 << 1, [0; 3], 0), Some(Did::Got(Way::Opened, vec![gpu])));
    check(
        &record(what::INHERITED, 0, two, [0; 3], 0),
        Some(Did::Got(Way::Inherited, vec![gpu, Device::Uvm])),
    );
    check(&record(what::EXITED, 0, two, [0; 3], 0), Some(Did::Ended));
    check(&record(what::CLOSED, 0, two, [0; 3], 0), Some(Did::Lost { held: two }));
    check(&record(what::FAILED, GPU_1, 1 << 1, control, -5), failed(Failure::Errno(5)));
    check(&record(what::STATUS, GPU_1, 1 << 1, control, 0xf), failed(Failure::Status(0xf)));
    check(&record(what::RENAMED, 0, 0, [0; 3], 0), Some(Did::Renamed));
}

#[test]
fn a_capability_is_known_by_its_number_and_not_by_its_bit() {
    let opened = record(what::OPENED, (235 << 20) + 12, 1 << held::CAPABILITIES, [0; 3], 0);
    check(&opened, Some(Did::Got(Way::Opened, vec![Device::Capability(12)])));
}

#[test]
fn what_is_no_record_is_none() {
    // A call on a device of somebody else's, a call and a kind that there are not.
    check(&record(what::FAILED, 1 << 20 | 3, 0, [call::IOCTL, 1, 0], -5), None);
    check(&record(what::FAILED, GPU_1, 0, [9, 0, 0], -5), None);
    check(&record(99, GPU_1, 1, [0; 3], 0), None);
    let whole = record(what::OPENED, GPU_1, 2, [0; 3], 0);
    for length in 0..whole.len() {
        check(&whole[..length], None);
    }
}

#[test]
fn a_place_has_the_names_of_both_hierarchies() {
    let mut record = bytes(&[], &[what::PLACE, 0]);
    record.extend(bytes(&[77], &[]));
    let name = |name: &str| {
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(NAME_LEN, 0);
        bytes
    };
    for names in [["leaf", "pod", ""], ["", "never", ""]] {
        let levels = names.into_iter().chain(std::iter::repeat("")).take(LEVELS);
        record.extend(levels.flat_map(name));
    }
    let unified = vec!["leaf".to_owned(), "pod".to_owned()];
    let place = Place { id: 77, unified, other: Vec::new() };
    assert_eq!(told(&record, &frame()), Some(Told::Place(place)));
    assert_eq!(told(&record[..record.len() - 1], &frame()), None);
}

#[test]
fn entries_of_the_maps_are_read_and_shorter_ones_are_not() {
    let mut value = bytes(&[3_000_000_000, 1 << 1, FIVE_SECONDS, 77], &[]);
    value.extend(NAME);
    let name = "python3".to_owned();
    let expected =
        Holder { process: PROCESS, name: name.clone(), place: 77, held: 2, since: time() };
    assert_eq!(holder(4711, &value, &frame()), Some(expected));
    assert_eq!(holder(4711, &value[1..], &frame()), None);

    let thread = |entered| {
        let mut value = bytes(&[entered, 3_000_000_000, 0x7fff_0000], &[4711, 4712, GPU_1]);
        value.extend(bytes(&[], &[call::CLOSE, 0, 0, 0xffff, 0]));
        value.extend(NAME);
        assert_eq!(value.len(), size_of::<Thread>());
        value
    };
    let (device, since) = (Device::Gpu(1), time());
    let (call, entered) = (Call::Close, Duration::from_secs(5));
    let expected = Inside { process: PROCESS, tid: 4712, name, device, call, entered, since };
    assert_eq!(inside(&thread(FIVE_SECONDS), &frame()), Some(expected));
    assert_eq!(inside(&thread(0), &frame()), None, "it is in no call");
    assert_eq!(inside(&thread(FIVE_SECONDS)[1..], &frame()), None);
}

#[test]
fn the_slowest_call_is_that_of_the_window_or_a_later_one() {
    let key = bytes(&[3_000_000_000], &[4711, GPU_1, call::OPEN, 0, 0, 0]);
    let mut value = bytes(&[9, 2, 1, 1_000, FIVE_SECONDS], &[]);
    // Of windows 4 and 3.
    for (took, window) in [(100, 4), (900, 3)] {
        value.extend(bytes(&[took, FIVE_SECONDS], &[window, 4712]));
    }
    value.extend(bytes(&[], &[5, 0, 3, 0]));
    value.extend((0..32u32).flat_map(u32::to_ne_bytes));
    let of = |window| counted(&key, &value, window, &frame()).map(|it| it.stat);
    let took = |window| of(window).and_then(|stat| stat.slowest).map(|it| it.took.as_nanos());
    assert_eq!((took(3), took(4), took(5)), (Some(900), Some(100), None));
    let stat = of(4).expect("whole");
    assert_eq!((stat.count, stat.errors, stat.statuses, stat.histogram[31]), (9, 2, 1, 31));
    assert_eq!((stat.last_error, stat.last_status), (Some(5), None));
    assert_eq!(counted(&key, &value[1..], 4, &frame()), None);
}
