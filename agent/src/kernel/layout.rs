//! Where this kernel keeps what the BPF program reads of it: offsets by its own type information ([`btf`]), and the rest
//! by what an architecture promises to user space (registers, numbers of calls) or has had for years (stack size).

use std::fs::File;

use agent_ebpf::layout::{
    CALLS, CGROUP_KN, CONTROLLERS, CSS_CGROUP, CSS_SET_DEFAULT, CSS_SET_STATES, FDTABLE_FD,
    FDTABLE_MAX, FILE_INODE, FILES_FDT, INODE_RDEV, KN_ID, KN_NAME, KN_PARENT, LEN, MODE_MASK,
    MODE_USER, PCI_NAME, REGS_BELOW, REGS_CALL, REGS_FD, REGS_FD_32, REGS_MODE, REGS_ROOM,
    SIGNAL_LIVE, STACK_SIZE, TASK_CGROUPS, TASK_COMM, TASK_FILES, TASK_FLAGS, TASK_IO_URING,
    TASK_LEADER, TASK_SIGNAL, TASK_STACK, TASK_STARTED, TASK_TASKS, TASK_TGID, WRITES,
};

use super::btf::{self, Wanted};

/// Where a kernel with type information has it.
pub(super) const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Why the layout is not known.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error("{BTF} {0}")]
    Btf(#[from] btf::Error),
    #[error("{BTF} has no {0}")]
    Missing(String),
    #[error("this architecture's registers are not known")]
    Architecture,
}

/// What differs between the architectures.
struct Machine {
    /// Size of a task's kernel stack where pages are not larger. A kernel built with a memory checker has twice that:
    /// the program finds no user's registers there, and says that the origin is unknown.
    stack: u32,
    /// Members of `pt_regs`: a call's number, its first argument, and that of a 32-bit call.
    regs: [&'static str; 3],
    /// What tells a user's registers: the offset in `pt_regs`, a mask, the value.
    mode: [u32; 3],
    /// What some kernels keep above the registers (x86-64 with CONFIG_X86_FRED, whether or not the processor has that).
    room: u32,
    /// Numbers of the calls that write to the file in their first argument, or to files that they have elsewhere.
    writes: &'static [u32],
}

#[cfg(target_arch = "x86_64")]
const MACHINE: Option<Machine> = Some(Machine {
    stack: 16 << 10,
    regs: ["orig_ax", "di", "bx"],
    // The selector of the stack's segment, __USER_DS.
    mode: [160, 0xffff, 0x2b],
    room: 16,
    #[rustfmt::skip]
    writes: &[
        // write, pwrite64, writev, pwritev, pwritev2, sendfile, splice, io_submit, io_uring_enter
        1, 18, 20, 296, 328, 40, 275, 209, 426,
        // x32, where it differs: writev, pwritev, pwritev2, io_submit
        516, 535, 547, 544,
        // 32 bits: write, writev, pwrite64, pwritev, pwritev2, sendfile, sendfile64, splice, io_submit
        4, 146, 181, 334, 379, 187, 239, 313, 248,
    ],
});

#[cfg(target_arch = "aarch64")]
const MACHINE: Option<Machine> = Some(Machine {
    stack: 16 << 10,
    regs: ["syscallno", "orig_x0", "orig_x0"],
    // The exception level in pstate.
    mode: [264, 0xf, 0],
    room: 0,
    #[rustfmt::skip]
    writes: &[
        // write, pwrite64, writev, pwritev, pwritev2, sendfile, splice, io_submit, io_uring_enter
        64, 68, 66, 70, 287, 71, 76, 2, 426,
        // 32 bits: write, writev, pwrite64, pwritev, pwritev2, sendfile, sendfile64, splice, io_submit
        4, 146, 181, 362, 393, 187, 239, 340, 246,
    ],
});

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const MACHINE: Option<Machine> = None;

/// What lines need: every kernel has it, and it is added to the field.
fn of_lines([call, fd, fd_32]: [&'static str; 3]) -> Vec<(usize, Wanted)> {
    vec![
        (REGS_BELOW, Wanted { of: "pt_regs", member: None }),
        (REGS_CALL, of("pt_regs", call)),
        (REGS_FD, of("pt_regs", fd)),
        (REGS_FD_32, of("pt_regs", fd_32)),
        (TASK_FLAGS, of("task_struct", "flags")),
        (TASK_STACK, of("task_struct", "stack")),
        (TASK_FILES, of("task_struct", "files")),
        (FILES_FDT, of("files_struct", "fdt")),
        (FDTABLE_FD, of("fdtable", "fd")),
        (FILE_INODE, of("file", "f_inode")),
        (INODE_RDEV, of("inode", "i_rdev")),
        (PCI_NAME, of("pci_dev", "dev")),
        (PCI_NAME, of("device", "kobj")),
        (PCI_NAME, of("kobject", "name")),
    ]
}

/// The same for devices.
const OF_DEVICES: [(usize, Wanted); 15] = [
    (TASK_TGID, of("task_struct", "tgid")),
    (TASK_LEADER, of("task_struct", "group_leader")),
    (TASK_STARTED, of("task_struct", "start_boottime")),
    (TASK_SIGNAL, of("task_struct", "signal")),
    (TASK_COMM, of("task_struct", "comm")),
    (TASK_CGROUPS, of("task_struct", "cgroups")),
    (TASK_TASKS, of("task_struct", "tasks")),
    (SIGNAL_LIVE, of("signal_struct", "live")),
    (FDTABLE_MAX, of("fdtable", "max_fds")),
    (CSS_SET_DEFAULT, of("css_set", "dfl_cgrp")),
    (CSS_CGROUP, of("cgroup_subsys_state", "cgroup")),
    (CGROUP_KN, of("cgroup", "kn")),
    (KN_NAME, of("kernfs_node", "name")),
    (KN_ID, of("kernfs_node", "id")),
    (STATES, of("css_set", "subsys")),
];

/// What a kernel may be built without, or has by one of two names.
const OPTIONAL: [(usize, Wanted); 3 + CONTROLLERS] = [
    (TASK_IO_URING, of("task_struct", "io_uring")),
    (KN_PARENT, of("kernfs_node", "parent")),
    (KN_PARENT, of("kernfs_node", "__parent")),
    (CSS_SET_STATES, of("cgroup_subsys_id", "memory_cgrp_id")),
    (CSS_SET_STATES + 1, of("cgroup_subsys_id", "pids_cgrp_id")),
    (CSS_SET_STATES + 2, of("cgroup_subsys_id", "devices_cgrp_id")),
    (CSS_SET_STATES + 3, of("cgroup_subsys_id", "cpu_cgrp_id")),
];

/// Not a field: where in a `css_set` the pointers to the controllers' states begin.
const STATES: usize = LEN;

/// Bytes of one, where there are BPF programs.
const POINTER: u32 = 8;

const fn of(of: &'static str, member: &'static str) -> Wanted {
    Wanted { of, member: Some(member) }
}

/// Where the kernel keeps what the programs read.
#[derive(Debug)]
pub struct Layout {
    /// As the programs take it.
    pub fields: [u32; LEN],
    /// Why devices cannot be traced, where that is known already.
    pub devices: Result<(), LayoutError>,
}

/// The layout of the running kernel. Reads some megabytes.
pub fn of_this_kernel() -> Result<Layout, LayoutError> {
    let machine = MACHINE.ok_or(LayoutError::Architecture)?;
    let mut layout = [0; LEN + 1];
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(0);
    layout[STACK_SIZE] = machine.stack.max(page);
    [layout[REGS_MODE], layout[MODE_MASK], layout[MODE_USER]] = machine.mode;
    layout[REGS_ROOM] = machine.room;
    layout[WRITES..WRITES + CALLS].fill(u32::MAX);
    for (field, call) in layout[WRITES..WRITES + CALLS].iter_mut().zip(machine.writes) {
        *field = *call;
    }
    let mut fields = of_lines(machine.regs);
    let lines = fields.len();
    fields.extend(OF_DEVICES);
    let required = fields.len();
    fields.extend(OPTIONAL);
    let asked: Vec<Wanted> = fields.iter().map(|(_, wanted)| *wanted).collect();
    let found = btf::find(File::open(BTF).map_err(btf::Error::from)?, &asked)?;
    let mut devices = Ok(());
    for (index, ((field, wanted), found)) in fields.into_iter().zip(found).enumerate() {
        match found {
            // Which of the pointers it is.
            Some(value) if (CSS_SET_STATES..CSS_SET_STATES + CONTROLLERS).contains(&field) => {
                layout[field] = layout[STATES].saturating_add(value.saturating_mul(POINTER));
            }
            Some(value) => layout[field] = layout[field].saturating_add(value),
            None if index < lines => return Err(LayoutError::Missing(wanted.to_string())),
            None if index < required => devices = Err(LayoutError::Missing(wanted.to_string())),
            None => {}
        }
    }
    if devices.is_ok() && layout[KN_PARENT] == 0 {
        devices = Err(LayoutError::Missing("kernfs_node.parent".to_owned()));
    }
    let fields = std::array::from_fn(|field| layout[field]);
    Ok(Layout { fields, devices })
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const _: () = assert!(match MACHINE {
    Some(machine) => machine.writes.len() <= CALLS,
    None => true,
});
