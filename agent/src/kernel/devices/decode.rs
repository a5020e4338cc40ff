//! Bytes of the maps and of the ring buffer → what they mean. Fields are read one by one, in the order in which the
//! programs write them; what is too short or contradicts itself is `None`.

use std::time::{Duration, SystemTime};

use agent_ebpf::access::{
    Access, CallKey, CallStats, Holder as RawHolder, LEVELS, NAME_LEN, Place as RawPlace,
    Slowest as RawSlowest, Thread, call, what,
};
use bytes::Buf as _;

use super::{
    Acted, BUCKETS, CallStat, Counted, Did, Holder, Inside, Majors, Place, ProcessId, Slowest,
    Told,
    majors::{device, devices},
};
use crate::{
    calls::Call,
    event::access::{Failure, Way},
};

/// What turns the kernel's numbers into times and devices.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    /// The wall clock's time when `CLOCK_MONOTONIC` was zero.
    pub boot: SystemTime,
    pub majors: Majors,
}

impl Frame {
    fn time(&self, monotonic_ns: u64) -> SystemTime {
        self.boot.checked_add(Duration::from_nanos(monotonic_ns)).unwrap_or(self.boot)
    }
}

/// A record of the ring buffer.
pub fn told(mut record: &[u8], frame: &Frame) -> Option<Told> {
    let kind = record.try_get_u32_ne().ok()?;
    if kind == what::PLACE {
        return place(record).map(Told::Place);
    }
    if record.len() < size_of::<Access>() - 4 {
        return None;
    }
    let number = record.get_u32_ne();
    let time = frame.time(record.get_u64_ne());
    let started = Duration::from_nanos(record.get_u64_ne());
    let place = record.get_u64_ne();
    let held = record.get_u64_ne();
    let took = Duration::from_nanos(record.get_u64_ne());
    let pid = record.get_u32_ne();
    let tid = record.get_u32_ne();
    let call = call_of(&mut record);
    let failure = record.get_i32_ne();
    let name = text(record);
    let exact = device(number, &frame.majors);
    // A capability has no bit of its own.
    let got = || exact.map_or_else(|| devices(held), |device| vec![device]);
    let failed =
        |failure| exact.zip(call).map(|(device, call)| Did::Failed { device, call, failure, took });
    let did = match kind {
        what::OPENED => Did::Got(Way::Opened, got()),
        what::INHERITED => Did::Got(Way::Inherited, got()),
        what::FOUND => Did::Got(Way::Found, got()),
        what::CLOSED => Did::Lost { held },
        what::EXITED => Did::Ended,
        what::FAILED => failed(Failure::Errno(-failure))?,
        what::STATUS => failed(Failure::Status(failure.cast_unsigned()))?,
        what::RENAMED => Did::Renamed,
        _ => return None,
    };
    let process = ProcessId { pid, started };
    Some(Told::Acted(Acted { time, process, tid, name, place, did }))
}

fn place(mut record: &[u8]) -> Option<Place> {
    if record.len() < size_of::<RawPlace>() - 4 {
        return None;
    }
    record.advance(4);
    let id = record.get_u64_ne();
    let mut hierarchies = record.chunks_exact(LEVELS * NAME_LEN).map(|names| {
        let names = names.chunks_exact(NAME_LEN).map(text);
        names.take_while(|name| !name.is_empty()).collect()
    });
    Some(Place { id, unified: hierarchies.next()?, other: hierarchies.next()? })
}

/// An entry of the map of holders.
pub fn holder(pid: u32, mut value: &[u8], frame: &Frame) -> Option<Holder> {
    if value.len() < size_of::<RawHolder>() {
        return None;
    }
    let started = Duration::from_nanos(value.get_u64_ne());
    let held = value.get_u64_ne();
    let since = frame.time(value.get_u64_ne());
    let place = value.get_u64_ne();
    let process = ProcessId { pid, started };
    Some(Holder { process, name: text(value), place, held, since })
}

/// An entry of the map of threads; `None` for one that is in no call.
pub fn inside(mut value: &[u8], frame: &Frame) -> Option<Inside> {
    if value.len() < size_of::<Thread>() {
        return None;
    }
    let entered = value.get_u64_ne();
    if entered == 0 {
        return None;
    }
    let started = Duration::from_nanos(value.get_u64_ne());
    value.advance(8);
    let pid = value.get_u32_ne();
    let tid = value.get_u32_ne();
    let device = device(value.get_u32_ne(), &frame.majors)?;
    let call = call_of(&mut value)?;
    value.advance(8);
    let process = ProcessId { pid, started };
    let (since, entered) = (frame.time(entered), Duration::from_nanos(entered));
    Some(Inside { process, tid, name: text(value), device, call, entered, since })
}

/// An entry of the map of calls.
pub fn counted(mut key: &[u8], mut value: &[u8], window: u32, frame: &Frame) -> Option<Counted> {
    if key.len() < size_of::<CallKey>() || value.len() < size_of::<CallStats>() {
        return None;
    }
    let started = Duration::from_nanos(key.get_u64_ne());
    let pid = key.get_u32_ne();
    let device = device(key.get_u32_ne(), &frame.majors)?;
    let call = call_of(&mut key)?;
    let process = ProcessId { pid, started };
    let mut stat = CallStat {
        count: value.get_u64_ne(),
        errors: value.get_u64_ne(),
        statuses: value.get_u64_ne(),
        took: Duration::from_nanos(value.get_u64_ne()),
        last: frame.time(value.get_u64_ne()),
        ..CallStat::default()
    };
    for _ in 0..2 {
        let slowest = slowest(&mut value);
        // Another window may have begun since.
        let took = Duration::from_nanos(slowest.took_ns);
        let is_slower = stat.slowest.is_none_or(|other: Slowest| other.took < took);
        if slowest.window >= window && !took.is_zero() && is_slower {
            let at = frame.time(slowest.at_ns);
            stat.slowest = Some(Slowest { took, at, tid: slowest.tid });
        }
    }
    stat.last_error = Some(value.get_u32_ne()).filter(|error| *error != 0);
    stat.last_status = Some(value.get_u32_ne()).filter(|status| *status != 0);
    value.advance(8);
    stat.histogram = [0; BUCKETS].map(|_: u32| value.get_u32_ne());
    Some(Counted { process, device, call, stat })
}

fn slowest(value: &mut &[u8]) -> RawSlowest {
    RawSlowest {
        took_ns: value.get_u64_ne(),
        at_ns: value.get_u64_ne(),
        window: value.get_u32_ne(),
        tid: value.get_u32_ne(),
    }
}

/// What call it is, its request and its command.
fn call_of(bytes: &mut &[u8]) -> Option<Call> {
    let (kind, request, command) = (bytes.get_u32_ne(), bytes.get_u32_ne(), bytes.get_u32_ne());
    match kind {
        call::OPEN => Some(Call::Open),
        call::CLOSE => Some(Call::Close),
        call::IOCTL => Some(Call::Ioctl { request, command }),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> String {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// The device of a call's key, without the rest.
pub fn process_of(mut key: &[u8]) -> Option<ProcessId> {
    let started = Duration::from_nanos(key.try_get_u64_ne().ok()?);
    Some(ProcessId { pid: key.try_get_u32_ne().ok()?, started })
}

#[cfg(test)]
#[path = "decode_test.rs"]
mod tests;
