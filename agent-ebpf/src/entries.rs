//! Where device tracing is attached: to the functions behind a few system calls where the kernel can do that (`fentry`,
//! `fexit`: nobody else's calls pass), else to `sys_enter` and `sys_exit`, which every call of everybody passes. Births
//! and deaths of processes come from the scheduler's tracepoints in both cases. All but the first are raw tracepoints and
//! need neither tracefs nor perf_event_open.
//!
//! 32-bit system calls are not followed. By functions, what `dup2` and `close_range` closed is missed until the next close,
//! `execve` or the end: each function more costs the node a wait for all its tasks when it is attached and when it is let go.

use aya_ebpf::{
    macros::{fentry, fexit, raw_tracepoint},
    programs::{FEntryContext, FExitContext, RawTracePointContext},
};

use agent_ebpf::layout;

use crate::{
    calls, holders,
    origin::{field, read},
    task,
};

/// Numbers of system calls.
#[cfg(bpf_target_arch = "x86_64")]
mod nr {
    pub const OPEN: u64 = 2;
    pub const CLOSE: u64 = 3;
    pub const IOCTL: u64 = 16;
    pub const DUP2: u64 = 33;
    pub const OPENAT: u64 = 257;
    pub const DUP3: u64 = 292;
    pub const CLOSE_RANGE: u64 = 436;
    pub const OPENAT2: u64 = 437;
}

#[cfg(not(bpf_target_arch = "x86_64"))]
mod nr {
    /// Not there; nobody calls it.
    pub const OPEN: u64 = u64::MAX;
    pub const DUP2: u64 = u64::MAX - 1;
    pub const DUP3: u64 = 24;
    pub const IOCTL: u64 = 29;
    pub const OPENAT: u64 = 56;
    pub const CLOSE: u64 = 57;
    pub const CLOSE_RANGE: u64 = 436;
    pub const OPENAT2: u64 = 437;
}

/// A system call's number and first three arguments.
struct Call {
    number: u64,
    first: u64,
    second: u64,
    third: u64,
}

/// Reads a call from the registers that user space had: four that lie side by side.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn call(regs: u64) -> Option<Call> {
    let [third, second, first, number]: [u64; 4] = read(regs + 96)?;
    Some(Call { number, first, second, third })
}

#[cfg(not(bpf_target_arch = "x86_64"))]
#[inline(always)]
fn call(regs: u64) -> Option<Call> {
    let number: u32 = read(regs + field(layout::REGS_CALL))?;
    let first = read(regs + field(layout::REGS_FD))?;
    let [second, third]: [u64; 2] = read(regs + 8)?;
    Some(Call { number: u64::from(number), first, second, third })
}

#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn sys_enter(ctx: RawTracePointContext) -> i32 {
    // TP_PROTO(struct pt_regs *regs, long id)
    let number: u64 = ctx.arg(1);
    match number {
        nr::IOCTL | nr::CLOSE | nr::OPENAT | nr::OPEN | nr::OPENAT2 => {}
        _ => return 0,
    }
    let Some(call) = call(ctx.arg(0)) else { return 0 };
    let _ = match number {
        nr::IOCTL => ioctl(&call),
        nr::CLOSE => calls::enter_close(call.first as u32),
        _ => {
            let path = if number == nr::OPEN { call.first } else { call.second };
            calls::device_of_path(path).and_then(calls::enter_open)
        }
    };
    0
}

#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn sys_exit(ctx: RawTracePointContext) -> i32 {
    // TP_PROTO(struct pt_regs *regs, long ret)
    let Some(call) = call(ctx.arg(0)) else { return 0 };
    let returned: i64 = ctx.arg(1);
    match call.number {
        nr::IOCTL if calls::may_be_ours(call.second as u32) => {
            calls::finish(returned);
        }
        nr::OPENAT | nr::OPEN | nr::OPENAT2 => {
            if returned >= 0 {
                calls::opened(returned as u32);
            } else if returned == -2 {
                // There is no such device.
                calls::leave();
            } else {
                calls::finish(returned);
            }
        }
        nr::CLOSE => closed(returned),
        nr::DUP2 | nr::DUP3 | nr::CLOSE_RANGE => closed_several(),
        _ => {}
    }
    0
}

#[inline(always)]
fn ioctl(call: &Call) -> Option<()> {
    if !calls::may_be_ours(call.second as u32) {
        return None;
    }
    calls::enter_ioctl(call.first as u32, call.second as u32, call.third)
}

#[inline(always)]
fn closed(returned: i64) {
    let (pid, _) = task::current_ids();
    if holders::is_holder(pid) && calls::is_inside() {
        calls::finish(returned);
        holders::look_again(pid);
    }
}

#[inline(always)]
fn closed_several() {
    let (pid, _) = task::current_ids();
    if holders::is_holder(pid) {
        holders::look_again(pid);
    }
}

/// The function behind a system call is entered with the registers of user space as its only argument.
#[fentry]
pub fn enter_ioctl(ctx: FEntryContext) -> i32 {
    let _ = call(ctx.arg(0)).and_then(|call| ioctl(&call));
    0
}

#[fexit]
pub fn exit_ioctl(ctx: FExitContext) -> i32 {
    let Some(call) = call(ctx.arg(0)) else { return 0 };
    if calls::may_be_ours(call.second as u32) {
        calls::finish(ctx.arg(1));
    }
    0
}

#[fentry]
pub fn enter_close(ctx: FEntryContext) -> i32 {
    let _ = call(ctx.arg(0)).and_then(|call| calls::enter_close(call.first as u32));
    0
}

#[fexit]
pub fn exit_close(ctx: FExitContext) -> i32 {
    closed(ctx.arg(1));
    0
}

/// `chrdev_open(struct inode *inode, struct file *filp)`: every opening of a character device, and no other.
#[fentry]
pub fn enter_chrdev_open(ctx: FEntryContext) -> i32 {
    let inode: u64 = ctx.arg(0);
    if let Some(device) = read(inode + field(layout::INODE_RDEV)) {
        let _ = calls::enter_open(device);
    }
    0
}

#[fexit]
pub fn exit_chrdev_open(ctx: FExitContext) -> i32 {
    let inode: u64 = ctx.arg(0);
    let returned: i32 = ctx.arg(2);
    let Some(device) = read(inode + field(layout::INODE_RDEV)) else { return 0 };
    calls::exit_open(device, i64::from(returned));
    0
}

/// `do_sys_openat2(int dfd, const char __user *filename, struct open_how *how)`: of an opening that was refused before it
/// came to the device there is nothing but the path.
#[fexit]
pub fn exit_openat2(ctx: FExitContext) -> i32 {
    let returned: i64 = ctx.arg(3);
    if returned == -1 || returned == -13 {
        let _ = calls::refused(ctx.arg(1), returned);
    }
    0
}

#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn sched_process_fork(ctx: RawTracePointContext) -> i32 {
    // TP_PROTO(struct task_struct *parent, struct task_struct *child)
    let _ = holders::forked(ctx.arg(0), ctx.arg(1));
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn sched_process_exec(ctx: RawTracePointContext) -> i32 {
    // TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)
    let before: u32 = ctx.arg(1);
    calls::forget(before);
    let _ = holders::became(ctx.arg(0));
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn sched_process_exit(ctx: RawTracePointContext) -> i32 {
    // TP_PROTO(struct task_struct *p)
    let (_, tid) = task::current_ids();
    calls::forget(tid);
    let _ = holders::ended(ctx.arg(0));
    0
}

/// Never attached: user space runs it.
#[raw_tracepoint(tracepoint = "walk")]
pub fn walk(_ctx: RawTracePointContext) -> i32 {
    holders::walk();
    0
}
