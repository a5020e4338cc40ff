//! `cargo xtask build`: the BPF object, the agent around it, and the simulator.
//!
//! | output | what |
//! | --- | --- |
//! | `<target>/bpf/agent-ebpf` | the BPF object, which the agent's build script embeds |
//! | `<target>/release/agent` | the agent |
//! | `<target>/sim/libnvidia-ml.so.1` | the NVML simulator, for tests and the demo, never shipped |
//!
//! With `--arch` for the other kind of machine the same under `<target>/aarch64-unknown-linux-gnu`: an object of its own too,
//! because registers and numbers of system calls are the architecture's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::arch::Arch;
use crate::setup::{self, BpfTools, Cross};
use crate::{cmd, paths, ui};

/// The variable by which the agent's build script learns where the BPF object is.
pub(crate) const BPF_OBJECT: &str = "AGENT_BPF_OBJECT";

#[derive(Debug, clap::Args)]
pub(crate) struct TaskArgs {
    #[command(flatten)]
    args: Args,
    /// Build for this kind of machine instead of this one's.
    #[arg(long, value_enum)]
    arch: Option<Arch>,
}

#[derive(Clone, Debug, Default, clap::Args)]
// Flattened into the arguments of `demo`, where the group of this name is that struct's.
#[group(skip)]
pub(crate) struct Args {
    /// Build the agent without eBPF: stable Rust alone, NVML as the only source.
    #[arg(long)]
    pub(crate) no_default_features: bool,
    /// Make a warning in the BPF program an error, as `ci` does.
    #[arg(skip)]
    pub(crate) deny_warnings: bool,
}

/// Where the outputs are.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) agent: PathBuf,
    /// Holds `libnvidia-ml.so.1`.
    pub(crate) sim_dir: PathBuf,
    /// Absent in an NVML-only build.
    pub(crate) bpf_object: Option<PathBuf>,
}

/// The task.
pub(crate) fn task(task: &TaskArgs) -> Result<()> {
    let cross = task.arch.map(setup::cross).transpose()?.flatten();
    everything(&task.args, Profile::Release, cross.as_ref()).map(|_| ())
}

/// Builds what is shipped, for this machine.
pub(crate) fn run(args: &Args) -> Result<Built> {
    everything(args, Profile::Release, None)
}

/// Optimised as it is shipped, or soon done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Release,
    Dev,
}

impl Profile {
    /// Where cargo puts what it builds.
    fn dir(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "debug",
        }
    }
}

/// Builds all three, for this machine or another kind.
pub(crate) fn everything(args: &Args, profile: Profile, cross: Option<&Cross>) -> Result<Built> {
    let bpf_object = if args.no_default_features {
        ui::line("without eBPF: the agent will know what NVML tells, and say that it has no eBPF");
        None
    } else {
        let arch = cross.map_or_else(Arch::here, |cross| Ok(cross.arch))?;
        Some(bpf(&setup::bpf()?, arch, args.deny_warnings)?)
    };

    ui::step("the agent");
    let mut agent = cargo_build(profile, cross);
    agent.args(["--package", "agent"]);
    match &bpf_object {
        Some(object) => agent.env(BPF_OBJECT, object),
        None => agent.arg("--no-default-features"),
    };
    cmd::visible(&mut agent)?;

    let agent = place(cross.map(|cross| cross.arch))?.join(profile.dir()).join("agent");
    let built = Built { agent, sim_dir: simulator(profile, cross)?, bpf_object };
    ui::line(format!("built {}", built.agent.display()));
    Ok(built)
}

/// `cargo build` for this machine or another kind.
fn cargo_build(profile: Profile, cross: Option<&Cross>) -> Command {
    let mut cargo = paths::cargo();
    cargo.arg("build");
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    if let Some(cross) = cross {
        cross.have(&mut cargo);
    }
    cargo
}

/// Where the outputs for a kind of machine are.
pub(crate) fn place(arch: Option<Arch>) -> Result<PathBuf> {
    let target = paths::target()?;
    Ok(arch.map_or_else(|| target.to_path_buf(), |arch| target.join(arch.target())))
}

/// Builds the BPF program and returns where its object is.
pub(crate) fn bpf(tools: &BpfTools, arch: Arch, deny_warnings: bool) -> Result<PathBuf> {
    ui::step("the BPF program");
    let target = place(Some(arch).filter(|arch| Arch::here().is_ok_and(|here| here != *arch)))?;
    // A directory of its own: another compiler's, other flags', another lock's.
    let own_target = target.join("bpf-build");
    let mut cargo = tools.rustc.cargo();
    cargo.args(["build", "--package", "agent-ebpf", "--bin", "agent-ebpf"]);
    cargo.args(["--features", "program", "--profile", "bpf"]);
    cargo.args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"]);
    cargo.env("CARGO_TARGET_DIR", &own_target);
    // The encoded form takes precedence over any RUSTFLAGS of the user, which are for the host.
    let flags = flags(&tools.linker.path, arch, deny_warnings)?;
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    cmd::visible(&mut cargo).context("the BPF program does not build")?;

    let object = target.join("bpf/agent-ebpf");
    copy_if_changed(&own_target.join("bpfel-unknown-none/bpf/agent-ebpf"), &object)?;
    Ok(object)
}

fn flags(linker: &Path, arch: Arch, deny_warnings: bool) -> Result<Vec<String>> {
    let linker = linker.to_str().context("the path of bpf-linker is not UTF-8")?;
    let mut flags = vec![
        // Debug information is what the linker makes the object's BTF from.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={linker}"),
        // aya-ebpf takes the kernel's register layout from this.
        format!("--cfg=bpf_target_arch=\"{}\"", arch.rust()),
    ];
    if deny_warnings {
        flags.push("-Dwarnings".to_owned());
    }
    Ok(flags)
}

/// The simulator under the name that a client of NVML looks for.
pub(crate) fn simulator(profile: Profile, cross: Option<&Cross>) -> Result<PathBuf> {
    ui::step("the NVML simulator");
    cmd::visible(cargo_build(profile, cross).args(["--package", "nvml-sim"]))?;
    let place = place(cross.map(|cross| cross.arch))?;
    let dir = place.join("sim");
    let library = place.join(profile.dir()).join("libnvml_sim.so");
    copy_if_changed(&library, &dir.join("libnvidia-ml.so.1"))?;
    Ok(dir)
}

/// Copies, but leaves an equal file alone, so that cargo sees no change where there is none.
/// The new file takes the old one's place at once: a program that has it mapped keeps the old.
fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let write = || {
        if let Some(dir) = to.parent() {
            fs::create_dir_all(dir)?;
        }
        let new = to.with_extension("new");
        fs::write(&new, bytes)?;
        fs::rename(&new, to)
    };
    write().with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linker_is_one_flag_even_with_a_space_in_its_path() {
        let flags = flags(Path::new("/opt/my tools/bpf-linker"), Arch::Arm64, false).unwrap();
        assert!(flags.contains(&"-Clinker=/opt/my tools/bpf-linker".to_owned()));
        assert!(!flags.contains(&"-Dwarnings".to_owned()));
        assert!(flags.contains(&"--cfg=bpf_target_arch=\"aarch64\"".to_owned()));
    }

    #[test]
    fn an_equal_file_is_left_alone() {
        let dir = std::env::temp_dir().join(format!("xtask-copy-{}", std::process::id()));
        let (from, to) = (dir.join("from"), dir.join("sub/to"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(&from, "one").unwrap();
        copy_if_changed(&from, &to).unwrap();
        let first = fs::metadata(&to).unwrap().modified().unwrap();
        copy_if_changed(&from, &to).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().modified().unwrap(), first);
        fs::write(&from, "two").unwrap();
        copy_if_changed(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "two");
        fs::remove_dir_all(&dir).unwrap();
    }
}
