//! Which process holds which device of the driver's, and the events of that.
//!
//! What counts is the process's table of files, by whatever way a file came into it or went. It is looked through when
//! one of the driver's was closed, or when several may have gone at once (`close_range`, `dup2`, `execve`), up to
//! [`SCANNED`] files: what a larger table held before is held until the process ends. A child has what its parent had. A file
//! that another process passed is found at its first call; what was there before the programs, by [`walk`].

use agent_ebpf::{
    access::{Access, Holder, LEVELS, Majors, NAME_LEN, Place, Walk, call, held, total, what},
    layout,
};
use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, generated::bpf_probe_read_kernel_str},
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};

use crate::{
    calls,
    origin::{field, read},
    task::{self, Process},
};

#[map]
static ACCESSES: RingBuf = RingBuf::with_byte_size(1 << 12, 0);
#[map]
static MAJORS: Array<Majors> = Array::with_max_entries(1, 0);
#[map]
static HOLDERS: HashMap<u32, Holder> = HashMap::with_max_entries(1, 0);
#[map]
static PLACES: LruHashMap<u64, u32> = LruHashMap::with_max_entries(1, 0);
#[map]
static TOTALS: PerCpuArray<u64> = PerCpuArray::with_max_entries(total::LEN, 0);
#[map]
static WALK: Array<Walk> = Array::with_max_entries(1, 0);

/// Files of a process that are looked at where something of it was closed.
const SCANNED: u32 = 1024;
/// Addresses that are read at once.
const CHUNK: u32 = 8;
/// Levels of the cgroup tree that are looked through.
const DEEPEST: u32 = 32;
/// Steps of the walk in one run.
const STEPS: u32 = 512;

/// The bit of a device, see [`held`]; `None` for somebody else's.
#[inline(always)]
pub fn bit(device: u32) -> Option<u32> {
    let majors = MAJORS.get(0)?;
    let (major, minor) = (device >> 20, device & 0xf_ffff);
    if major == majors.nvidia {
        return Some(match minor {
            0..held::GPUS => minor,
            254 => held::MODESET,
            255 => held::CONTROL,
            _ => held::OTHER,
        });
    }
    if major == majors.uvm {
        return Some(if minor == 0 { held::UVM } else { held::UVM_TOOLS });
    }
    (major == majors.caps).then_some(held::CAPABILITIES)
}

/// The driver's major numbers.
#[inline(always)]
pub fn majors() -> Option<&'static Majors> {
    MAJORS.get(0)
}

#[inline(always)]
pub fn count(index: u32) {
    if let Some(value) = TOTALS.get_ptr_mut(index) {
        // SAFETY: a per-CPU value, valid while the program runs. Programs at functions may be preempted by another on this CPU.
        calls::add(unsafe { &mut *value }, 1);
    }
}

/// Whether a process is known to hold anything.
#[inline(always)]
pub fn is_holder(pid: u32) -> bool {
    HOLDERS.get_ptr(pid).is_some()
}

/// Whether a process is known to hold this device.
#[inline(always)]
pub fn holds(pid: u32, bit: u32) -> bool {
    // SAFETY: as in `hold_all`.
    HOLDERS.get_ptr(pid).is_some_and(|holder| unsafe { (*holder).held } & 1 << bit != 0)
}

/// A task's process has devices, by `kind` of way. Tells of those that are news.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn hold(task: u64, devices: u64, kind: u32, device: u32) -> i32 {
    let _ = hold_all(task, devices, kind, device);
    0
}

#[inline(always)]
fn hold_all(task: u64, devices: u64, kind: u32, device: u32) -> Option<()> {
    let process = task::process(task)?;
    let known = HOLDERS.get_ptr_mut(process.pid);
    // SAFETY: a value of the map, valid while the program runs; races with another CPU are over the same process.
    if let Some(known) = known.map(|known| unsafe { &mut *known })
        && known.started_ns == process.started_ns
    {
        let news = devices & !known.held;
        if news != 0 {
            known.held |= news;
            tell(&process, known.place, kind, device, news);
        }
        return Some(());
    }
    let nodes = task::cgroups(task)?;
    let place = task::place(nodes)?;
    let holder = Holder {
        started_ns: process.started_ns,
        held: devices,
        // SAFETY: no argument, no precondition.
        since_ns: unsafe { bpf_ktime_get_ns() },
        place,
        comm: process.comm,
    };
    if HOLDERS.insert(process.pid, holder, 0).is_err() {
        // Nobody would tell that it has ended.
        count(total::UNHELD);
        return None;
    }
    tell_place(nodes, place);
    tell(&process, place, kind, device, devices);
    Some(())
}

/// Looks through the running process's files again, and tells of devices that are gone.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn look_again(pid: u32) -> i32 {
    let task = task::current();
    let Some(known) = HOLDERS.get_ptr_mut(pid) else { return 0 };
    // SAFETY: as in `hold_all`.
    let known = unsafe { &mut *known };
    let Some((table, places)) = task::files(task) else { return 0 };
    let mut devices = if places > SCANNED { known.held } else { 0 };
    let mut at = 0;
    while at < SCANNED {
        if at >= places {
            break;
        }
        devices |= held_in(table, at);
        at += CHUNK;
    }
    let gone = known.held & !devices;
    if gone == 0 {
        return 0;
    }
    known.held = devices & known.held;
    let process = Process { pid, started_ns: known.started_ns, comm: known.comm };
    tell(&process, known.place, what::CLOSED, 0, gone);
    if known.held == 0 {
        let _ = HOLDERS.remove(pid);
    }
    0
}

/// The devices of [`CHUNK`] files. A function of its own to the verifier, which looks at it once and not at each call.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn held_in(table: u64, at: u32) -> u64 {
    let Some(files) = read::<[u64; CHUNK as usize]>(table + u64::from(at) * 8) else { return 0 };
    let mut devices = 0;
    let mut index = 0;
    while index < CHUNK as usize {
        let file = files[index];
        if file != 0
            && let Some(device) = task::device(file)
            && device != 0
            && let Some(bit) = bit(device)
        {
            devices |= 1 << bit;
        }
        index += 1;
    }
    devices
}

/// `sched_process_fork`: a child has what its parent had.
#[inline(always)]
pub fn forked(parent: u64, child: u64) -> Option<()> {
    let pid = task::pid(parent)?;
    // SAFETY: as in `hold_all`.
    let devices = unsafe { (*HOLDERS.get_ptr(pid)?).held };
    if task::pid(child)? != pid {
        hold(child, devices, what::INHERITED, 0);
    }
    Some(())
}

/// `sched_process_exec`: files that were to be closed with it are, and the process has another name.
#[inline(always)]
pub fn became(task: u64) -> Option<()> {
    let pid = task::pid(task)?;
    let known = HOLDERS.get_ptr_mut(pid)?;
    let process = task::process(task)?;
    // SAFETY: as in `hold_all`.
    let place = unsafe {
        (*known).comm = process.comm;
        (*known).place
    };
    tell(&process, place, what::RENAMED, 0, 0);
    look_again(pid);
    Some(())
}

/// `sched_process_exit`: with a process's last thread everything is closed.
#[inline(always)]
pub fn ended(task: u64) -> Option<()> {
    let pid = task::pid(task)?;
    let known = HOLDERS.get_ptr(pid)?;
    let signal: u64 = read(task + field(layout::TASK_SIGNAL))?;
    if read::<u32>(signal + field(layout::SIGNAL_LIVE))? != 0 {
        return Some(());
    }
    // SAFETY: as in `hold_all`.
    let Holder { started_ns, held, place, comm, .. } = unsafe { *known };
    let process = Process { pid, started_ns, comm };
    tell(&process, place, what::EXITED, 0, held);
    let _ = HOLDERS.remove(pid);
    Some(())
}

/// Tells that a process has devices, or has them no more.
#[inline(always)]
fn tell(process: &Process, place: u64, kind: u32, device: u32, held: u64) {
    let (_, tid) = task::current_ids();
    send(&Access {
        kind,
        device,
        monotonic_ns: 0,
        started_ns: process.started_ns,
        place,
        held,
        took_ns: 0,
        pid: process.pid,
        tid: if kind == what::OPENED { tid } else { process.pid },
        call: call::OPEN,
        request: 0,
        command: 0,
        failure: 0,
        comm: process.comm,
    });
}

/// Sends a failure; its place is that of its process.
#[inline(always)]
pub fn send_failure(event: &Access) {
    let place = HOLDERS.get_ptr(event.pid);
    // SAFETY: as in `hold_all`.
    let place = place.map_or(0, |holder| unsafe { (*holder).place });
    send(&Access { place, ..*event });
}

/// Sends an event; its time is now.
#[inline(always)]
pub fn send(event: &Access) {
    let Some(mut entry) = ACCESSES.reserve::<Access>(0) else {
        count(total::DROPPED);
        return;
    };
    // SAFETY: the entry is of this size and for this program alone.
    unsafe {
        let at = entry.as_mut_ptr();
        *at = *event;
        (*at).monotonic_ns = bpf_ktime_get_ns();
    }
    entry.submit(0);
}

/// Tells what the directories are called that stand behind `place`, once.
#[inline(always)]
fn tell_place(nodes: [u64; 2], place: u64) {
    if PLACES.get_ptr(place).is_some() {
        return;
    }
    let Some(mut entry) = ACCESSES.reserve::<Place>(0) else {
        count(total::DROPPED);
        return;
    };
    let at = entry.as_mut_ptr();
    // SAFETY: the entry is of this size and for this program alone; a helper writes at most the size it is given.
    unsafe {
        (*at).kind = what::PLACE;
        (*at).reserved = 0;
        (*at).place = place;
        let mut hierarchy = 0;
        while hierarchy < 2 {
            let mut node = outermost(nodes[hierarchy]);
            let mut level = 0;
            while level < LEVELS {
                let to = &raw mut (*at).names[hierarchy][level];
                let name: u64 =
                    if node == 0 { 0 } else { read(node + field(layout::KN_NAME)).unwrap_or(0) };
                // What cannot be read is empty.
                if bpf_probe_read_kernel_str(to.cast(), NAME_LEN as u32, name as *const _) < 0 {
                    (*to)[0] = 0;
                }
                if node != 0 {
                    node = read(node + field(layout::KN_PARENT)).unwrap_or(0);
                }
                level += 1;
            }
            hierarchy += 1;
        }
    }
    entry.submit(0);
    let _ = PLACES.insert(place, 0, 0);
}

/// The directory of which [`LEVELS`] and no more lead to the root: a pod's own name stands near the root, and what is deep
/// below that its tenant may have made.
#[inline(always)]
fn outermost(node: u64) -> u64 {
    let parent = |node: u64| {
        if node == 0 { 0 } else { read(node + field(layout::KN_PARENT)).unwrap_or(0) }
    };
    // One that is LEVELS ahead of the other.
    let (mut ahead, mut behind) = (node, node);
    let mut level = 0;
    while level < DEEPEST {
        ahead = parent(ahead);
        if level >= LEVELS as u32 {
            if ahead == 0 {
                break;
            }
            behind = parent(behind);
        }
        level += 1;
    }
    behind
}

/// Goes on with the walk over all processes, for [`STEPS`] steps.
#[inline(always)]
pub fn walk() {
    let mut at = 0;
    while at < STEPS {
        if step() != 0 {
            break;
        }
        at += 1;
    }
}

/// Some files of a process, or on to the next; 1 where there is no other. A function of its own to the verifier, and what goes
/// from step to step is in the map: older ones would look at each step by itself.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn step() -> i32 {
    take_step().unwrap_or(1)
}

#[inline(always)]
fn take_step() -> Option<i32> {
    // SAFETY: a value of the map; user space runs one walk at a time and reads it in between.
    let walk = unsafe { &mut *WALK.get_ptr_mut(0)? };
    if walk.first == 0 {
        // The process that runs this will be there all the time.
        walk.first = read(task::current() + field(layout::TASK_LEADER))?;
    }
    let is_there = walk.task != 0
        && read::<u64>(walk.task + field(layout::TASK_STARTED)) == Some(walk.started_ns);
    if !is_there {
        // It begins, or the task it stood at is gone.
        walk.task = walk.first;
        walk.started_ns = read(walk.task + field(layout::TASK_STARTED))?;
        (walk.file, walk.held) = (0, 0);
    }
    let (table, places) = task::files(walk.task).unwrap_or((0, 0));
    if walk.file < places {
        walk.held |= held_in(table, walk.file);
        walk.file += CHUNK;
        walk.files += CHUNK;
        return Some(0);
    }
    if walk.held != 0 {
        hold(walk.task, walk.held, what::FOUND, 0);
    }
    walk.processes += 1;
    let next: u64 = read(walk.task + field(layout::TASK_TASKS))?;
    walk.task = next - field(layout::TASK_TASKS);
    (walk.file, walk.held) = (0, 0);
    if walk.task == walk.first {
        walk.done = 1;
        return Some(1);
    }
    walk.started_ns = read(walk.task + field(layout::TASK_STARTED))?;
    Some(0)
}
