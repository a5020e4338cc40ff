//! `cargo xtask vm`: Debian's kernels, old and new, each in a virtual machine with a stand-in for the NVIDIA driver, and
//! the agent's eBPF at work on them.
//!
//! ```text
//! cargo xtask vm                          # all kernels
//! cargo xtask vm --kernel 5.10 --agent target/debug/agent
//! cargo xtask vm --arch arm64             # Debian's kernels for arm64
//! ```
//!
//! | step | file |
//! | --- | --- |
//! | which kernels, and what is expected on each | `kernels` |
//! | find and download their packages; once | `debian` |
//! | unpack them, and find them again | `packages` |
//! | build the stand-in (`tests/vm/module/`) for each; once per change | `module` |
//! | pack agent, simulator, stand-in and the guest's program (`tests/vm/guest/`) | `initramfs` |
//! | boot, and read what the checks say | `boot` |
//! | lay it beside what is expected | `table` |
//!
//! The kernel's own messages of each run stay in `<target>/vm/RELEASE.log`.

mod boot;
pub(crate) mod debian;
mod initramfs;
mod kernels;
mod module;
mod packages;
mod table;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};

use self::boot::Said;
use self::initramfs::Contents;
use self::kernels::{CI_CANNOT_HAVE, KERNELS, Wanted};
use self::packages::{Kernel, Store};
use self::table::Column;
use crate::arch::Arch;
use crate::build::{self, Profile};
use crate::setup::{self, Cross};
use crate::{cmd, paths, test, ui};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these kernels: 5.10, 6.1, 6.12, newest.
    #[arg(long = "kernel", value_name = "NAME")]
    kernels: Vec<String>,
    /// Kernels, and an agent, for this kind of machine.
    #[arg(long, value_enum)]
    arch: Option<Arch>,
    /// Check this agent instead of building one.
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
    /// Look for newer kernels: throw away what was downloaded before.
    #[arg(long)]
    refresh: bool,
    /// Say what each check found, and not only whether that is as expected.
    #[arg(long)]
    details: bool,
}

/// The task.
pub(crate) fn run(args: &Args) -> Result<()> {
    let arch = args.arch.map_or_else(Arch::here, Ok)?;
    let cross = setup::cross(arch)?;
    let cross = cross.as_ref();
    let wanted = chosen(&args.kernels)?;
    let (agent, sim_dir) = if let Some(agent) = &args.agent {
        (agent.clone(), build::simulator(Profile::Release, cross)?)
    } else {
        let built = build::everything(&build::Args::default(), Profile::Release, cross)?;
        (built.agent, built.sim_dir)
    };
    let guest = guest(cross)?;
    let simulator = sim_dir.join("libnvidia-ml.so.1");
    let programs: [(&Path, &str); 3] =
        [(&guest, "init"), (&agent, "agent"), (&simulator, "libnvidia-ml.so.1")];

    ui::step("the kernels");
    let store = Store::open(arch, args.refresh)?;
    let qemu = setup::qemu(arch)?;
    let kernels = store.ensure(&wanted)?;

    ui::step("the machines");
    let mut columns = Vec::new();
    for (wanted, kernel) in wanted.iter().zip(kernels) {
        let release = kernel.as_ref().ok().map(|kernel| kernel.release.clone());
        let release =
            release.and_then(|release| Some((release.clone(), kernels::version(&release)?)));
        let said = kernel.and_then(|kernel| one(&store, &qemu, wanted, &kernel, &programs, cross));
        let said = said.map_err(|error| format!("{error:#}"));
        columns.push(Column { name: wanted.name, arch, release, said });
    }
    say(&columns, args.details)
}

/// Builds for one kernel, boots it, and says how long it took.
fn one(
    store: &Store,
    qemu: &Path,
    wanted: &Wanted,
    kernel: &Kernel,
    programs: &[(&Path, &str)],
    cross: Option<&Cross>,
) -> Result<Said> {
    let module = module::build(store, kernel)?;
    let files = [(module.as_path(), "nvidia.ko")];
    let archive = initramfs::build(&Contents { programs, files: &files }, cross)?;
    let started = Instant::now();
    let said = boot::boot(
        qemu,
        store.arch,
        kernel,
        wanted.standin,
        &archive,
        &paths::target()?.join("vm"),
    )?;
    ui::line(format!("  {} ended after {}", kernel.release, ui::elapsed(started.elapsed())));
    Ok(said)
}

fn chosen(names: &[String]) -> Result<Vec<&'static Wanted>> {
    if let Some(name) = names.iter().find(|name| KERNELS.iter().all(|kernel| kernel.name != *name))
    {
        let known: Vec<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
        bail!("there is no kernel {name} in xtask/src/vm/kernels.rs, but {}", known.join(", "));
    }
    let chosen = KERNELS
        .iter()
        .filter(|kernel| names.is_empty() || names.iter().any(|name| name == kernel.name));
    Ok(chosen.collect())
}

/// The guest's program: small, and quickly built.
fn guest(cross: Option<&Cross>) -> Result<PathBuf> {
    ui::step("the guest's program");
    let mut cargo = paths::cargo();
    cargo.args(["rustc", "--package", "e2e", "--bin", "vm-guest"]);
    if let Some(cross) = cross {
        cross.have(&mut cargo);
    }
    cmd::visible(cargo.args(["--", "-Cstrip=symbols"]))?;
    Ok(build::place(cross.map(|cross| cross.arch))?.join("debug/vm-guest"))
}

/// Prints the table; an error where something is not as expected.
fn say(columns: &[Column], details: bool) -> Result<()> {
    let (lines, wrong) = table::judge(columns);
    ui::line("");
    lines.iter().for_each(ui::line);
    if details {
        for column in columns {
            let checks = column.said.iter().flat_map(|said| &said.checks);
            checks.for_each(|(name, went)| ui::line(format!("  {} {name}: {went:?}", column.name)));
        }
    }
    ui::line("");
    let in_ci = test::in_ci();
    let excused = |column: &&Column| {
        column.release.is_none()
            && (!in_ci || CI_CANNOT_HAVE.iter().any(|(name, _)| *name == column.name))
    };
    for column in columns.iter().filter(excused) {
        if let Err(why) = &column.said {
            ui::line(format!("NOT HAD: Linux {}: {why}", column.name));
        }
    }
    let excused: Vec<_> =
        columns.iter().filter(excused).map(|column| format!("{}: ", column.name)).collect();
    let wrong: Vec<_> =
        wrong.iter().filter(|line| !excused.iter().any(|name| line.starts_with(name))).collect();
    for line in &wrong {
        ui::line(format!("NOT AS EXPECTED: {line}"));
    }
    if !wrong.is_empty() {
        bail!("{} things on these kernels are not as xtask/src/vm/kernels.rs expects", wrong.len());
    }
    if columns.iter().all(|column| column.said.is_err()) {
        bail!("none of the kernels was had, so nothing was checked");
    }
    Ok(())
}
