//! Who wrote a line: the kernel itself, or a process through /dev/kmsg. The tracepoint does not say, so the answer is
//! taken from what the CPU is doing while the line passes.
//!
//! | where the line passes | origin |
//! | --- | --- |
//! | on another stack than the current task's: an interrupt | kernel |
//! | in a kernel thread, or in a task that ends | kernel |
//! | in a call that writes to a file, and its file is /dev/kmsg | user |
//! | in such a call, to another file | unknown |
//! | in a worker of io_uring, or in a task that has a ring | unknown |
//! | in any other call, or in none (a fault of the task) | kernel |
//!
//! **Which error it prefers.** A process's line that passes for the kernel's is a fault of its own making in the
//! verdict, so what cannot be told is unknown and never the kernel's: a thread may close the file that another is
//! writing to, and io_uring writes from any system call or none. A driver's line that passes for a process's would go
//! unheeded: that takes a driver that prints in the very task and on the very stack that writes to /dev/kmsg, in a page
//! fault or a reclaim that happens there.
//!
//! **What it cannot tell.** Text that a process has the kernel itself print is the kernel's (the name of a device that
//! cannot be mounted, a firewall's log prefix: both ask for a privilege of the host). Kernels before 6.0 (5.19 or a
//! distribution's patch) pass the tracepoint when the line goes to the console, if it does, in whatever task does that: every
//! line is of unknown origin there, and known by the newline that it ends with.
//!
//! **What it relies on.** A raw tracepoint's arguments lie on the stack of the moment. x86-64 and arm64 take interrupts
//! on a stack of their own, unless they come from user space, where there is no call. Whatever process opened it and by
//! whatever name, /dev/kmsg has the device number 1:11. Every offset comes from the kernel's own type information.

use agent_ebpf::{kind, layout};
use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_task, bpf_probe_read_kernel},
    programs::RawTracePointContext,
};

/// Set by the loader.
#[unsafe(no_mangle)]
static LAYOUT: [u32; layout::LEN] = [0; layout::LEN];

/// `include/linux/sched.h`, the same since 5.12.
const PF_EXITING: u32 = 0x4;
const PF_IO_WORKER: u32 = 0x10;
const PF_KTHREAD: u32 = 0x0020_0000;
/// The bit in the number of an x32 call.
const X32: u32 = 0x4000_0000;
/// 1:11, as the kernel writes a device's number.
const KMSG: u32 = 1 << 20 | 11;

/// The kind of a line that is passing now, and that ends with `last`.
#[inline(always)]
pub fn of_line(ctx: &RawTracePointContext, last: u8) -> u32 {
    if field(layout::STACK_SIZE) == 0 || last == b'\n' {
        return kind::LINE;
    }
    of_task(ctx).unwrap_or(kind::LINE)
}

/// A field of the layout.
#[inline(always)]
pub fn field(index: usize) -> u64 {
    // SAFETY: each index is a constant below the length. Volatile, because the loader writes another value there.
    u64::from(unsafe { core::ptr::read_volatile(&raw const LAYOUT[index]) })
}

/// Reads the kernel's memory.
#[inline(always)]
pub fn read<T>(address: u64) -> Option<T> {
    // SAFETY: the kernel checks the address and copies; `T` is a plain number here.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// `None` where the task's doings are no evidence.
#[inline(always)]
fn of_task(ctx: &RawTracePointContext) -> Option<u32> {
    // SAFETY: no argument, no precondition.
    let task = unsafe { bpf_get_current_task() };
    let flags: u32 = read(task + field(layout::TASK_FLAGS))?;
    if flags & PF_IO_WORKER != 0 {
        return None;
    }
    if flags & (PF_KTHREAD | PF_EXITING) != 0 {
        return Some(kind::LINE_OF_KERNEL);
    }
    let stack: u64 = read(task + field(layout::TASK_STACK))?;
    let size = field(layout::STACK_SIZE);
    let regs = users(stack + size - field(layout::REGS_BELOW))?;
    if address(ctx)?.wrapping_sub(stack) >= size {
        return Some(kind::LINE_OF_KERNEL);
    }
    let call: u32 = read(regs + field(layout::REGS_CALL))?;
    if (call as i32) >= 0 && writes(call & !X32) {
        return of_file(task, regs);
    }
    // What a ring was asked to write is written as any of the task's calls ends.
    let ring = field(layout::TASK_IO_URING);
    let has_ring = ring != 0 && read::<u64>(task + ring)? != 0;
    (!has_ring).then_some(kind::LINE_OF_KERNEL)
}

/// The same for a task that is in a call which writes to a file.
#[inline(always)]
fn of_file(task: u64, regs: u64) -> Option<u32> {
    let files: u64 = read(task + field(layout::TASK_FILES))?;
    let table: u64 = read(files + field(layout::FILES_FDT))?;
    let table: u64 = read(table + field(layout::FDTABLE_FD))?;
    let is_kmsg = |register| {
        let fd: u32 = read(regs + field(register))?;
        let file: u64 = read(table + u64::from(fd) * 8)?;
        let inode: u64 = read(file + field(layout::FILE_INODE))?;
        (read::<u32>(inode + field(layout::INODE_RDEV))? == KMSG).then_some(kind::LINE_OF_USER)
    };
    is_kmsg(layout::REGS_FD).or_else(|| is_kmsg(layout::REGS_FD_32))
}

/// The registers that user space had, if they are at `regs` or a little below. Where they are not, the kernel's stacks are
/// of another size than thought.
#[inline(always)]
fn users(regs: u64) -> Option<u64> {
    let are_here = |regs: &u64| {
        let mode = read::<u64>(regs + field(layout::REGS_MODE));
        mode.is_some_and(|mode| mode & field(layout::MODE_MASK) == field(layout::MODE_USER))
    };
    let below = regs - field(layout::REGS_ROOM);
    Some(regs).filter(are_here).or_else(|| Some(below).filter(are_here))
}

/// Where the arguments of the tracepoint lie, as a number.
#[inline(always)]
fn address(ctx: &RawTracePointContext) -> Option<u64> {
    let at = ctx.as_ptr();
    // The verifier lets nobody calculate with this pointer. Read back from memory it is a number like any other.
    read((&raw const at) as u64)
}

#[inline(always)]
fn writes(call: u32) -> bool {
    let mut found = false;
    let mut index = 0;
    while index < layout::CALLS {
        found |= field(layout::WRITES + index) == u64::from(call);
        index += 1;
    }
    found
}
