//! `cargo xtask build`: the BPF object, the agent around it, and the simulator.
//!
//! | output | what |
//! | --- | --- |
//! | `<target>/bpf/agent-ebpf` | the BPF object, which the agent's build script embeds |
//! | `<target>/release/agent` | the agent |
//! | `<target>/sim/libnvidia-ml.so.1` | the NVML simulator, for tests and the demo, never shipped |

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::setup::{self, BpfTools};
use crate::{cmd, paths, ui};

/// The variable by which the agent's build script learns where the BPF object is.
pub(crate) const BPF_OBJECT: &str = "AGENT_BPF_OBJECT";

#[derive(Debug, Default, clap::Args)]
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
pub(crate) fn run(args: &Args) -> Result<Built> {
    let bpf_object = if args.no_default_features {
        ui::line("without eBPF: the agent will know what NVML tells, and say that it has no eBPF");
        None
    } else {
        Some(bpf(&setup::bpf()?, args.deny_warnings)?)
    };

    ui::step("the agent");
    let mut agent = paths::cargo();
    agent.args(["build", "--release", "--package", "agent"]);
    match &bpf_object {
        Some(object) => agent.env(BPF_OBJECT, object),
        None => agent.arg("--no-default-features"),
    };
    cmd::visible(&mut agent)?;

    let target = paths::target()?;
    let built = Built { agent: target.join("release/agent"), sim_dir: simulator()?, bpf_object };
    ui::line(format!("built {}", built.agent.display()));
    Ok(built)
}

/// Builds the BPF program and returns where its object is.
pub(crate) fn bpf(tools: &BpfTools, deny_warnings: bool) -> Result<PathBuf> {
    ui::step("the BPF program");
    let target = paths::target()?;
    // A directory of its own: another compiler's, other flags', another lock's.
    let own_target = target.join("bpf-build");
    let mut cargo = tools.rustc.cargo();
    cargo.args(["build", "--package", "agent-ebpf", "--bin", "agent-ebpf"]);
    cargo.args(["--features", "program", "--profile", "bpf"]);
    cargo.args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"]);
    cargo.env("CARGO_TARGET_DIR", &own_target);
    // The encoded form takes precedence over any RUSTFLAGS of the user, which are for the host.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(&tools.linker.path, deny_warnings)?.join("\x1f"));
    cmd::visible(&mut cargo).context("the BPF program does not build")?;

    let object = target.join("bpf/agent-ebpf");
    copy_if_changed(&own_target.join("bpfel-unknown-none/bpf/agent-ebpf"), &object)?;
    Ok(object)
}

fn flags(linker: &Path, deny_warnings: bool) -> Result<Vec<String>> {
    let linker = linker.to_str().context("the path of bpf-linker is not UTF-8")?;
    if !matches!(ARCH, "x86_64" | "aarch64") {
        bail!("the BPF program is written for nodes of x86_64 and aarch64, and this is {ARCH}");
    }
    let mut flags = vec![
        // Debug information is what the linker makes the object's BTF from.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={linker}"),
        // aya-ebpf takes the kernel's register layout from this.
        format!("--cfg=bpf_target_arch=\"{ARCH}\""),
    ];
    if deny_warnings {
        flags.push("-Dwarnings".to_owned());
    }
    Ok(flags)
}

/// The simulator under the name that a client of NVML looks for.
pub(crate) fn simulator() -> Result<PathBuf> {
    ui::step("the NVML simulator");
    cmd::visible(paths::cargo().args(["build", "--release", "--package", "nvml-sim"]))?;
    let target = paths::target()?;
    let dir = target.join("sim");
    copy_if_changed(&target.join("release/libnvml_sim.so"), &dir.join("libnvidia-ml.so.1"))?;
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
        let flags = flags(Path::new("/opt/my tools/bpf-linker"), false).unwrap();
        assert!(flags.contains(&"-Clinker=/opt/my tools/bpf-linker".to_owned()));
        assert!(!flags.contains(&"-Dwarnings".to_owned()));
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
