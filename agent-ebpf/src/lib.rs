//! What the BPF program and user space agree on: one record layout, the counters, the places of the kernel's own
//! structures, and the names of the maps.
//!
//! A record is a [`Header`] followed by [`Header::text_len`] bytes of text; between the two a record of [`kind::XID`]
//! has the name of the PCI device, in [`PCI_LEN`] bytes. The ring buffer hands out its slots in a few fixed sizes
//! ([`SLOT_TEXT`]), so bytes after the text are leftovers and mean nothing. User space reads the fields one by one in
//! this order and in the machine's byte order; it never casts a pointer.
#![no_std]

pub mod access;

use core::mem::size_of;

/// Ring buffer of records, kernel → agent. Who loads it says how large it is.
pub const MAP_RECORDS: &str = "RECORDS";
/// Per-CPU array of `u64`, indexed by [`counter`].
pub const MAP_COUNTERS: &str = "COUNTERS";
/// Where the kernel keeps what the program reads of it, indexed by [`layout`]; set before the program is loaded.
pub const GLOBAL_LAYOUT: &str = "LAYOUT";
/// The raw tracepoint program, and the tracepoint it attaches to (`include/trace/events/printk.h`).
pub const PROGRAM_CONSOLE: &str = "console";
/// The same for the driver's own tracepoint (`kernel-open/nvidia/nv-tracepoint.h` of the open kernel modules).
pub const PROGRAM_XID: &str = "nvidia_dev_xid";

/// Length of `task_struct::comm` with its NUL.
pub const COMM_LEN: usize = 16;
/// Room for a PCI device's name, NUL-padded: `0000:3b:00.0`, and domains of more digits.
pub const PCI_LEN: usize = 24;

/// The text sizes a slot can have. Of 304 real driver lines (`tests/kernel-lines`) the middle one has 73 bytes, nine of ten
/// at most 140, the longest 215; printk stores up to 1,024 with the prefix (`kernel/printk/printk.c`).
pub const SLOT_TEXT: [usize; 4] = [96, 160, 224, 1024];
/// The text size of an Xid from the driver's tracepoint. A longer one is cut; the driver prints the same as a line.
pub const XID_TEXT: usize = 448;

/// What stands before the text of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// `CLOCK_MONOTONIC` when the tracepoint was passed, in nanoseconds.
    pub monotonic_ns: u64,
    /// cgroup v2 id of the task the kernel was running as at that moment.
    pub cgroup_id: u64,
    /// Process id of that task in the initial PID namespace (the kernel's tgid).
    pub pid: u32,
    /// Thread id of that task (the kernel's pid).
    pub tid: u32,
    /// What the record is, see [`kind`].
    pub kind: u32,
    /// The Xid's number in a record of [`kind::XID`], else 0.
    pub code: u32,
    /// Bytes of text in this record.
    pub text_len: u32,
    /// Bytes the kernel printed; more than `text_len` when the line was cut.
    pub printed_len: u32,
    /// Command name of that task, NUL-padded. A tenant can set it: data, never advice.
    pub comm: [u8; COMM_LEN],
}

/// Size of [`Header`] on the wire.
pub const HEADER_LEN: usize = size_of::<Header>();

// Two u64, six u32 and the name: no padding anywhere, on any target.
const _: () = assert!(HEADER_LEN == 8 * 2 + 4 * 6 + COMM_LEN);
// A slot stays a multiple of eight bytes, as ring buffer records are.
const _: () = assert!(HEADER_LEN.is_multiple_of(8) && PCI_LEN.is_multiple_of(8));

/// What a record is.
pub mod kind {
    /// A printed line, and nothing is known of who wrote it.
    pub const LINE: u32 = 0;
    /// A line that the kernel, or a driver in it, printed itself.
    pub const LINE_OF_KERNEL: u32 = 1;
    /// A line that a process wrote into the kernel's log.
    pub const LINE_OF_USER: u32 = 2;
    /// An Xid as the driver's own tracepoint tells it.
    pub const XID: u32 = 3;
}

/// Indexes into the counters map.
pub mod counter {
    /// Driver lines that passed the filter.
    pub const LINES: u32 = 0;
    /// Driver lines that found the ring buffer full and are lost.
    pub const LINES_DROPPED: u32 = 1;
    /// Xids of the driver's tracepoint.
    pub const XIDS: u32 = 2;
    /// Xids of the driver's tracepoint that found the ring buffer full and are lost.
    pub const XIDS_DROPPED: u32 = 3;
    /// Number of counters.
    pub const LEN: u32 = 4;
}

/// Indexes into the global [`GLOBAL_LAYOUT`](crate::GLOBAL_LAYOUT): offsets in bytes unless something else is said.
pub mod layout {
    /// Size of a task's kernel stack. 0 where the layout is not known: then every line is of unknown origin.
    pub const STACK_SIZE: usize = 0;
    /// From the stack's end back to the registers that user space had when it entered the kernel.
    pub const REGS_BELOW: usize = 1;
    /// By how much more in some kernels.
    pub const REGS_ROOM: usize = 2;
    /// In these registers: the system call's number (32 bits, negative outside a call), …
    pub const REGS_CALL: usize = 3;
    /// … a call's first argument, …
    pub const REGS_FD: usize = 4;
    /// … the first argument of a 32-bit call, …
    pub const REGS_FD_32: usize = 5;
    /// … and eight bytes of which [`MODE_MASK`] is [`MODE_USER`] if these are a user's registers at all.
    pub const REGS_MODE: usize = 6;
    pub const MODE_MASK: usize = 7;
    pub const MODE_USER: usize = 8;
    /// Members of `task_struct`.
    pub const TASK_FLAGS: usize = 9;
    pub const TASK_STACK: usize = 10;
    pub const TASK_FILES: usize = 11;
    /// 0 in a kernel without io_uring.
    pub const TASK_IO_URING: usize = 12;
    /// From `files_struct` to the number of an open file's device.
    pub const FILES_FDT: usize = 13;
    pub const FDTABLE_FD: usize = 14;
    pub const FILE_INODE: usize = 15;
    pub const INODE_RDEV: usize = 16;
    /// The pointer to a device's name, from its `pci_dev`.
    pub const PCI_NAME: usize = 17;
    /// The first of [`CALLS`] numbers: system calls that write to a file. The rest are `u32::MAX`.
    pub const WRITES: usize = 18;
    pub const CALLS: usize = 24;
    /// What device tracing reads besides; 0 for [`TASK_TGID`] where that is not known.
    pub const TASK_TGID: usize = WRITES + CALLS;
    pub const TASK_LEADER: usize = TASK_TGID + 1;
    pub const TASK_STARTED: usize = TASK_TGID + 2;
    pub const TASK_SIGNAL: usize = TASK_TGID + 3;
    pub const TASK_COMM: usize = TASK_TGID + 4;
    pub const TASK_CGROUPS: usize = TASK_TGID + 5;
    /// The list of all processes.
    pub const TASK_TASKS: usize = TASK_TGID + 6;
    /// `signal_struct::live`: threads that have not begun to end.
    pub const SIGNAL_LIVE: usize = TASK_TGID + 7;
    pub const FDTABLE_MAX: usize = TASK_TGID + 8;
    /// From `css_set` to the cgroup of the unified hierarchy, …
    pub const CSS_SET_DEFAULT: usize = TASK_TGID + 9;
    /// … and the first of [`CONTROLLERS`] pointers to a controller's state, in which the pointer to its cgroup is. 0 for a
    /// controller that this kernel does not have.
    pub const CSS_SET_STATES: usize = TASK_TGID + 10;
    pub const CONTROLLERS: usize = 4;
    pub const CSS_CGROUP: usize = CSS_SET_STATES + CONTROLLERS;
    pub const CGROUP_KN: usize = CSS_CGROUP + 1;
    pub const KN_PARENT: usize = CSS_CGROUP + 2;
    pub const KN_NAME: usize = CSS_CGROUP + 3;
    pub const KN_ID: usize = CSS_CGROUP + 4;
    /// Number of fields.
    pub const LEN: usize = CSS_CGROUP + 5;
}
