//! Calls on the driver's devices: which one each thread is in, and how often, how long and with what result they came back.

use agent_ebpf::access::{
    Access, BUCKETS, CallKey, CallStats, NOWHERE, REQUESTS, Slowest, Thread, call, held, total,
    what,
};
use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_ktime_get_ns, bpf_probe_read_user},
    macros::map,
    maps::{Array, HashMap},
};
use core::arch::asm;

use crate::{
    holders::{self, bit, count, hold, majors},
    task,
};

#[map]
static THREADS: HashMap<u32, Thread> = HashMap::with_max_entries(1, 0);
#[map]
static CALLS: HashMap<CallKey, CallStats> = HashMap::with_max_entries(1, 0);
/// What a new entry of `CALLS` is.
#[map]
static NO_CALLS: Array<CallStats> = Array::with_max_entries(1, 0);
#[map]
static PARAMETERS: HashMap<u32, u32> = HashMap::with_max_entries(REQUESTS, 0);
#[map]
static WINDOW: Array<u32> = Array::with_max_entries(1, 0);

/// The bits of a request that say which way its parameters are copied.
const WAYS: u32 = 0xc000_0000;
/// Failures of one call of one process that are told.
const TOLD: u32 = 8;

/// Whether an ioctl could be the driver's: of its frontend, of modeset, or a plain number as uvm has them.
#[inline(always)]
pub fn may_be_ours(request: u32) -> bool {
    matches!(request >> 8 & 0xff, 0x46 | 0x6d | 0)
}

/// A thread enters an ioctl that may be the driver's.
#[inline(always)]
pub fn enter_ioctl(file: u32, request: u32, argument: u64) -> Option<()> {
    let task = task::current();
    let device = task::device_of(task, file)?;
    let bit = bit(device)?;
    begin(task, device, Some(bit), call::IOCTL, &asked(request, argument))
}

/// A thread is about to close a file.
#[inline(always)]
pub fn enter_close(file: u32) -> Option<()> {
    if !holders::is_holder(task::current_ids().0) {
        return None;
    }
    let task = task::current();
    let device = task::device_of(task, file)?;
    begin(task, device, Some(bit(device)?), call::CLOSE, &NOTHING)
}

/// A thread opens a device of the driver's, or what has a path as if it were one.
#[inline(always)]
pub fn enter_open(device: u32) -> Option<()> {
    bit(device)?;
    begin(task::current(), device, None, call::OPEN, &NOTHING)
}

/// What a call asks that is no ioctl.
const NOTHING: Asked = Asked { request: 0, command: 0, argument: 0, status_at: NOWHERE };

#[inline(always)]
fn begin(task: u64, device: u32, bit: Option<u32>, call: u32, asked: &Asked) -> Option<()> {
    let Asked { request, command, argument, status_at } = *asked;
    let (pid, tid) = task::current_ids();
    let thread = match THREADS.get_ptr_mut(tid) {
        Some(thread) => thread,
        None => {
            let process = task::process(task)?;
            let thread = Thread {
                entered_ns: 0,
                started_ns: process.started_ns,
                argument: 0,
                pid,
                tid,
                device,
                call,
                request,
                command,
                status_at,
                reserved: 0,
                comm: process.comm,
            };
            if THREADS.insert(tid, thread, 0).is_err() {
                count(total::UNFOLLOWED);
            }
            THREADS.get_ptr_mut(tid)?
        }
    };
    // SAFETY: a value of the map, valid while the program runs, of the thread that runs it.
    let thread = unsafe { &mut *thread };
    if let Some(bit) = bit
        && !holders::holds(pid, bit)
    {
        hold(task, 1 << bit, what::FOUND, device);
    }
    thread.device = device;
    thread.call = call;
    thread.request = request;
    thread.command = command;
    thread.argument = argument;
    thread.status_at = status_at;
    // SAFETY: no argument, no precondition.
    thread.entered_ns = unsafe { bpf_ktime_get_ns() };
    Some(())
}

/// The running thread's call has come back.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn finish(returned: i64) -> i32 {
    let _ = finish_call(returned);
    0
}

#[inline(always)]
fn finish_call(returned: i64) -> Option<()> {
    let (pid, tid) = task::current_ids();
    // SAFETY: a value of the map, valid while the program runs, of the thread that runs it.
    let thread = unsafe { &mut *THREADS.get_ptr_mut(tid)? };
    if thread.entered_ns == 0 {
        return None;
    }
    // SAFETY: no argument, no precondition.
    let now = unsafe { bpf_ktime_get_ns() };
    let took = now - thread.entered_ns;
    thread.entered_ns = 0;
    let bit = bit(thread.device)?;
    let error = if is_error(returned) { -returned as u32 } else { 0 };
    let status = if error == 0 && thread.status_at != NOWHERE {
        user(thread.argument, thread.status_at)
    } else {
        0
    };
    let at = bit * call::LEN + thread.call.min(call::LEN - 1);
    count(total::CALLS + at);
    if error != 0 {
        count(total::ERRORS + at);
    }
    let key = CallKey {
        started_ns: thread.started_ns,
        pid,
        device: thread.device,
        call: thread.call,
        request: thread.request,
        command: thread.command,
        reserved: 0,
    };
    let stats = match CALLS.get_ptr_mut(key) {
        Some(stats) => stats,
        None => {
            // Another thread's, that came between, stays with what it has counted.
            let _ = CALLS.insert(key, NO_CALLS.get(0)?, u64::from(BPF_NOEXIST));
            let Some(stats) = CALLS.get_ptr_mut(key) else {
                count(total::UNCOUNTED);
                return None;
            };
            stats
        }
    };
    // SAFETY: a value of the map, valid while the program runs. What several CPUs write is added atomically, or may be the
    // one's or the other's.
    let stats = unsafe { &mut *stats };
    add(&mut stats.count, 1);
    add(&mut stats.took_ns, took);
    let bucket = (63 - (took | 1).leading_zeros() as usize).min(BUCKETS - 1);
    add_one(&mut stats.took[bucket]);
    stats.last_ns = now;
    let window = *WINDOW.get(0)?;
    let slowest = &mut stats.slowest[window as usize & 1];
    if slowest.window != window || took > slowest.took_ns {
        *slowest = Slowest { took_ns: took, at_ns: now, window, tid };
    }
    let (kind, failure) = if error != 0 {
        add(&mut stats.errors, 1);
        let news = stats.errors == 1 || stats.last_error != error;
        stats.last_error = error;
        (news.then_some(what::FAILED)?, -(error as i32))
    } else if status != 0 {
        add(&mut stats.statuses, 1);
        let news = stats.statuses == 1 || stats.last_status != status;
        stats.last_status = status;
        (news.then_some(what::STATUS)?, status as i32)
    } else {
        return Some(());
    };
    if stats.told >= TOLD {
        return Some(());
    }
    stats.told += 1;
    holders::send_failure(&Access {
        kind,
        device: thread.device,
        monotonic_ns: 0,
        started_ns: thread.started_ns,
        place: 0,
        held: 1 << bit.min(held::LEN - 1),
        took_ns: took,
        pid,
        tid,
        call: thread.call,
        request: thread.request,
        command: thread.command,
        failure,
        comm: thread.comm,
    });
    Some(())
}

/// An open has come back with a file: by whatever path, its device says whether it is the driver's.
#[inline(always)]
pub fn opened(file: u32) -> Option<()> {
    let task = task::current();
    let device = task::device_of(task, file).unwrap_or(0);
    let Some(bit) = bit(device) else {
        leave();
        return None;
    };
    let (_, tid) = task::current_ids();
    match THREADS.get_ptr_mut(tid) {
        // SAFETY: as in `begin`.
        Some(thread) if unsafe { (*thread).entered_ns } != 0 => {
            // SAFETY: the same.
            unsafe { (*thread).device = device };
            finish(0);
        }
        // By a path that says nothing: how long it took is not known.
        _ => count(total::CALLS + bit * call::LEN + call::OPEN),
    }
    hold(task, 1 << bit, what::OPENED, device);
    Some(())
}

/// An opening of a device whose number is known has come back.
#[inline(always)]
pub fn exit_open(device: u32, returned: i64) {
    let Some(bit) = bit(device) else { return };
    finish(returned);
    if returned == 0 {
        hold(task::current(), 1 << bit, what::OPENED, device);
    }
}

/// An opening was refused by the rules of its container.
#[inline(always)]
pub fn refused(path: u64, returned: i64) -> Option<()> {
    enter_open(device_of_path(path)?)?;
    finish(returned);
    Some(())
}

/// Whether the running thread is in a call that is followed.
#[inline(always)]
pub fn is_inside() -> bool {
    let (_, tid) = task::current_ids();
    // SAFETY: as in `begin`.
    THREADS.get_ptr(tid).is_some_and(|thread| unsafe { (*thread).entered_ns } != 0)
}

/// The running thread is in none of the driver's calls.
#[inline(always)]
pub fn leave() {
    let (_, tid) = task::current_ids();
    if let Some(thread) = THREADS.get_ptr_mut(tid) {
        // SAFETY: as in `begin`.
        unsafe { (*thread).entered_ns = 0 };
    }
}

/// A thread has ended, or has got another number.
#[inline(always)]
pub fn forget(tid: u32) {
    let _ = THREADS.remove(tid);
}

/// The device that a path under `/dev` is of, by the names that the driver's tools give.
#[inline(always)]
pub fn device_of_path(path: u64) -> Option<u32> {
    // SAFETY: the kernel checks the address and copies.
    let path: [u8; 16] = unsafe { bpf_probe_read_user(path as *const _) }.ok()?;
    let head = u64::from_be_bytes([
        path[0], path[1], path[2], path[3], path[4], path[5], path[6], path[7],
    ]);
    if head != u64::from_be_bytes(*b"/dev/nvi")
        || path[8] != b'd'
        || path[9] != b'i'
        || path[10] != b'a'
    {
        return None;
    }
    let majors = majors()?;
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u32::from(byte - b'0'));
    let (major, minor) = match path[11] {
        first @ b'0'..=b'9' => {
            let first = u32::from(first - b'0');
            (majors.nvidia, digit(path[12]).map_or(first, |second| first * 10 + second))
        }
        b'c' => (majors.nvidia, 255),
        b'-' => match path[12] {
            b'm' => (majors.nvidia, 254),
            b'u' if path[15] == b'-' || path[15] == 0 => (majors.uvm, u32::from(path[15] != 0)),
            _ => return None,
        },
        _ => return None,
    };
    (major < 1 << 12).then_some(major << 20 | minor)
}

/// Whether a system call has failed. One that a signal has interrupted has not.
#[inline(always)]
fn is_error(returned: i64) -> bool {
    // The last is how the kernel says to itself that it is to be restarted.
    (-4095..0).contains(&returned) && returned != -4 && !(-516..=-512).contains(&returned)
}

/// What an ioctl asks, as far as numbers say.
struct Asked {
    request: u32,
    command: u32,
    /// Where the parameters are.
    argument: u64,
    status_at: u32,
}

/// The wrapper in which parameters come for which a request has no room, `NV_ESC_IOCTL_XFER_CMD`: the escape, the size of its
/// parameters, and the address of these.
const WRAPPED: u32 = 0x0010_46d3;

#[inline(always)]
fn asked(request: u32, argument: u64) -> Asked {
    let (mut request, mut argument) = (request, argument);
    if request & !WAYS == WRAPPED
        // SAFETY: the kernel checks the address and copies.
        && let Ok([escape, size, pointer, high]) =
            unsafe { bpf_probe_read_user(argument as *const [u32; 4]) }
    {
        request = WAYS | (size & 0x3fff) << 16 | 0x4600 | escape & 0xff;
        argument = u64::from(high) << 32 | u64::from(pointer);
    }
    let mut asked = Asked { request, command: 0, argument, status_at: NOWHERE };
    // SAFETY: nobody writes to this map after the programs are attached.
    if let Some(at) = unsafe { PARAMETERS.get(request & !WAYS) } {
        asked.status_at = at & 0xffff;
        if at >> 16 != NOWHERE {
            asked.command = user(argument, at >> 16);
        }
    }
    asked
}

/// A number of the parameters; 0 where it cannot be read.
#[inline(always)]
fn user(argument: u64, at: u32) -> u32 {
    // SAFETY: the kernel checks the address and copies.
    unsafe { bpf_probe_read_user((argument + u64::from(at)) as *const u32) }.unwrap_or(0)
}

/// Adds for good, whatever other CPUs add meanwhile. The standard library's atomics need more than this target has.
#[inline(always)]
pub fn add(sum: &mut u64, more: u64) {
    // SAFETY: adds to the eight bytes that the reference is to.
    unsafe {
        asm!("lock *(u64 *)({sum} + 0) += {more}", sum = in(reg) sum, more = in(reg) more);
    }
}

/// The same for four bytes.
#[inline(always)]
fn add_one(sum: &mut u32) {
    // SAFETY: adds to the four bytes that the reference is to.
    unsafe {
        asm!("lock *(u32 *)({sum} + 0) += {more}", sum = in(reg) sum, more = in(reg) 1u64);
    }
}
