//! What the kernel knows of a task: who it is, where in the cgroup tree, and which device a file of it is of.

use agent_ebpf::{COMM_LEN, layout};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_task};

use crate::origin::{field, read};

/// A process, by the number that everybody knows it by and the start that tells it from others of the number.
#[derive(Clone, Copy)]
pub struct Process {
    pub pid: u32,
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub started_ns: u64,
    pub comm: [u8; COMM_LEN],
}

/// The address of the running task's `task_struct`.
#[inline(always)]
pub fn current() -> u64 {
    // SAFETY: no argument, no precondition.
    unsafe { bpf_get_current_task() }
}

/// The running task's process and thread.
#[inline(always)]
pub fn current_ids() -> (u32, u32) {
    let both = bpf_get_current_pid_tgid();
    ((both >> 32) as u32, both as u32)
}

#[inline(always)]
pub fn pid(task: u64) -> Option<u32> {
    read(task + field(layout::TASK_TGID))
}

/// The process that a task is a thread of.
#[inline(always)]
pub fn process(task: u64) -> Option<Process> {
    let leader: u64 = read(task + field(layout::TASK_LEADER))?;
    Some(Process {
        pid: pid(task)?,
        started_ns: read(leader + field(layout::TASK_STARTED))?,
        comm: read(leader + field(layout::TASK_COMM))?,
    })
}

/// The process's files: the address of the table, and how many places it has.
#[inline(always)]
pub fn files(task: u64) -> Option<(u64, u32)> {
    let files: u64 = read(task + field(layout::TASK_FILES))?;
    if files == 0 {
        return None;
    }
    let table: u64 = read(files + field(layout::FILES_FDT))?;
    Some((read(table + field(layout::FDTABLE_FD))?, read(table + field(layout::FDTABLE_MAX))?))
}

/// The number of the device that a file of the running process is of; 0 for most that are of none.
#[inline(always)]
pub fn device_of(task: u64, file: u32) -> Option<u32> {
    let files: u64 = read(task + field(layout::TASK_FILES))?;
    let table: u64 = read(files + field(layout::FILES_FDT))?;
    let files: u64 = read(table + field(layout::FDTABLE_FD))?;
    device(read(files + u64::from(file) * 8)?)
}

/// The same by the address of the `file`.
#[inline(always)]
pub fn device(file: u64) -> Option<u32> {
    let inode: u64 = read(file + field(layout::FILE_INODE))?;
    read(inode + field(layout::INODE_RDEV))
}

/// The directories of a task's cgroups, as addresses of their `kernfs_node`: in the unified hierarchy, and in another of a
/// controller's if it is in one there (cgroup v1, hybrid). 0 for one that is not there.
#[inline(always)]
pub fn cgroups(task: u64) -> Option<[u64; 2]> {
    let set: u64 = read(task + field(layout::TASK_CGROUPS))?;
    let unified: u64 = read(set + field(layout::CSS_SET_DEFAULT))?;
    let unified: u64 = read(unified + field(layout::CGROUP_KN))?;
    let mut controller = 0;
    while controller < layout::CONTROLLERS {
        let state = field(layout::CSS_SET_STATES + controller);
        controller += 1;
        if state == 0 {
            continue;
        }
        let state: u64 = read(set + state)?;
        let cgroup: u64 = read(state + field(layout::CSS_CGROUP))?;
        let node: u64 = read(cgroup + field(layout::CGROUP_KN))?;
        let is_root = read::<u64>(node + field(layout::KN_PARENT))? == 0;
        if node != unified && !is_root {
            return Some([unified, node]);
        }
    }
    Some([unified, 0])
}

/// What stands for both: see [`agent_ebpf::access::Place`].
#[inline(always)]
pub fn place([unified, other]: [u64; 2]) -> Option<u64> {
    let id = |node: u64| {
        if node == 0 { Some(0) } else { read::<u64>(node + field(layout::KN_ID)) }
    };
    Some(id(unified)? ^ id(other)?.rotate_left(32))
}
