//! What the BPF program and user space agree on: one record layout, the counters, and the names of the maps.
//!
//! A record is a [`ConsoleHeader`] followed by [`ConsoleHeader::text_len`] bytes of the line. The ring buffer hands
//! out its slots in a few fixed sizes ([`SLOT_TEXT`]), so bytes after the text are leftovers and mean nothing.
//! User space reads the fields one by one in this order and in the machine's byte order; it never casts a pointer.
#![no_std]

use core::mem::size_of;

/// Ring buffer of console records, kernel → agent.
pub const MAP_CONSOLE: &str = "CONSOLE";
/// Per-CPU array of `u64`, indexed by [`counter`].
pub const MAP_COUNTERS: &str = "COUNTERS";
/// The raw tracepoint program, and the tracepoint it attaches to (`include/trace/events/printk.h`).
pub const PROGRAM_CONSOLE: &str = "console";

/// Length of `task_struct::comm` with its NUL.
pub const COMM_LEN: usize = 16;

/// The text sizes a slot can have: a usual Xid, one with a long decode, and the longest line printk stores
/// (1,024 bytes with its prefix, `kernel/printk/printk.c`).
pub const SLOT_TEXT: [usize; 3] = [192, 448, 1024];

/// What stands before the text of every console record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ConsoleHeader {
    /// `CLOCK_MONOTONIC` when the line passed the tracepoint, in nanoseconds.
    pub monotonic_ns: u64,
    /// cgroup v2 id of the task the kernel was running as at that moment.
    pub cgroup_id: u64,
    /// Process id of that task in the initial PID namespace (the kernel's tgid).
    pub pid: u32,
    /// Thread id of that task (the kernel's pid).
    pub tid: u32,
    /// Bytes of text in this record.
    pub text_len: u32,
    /// Bytes the kernel printed; more than `text_len` when the line was cut.
    pub printed_len: u32,
    /// Command name of that task, NUL-padded. A tenant can set it: data, never advice.
    pub comm: [u8; COMM_LEN],
}

/// Size of [`ConsoleHeader`] on the wire.
pub const HEADER_LEN: usize = size_of::<ConsoleHeader>();

// Two u64, four u32 and the name: no padding anywhere, on any target.
const _: () = assert!(HEADER_LEN == 8 * 2 + 4 * 4 + COMM_LEN);
// A slot stays a multiple of eight bytes, as ring buffer records are.
const _: () = assert!(HEADER_LEN.is_multiple_of(8));

/// Indexes into the counters map.
pub mod counter {
    /// Driver lines that passed the filter.
    pub const HEARD: u32 = 0;
    /// Driver lines that found the ring buffer full and are lost.
    pub const DROPPED: u32 = 1;
    /// Number of counters.
    pub const LEN: u32 = 2;
}
