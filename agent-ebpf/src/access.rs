//! The device half of what the BPF programs and user space agree on: who has a device of the driver's open, and what it
//! asks of the driver.
//!
//! Calls are counted in the kernel ([`CallKey`] → [`CallStats`]); what is an event comes through a ring buffer of its own
//! as an [`Access`], so that no storm of opens costs an Xid. The cgroup of a process comes once as a [`Place`].

use core::mem::size_of;

use crate::COMM_LEN;

/// Ring buffer of [`Access`] and [`Place`], told apart by their first field.
pub const MAP_ACCESSES: &str = "ACCESSES";
/// Array of one [`Majors`], written by user space.
pub const MAP_MAJORS: &str = "MAJORS";
/// Thread → [`Thread`]: the call it is in, or was last.
pub const MAP_THREADS: &str = "THREADS";
/// Process → [`Holder`].
pub const MAP_HOLDERS: &str = "HOLDERS";
/// [`CallKey`] → [`CallStats`].
pub const MAP_CALLS: &str = "CALLS";
/// cgroup → nothing: those of which a [`Place`] was told.
pub const MAP_PLACES: &str = "PLACES";
/// Array of one `u32`: the number of the window in which slowest calls are kept, counted up by user space.
pub const MAP_WINDOW: &str = "WINDOW";
/// Array of one [`Walk`].
pub const MAP_WALK: &str = "WALK";
/// Request → where in its parameters the command (upper half) and the status (lower half) stand, or [`NOWHERE`]. Written by
/// user space before the programs are attached. A request counts without the two bits that say which way is copied.
pub const MAP_PARAMETERS: &str = "PARAMETERS";
/// Per-CPU array of `u64`, indexed by [`total`].
pub const MAP_TOTALS: &str = "TOTALS";

/// Never attached; run by user space, it looks through every process's files.
pub const PROGRAM_WALK: &str = "walk";

/// No place in the parameters.
pub const NOWHERE: u32 = 0xffff;
/// Most requests in [`MAP_PARAMETERS`].
pub const REQUESTS: u32 = 256;

/// The driver's major numbers in this boot; `u32::MAX` for one that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Majors {
    /// GPUs, `nvidiactl` and `nvidia-modeset`.
    pub nvidia: u32,
    /// `nvidia-uvm` and `nvidia-uvm-tools`.
    pub uvm: u32,
    /// `nvidia-caps/*`.
    pub caps: u32,
    pub reserved: u32,
}

/// Bits of [`Holder::held`]: GPUs by their minor number, and one for each of the others.
pub mod held {
    /// Minor numbers from here on have no bit of their own and share the last.
    pub const GPUS: u32 = 32;
    pub const CONTROL: u32 = 32;
    pub const MODESET: u32 = 33;
    pub const UVM: u32 = 34;
    pub const UVM_TOOLS: u32 = 35;
    pub const CAPABILITIES: u32 = 36;
    /// A GPU of a minor number above those with a bit.
    pub const OTHER: u32 = 37;
    pub const LEN: u32 = 38;
}

/// What a process holds. Written by the programs, read by user space; gone with the process or its last file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Holder {
    /// When the process started, in nanoseconds of `CLOCK_BOOTTIME`; with its number it is the process's identity.
    pub started_ns: u64,
    /// See [`held`].
    pub held: u64,
    /// When it was first known to hold one, in nanoseconds of `CLOCK_MONOTONIC`.
    pub since_ns: u64,
    /// Its cgroup, see [`Place::place`].
    pub place: u64,
    pub comm: [u8; COMM_LEN],
}

/// The call a thread is in. Written by the programs, read by user space; gone with the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Thread {
    /// When it entered the call, in nanoseconds of `CLOCK_MONOTONIC`; 0 outside.
    pub entered_ns: u64,
    pub started_ns: u64,
    /// The ioctl's argument.
    pub argument: u64,
    pub pid: u32,
    pub tid: u32,
    /// Number of the device, as `makedev` in the kernel puts it together.
    pub device: u32,
    /// See [`call`].
    pub call: u32,
    pub request: u32,
    pub command: u32,
    /// Where the status stands in what `argument` points to, or [`NOWHERE`].
    pub status_at: u32,
    pub reserved: u32,
    pub comm: [u8; COMM_LEN],
}

/// What a thread does.
pub mod call {
    pub const OPEN: u32 = 0;
    pub const CLOSE: u32 = 1;
    pub const IOCTL: u32 = 2;
    pub const LEN: u32 = 3;
}

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct CallKey {
    pub started_ns: u64,
    pub pid: u32,
    pub device: u32,
    pub call: u32,
    pub request: u32,
    pub command: u32,
    pub reserved: u32,
}

/// Buckets of [`CallStats::took`].
pub const BUCKETS: usize = 32;

/// What was counted. Written by the programs on several CPUs at once, the sums by atomic additions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct CallStats {
    pub count: u64,
    /// Calls that returned an error number.
    pub errors: u64,
    /// Calls that came back with a status of the driver's other than 0.
    pub statuses: u64,
    pub took_ns: u64,
    /// When the last one came back, in nanoseconds of `CLOCK_MONOTONIC`.
    pub last_ns: u64,
    /// The slowest of this window and of the one before, by whether their number is odd.
    pub slowest: [Slowest; 2],
    /// The last error number, positive, and the last status.
    pub last_error: u32,
    pub last_status: u32,
    /// How many failures of this key were told.
    pub told: u32,
    pub reserved: u32,
    /// Calls that took at least 2^n and less than 2^(n+1) ns; the last has all longer ones.
    pub took: [u32; BUCKETS],
}

/// The slowest call of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Slowest {
    pub took_ns: u64,
    /// When it came back.
    pub at_ns: u64,
    pub window: u32,
    pub tid: u32,
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Access {
    /// See [`what`].
    pub kind: u32,
    /// The device of a call, else 0.
    pub device: u32,
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub monotonic_ns: u64,
    pub started_ns: u64,
    pub place: u64,
    /// The devices that the process has got or has no more, see [`held`].
    pub held: u64,
    pub took_ns: u64,
    pub pid: u32,
    pub tid: u32,
    /// See [`call`].
    pub call: u32,
    pub request: u32,
    pub command: u32,
    /// An error number, negative, or a status of the driver's, or 0.
    pub failure: i32,
    pub comm: [u8; COMM_LEN],
}

/// What an event is.
pub mod what {
    /// Got its first file of a device: by opening it, …
    pub const OPENED: u32 = 0;
    /// … from its parent, …
    pub const INHERITED: u32 = 1;
    /// … or it had it when that was looked for first.
    pub const FOUND: u32 = 2;
    /// Has no file of it any more.
    pub const CLOSED: u32 = 3;
    /// The same, as it has ended.
    pub const EXITED: u32 = 4;
    /// A call returned an error number, …
    pub const FAILED: u32 = 5;
    /// … or a status.
    pub const STATUS: u32 = 6;
    /// The process has become another program, and has another name.
    pub const RENAMED: u32 = 7;
    /// Not an [`Access`] but a [`Place`](super::Place).
    pub const PLACE: u32 = 8;
}

/// Names of directories in a [`Place`], of each hierarchy.
pub const LEVELS: usize = 8;
/// Room for a directory's name, with a NUL. The longest of a real node has 153 bytes.
pub const NAME_LEN: usize = 160;

/// Where in the cgroup tree a process is: the names of the directories, the innermost first; of more than [`LEVELS`] those
/// that are nearest to the root.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Place {
    /// [`what::PLACE`].
    pub kind: u32,
    pub reserved: u32,
    /// What stands for it in [`Holder`] and [`Access`]: the ids of both cgroups together.
    pub place: u64,
    /// In the unified hierarchy (cgroup v2), and in another of a controller's (cgroup v1).
    pub names: [[[u8; NAME_LEN]; LEVELS]; 2],
}

/// How far the walk has come. 0 everywhere before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Walk {
    /// The task that is being looked at, and when it started.
    pub task: u64,
    pub started_ns: u64,
    /// Where it began.
    pub first: u64,
    /// What was found of this task so far.
    pub held: u64,
    /// The next of its files.
    pub file: u32,
    pub done: u32,
    /// Processes and files that were looked at.
    pub processes: u32,
    pub files: u32,
}

/// Indexes into the totals.
pub mod total {
    use super::{call, held};

    /// Calls by device and kind: `device * call::LEN + call`, the device as in [`held`].
    pub const CALLS: u32 = 0;
    /// The same for those that failed.
    pub const ERRORS: u32 = held::LEN * call::LEN;
    /// Events that found the ring buffer full.
    pub const DROPPED: u32 = 2 * ERRORS;
    /// Calls that are in no [`CallStats`](super::CallStats), for want of room.
    pub const UNCOUNTED: u32 = DROPPED + 1;
    /// Calls that could not be followed, for want of room for their thread.
    pub const UNFOLLOWED: u32 = DROPPED + 2;
    /// How often a process that holds a device could not be noted, for want of room.
    pub const UNHELD: u32 = DROPPED + 3;
    pub const LEN: u32 = DROPPED + 4;
}

// No padding, on any target: fields in the order of their sizes, or filled up.
const _: () = {
    assert!(size_of::<Majors>() == 4 * 4);
    assert!(size_of::<Holder>() == 8 * 4 + COMM_LEN);
    assert!(size_of::<Thread>() == 8 * 3 + 4 * 8 + COMM_LEN);
    assert!(size_of::<CallKey>() == 8 + 4 * 6);
    assert!(size_of::<Slowest>() == 8 * 2 + 4 * 2);
    assert!(size_of::<CallStats>() == 8 * 5 + 24 * 2 + 4 * 4 + 4 * BUCKETS);
    assert!(size_of::<Access>() == 4 * 2 + 8 * 5 + 4 * 6 + COMM_LEN);
    assert!(size_of::<Place>() == 16 + 2 * LEVELS * NAME_LEN);
    assert!(size_of::<Walk>() == 8 * 4 + 4 * 4);
};
