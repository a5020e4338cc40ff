//! Where this kernel keeps what the BPF program reads of it: offsets by its own type information ([`btf`]), and the rest
//! by what an architecture promises to user space (registers, numbers of calls) or has had for years (stack size).

use std::fs::File;

use agent_ebpf::layout::{
    CALLS, FDTABLE_FD, FILE_INODE, FILES_FDT, INODE_RDEV, LEN, MODE_MASK, MODE_USER, PCI_NAME,
    REGS_BELOW, REGS_CALL, REGS_FD, REGS_FD_32, REGS_MODE, REGS_ROOM, STACK_SIZE, TASK_FILES,
    TASK_FLAGS, TASK_IO_URING, TASK_STACK, WRITES,
};

use super::btf::{self, Wanted};

/// Where a kernel with type information has it.
const BTF: &str = "/sys/kernel/btf/vmlinux";

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

/// What every kernel has, and the field that it is added to.
fn wanted([call, fd, fd_32]: [&'static str; 3]) -> Vec<(usize, Wanted)> {
    let member = |of, member| Wanted { of, member: Some(member) };
    vec![
        (REGS_BELOW, Wanted { of: "pt_regs", member: None }),
        (REGS_CALL, member("pt_regs", call)),
        (REGS_FD, member("pt_regs", fd)),
        (REGS_FD_32, member("pt_regs", fd_32)),
        (TASK_FLAGS, member("task_struct", "flags")),
        (TASK_STACK, member("task_struct", "stack")),
        (TASK_FILES, member("task_struct", "files")),
        (FILES_FDT, member("files_struct", "fdt")),
        (FDTABLE_FD, member("fdtable", "fd")),
        (FILE_INODE, member("file", "f_inode")),
        (INODE_RDEV, member("inode", "i_rdev")),
        (PCI_NAME, member("pci_dev", "dev")),
        (PCI_NAME, member("device", "kobj")),
        (PCI_NAME, member("kobject", "name")),
    ]
}

/// What a kernel may be built without.
const OPTIONAL: [(usize, Wanted); 1] =
    [(TASK_IO_URING, Wanted { of: "task_struct", member: Some("io_uring") })];

/// The layout of the running kernel, as the program takes it. Reads some megabytes.
pub fn of_this_kernel() -> Result<[u32; LEN], LayoutError> {
    let machine = MACHINE.ok_or(LayoutError::Architecture)?;
    let mut layout = [0; LEN];
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(0);
    layout[STACK_SIZE] = machine.stack.max(page);
    [layout[REGS_MODE], layout[MODE_MASK], layout[MODE_USER]] = machine.mode;
    layout[REGS_ROOM] = machine.room;
    layout[WRITES..].fill(u32::MAX);
    for (field, call) in layout[WRITES..WRITES + CALLS].iter_mut().zip(machine.writes) {
        *field = *call;
    }
    let mut fields = wanted(machine.regs);
    let required = fields.len();
    fields.extend(OPTIONAL);
    let asked: Vec<Wanted> = fields.iter().map(|(_, wanted)| *wanted).collect();
    let found = btf::find(File::open(BTF).map_err(btf::Error::from)?, &asked)?;
    for (index, ((field, wanted), found)) in fields.into_iter().zip(found).enumerate() {
        match found {
            Some(value) => layout[field] = layout[field].saturating_add(value),
            None if index < required => return Err(LayoutError::Missing(wanted.to_string())),
            None => {}
        }
    }
    Ok(layout)
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const _: () = assert!(match MACHINE {
    Some(machine) => machine.writes.len() <= CALLS,
    None => true,
});
