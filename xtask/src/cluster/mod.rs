//! `cargo xtask cluster`: a real Kubernetes on this machine, and the chart and the image at work on it.
//!
//! ```text
//! cargo xtask cluster            # up, test, down
//! cargo xtask cluster up         # and keep it, to work in by hand
//! eval "$(cargo xtask cluster env)"
//! $NSENTER $KUBECTL get nodes
//! cargo xtask cluster test --keep
//! cargo xtask cluster down
//! ```
//!
//! etcd, the four servers of Kubernetes, and two nodes (`--nodes`), each a containerd and a kubelet in namespaces of its own, with
//! real pods by runc. It needs root and no registry, engine or systemd. The whole lies in a network namespace, so that no port of
//! the machine is taken and only who enters it reaches the API server. Kubernetes is v1.20, the newest whose whole source Debian
//! has (`setup/kubernetes`); kubectl and Helm are new ones.
//!
//! | what is done | file |
//! | --- | --- |
//! | take of the machine what it needs, and give it back | `ground` |
//! | bring it up | `up`, with what is in `tests/cluster/machine/` |
//! | start processes, wait, end them | `process` |
//!
//! | in `<target>/cluster/` | what |
//! | --- | --- |
//! | `admin.conf` | the administrator's kubeconfig |
//! | `env` | `NAME=value` lines, there once it is up: `NSENTER` (a command before each that talks to the API server), `KUBECTL`, `KUBECTL_OLD`, `HELM` (two, separated as in `PATH`), `IMAGE` (in each node's containerd), `NODES` |
//! | `nodes/NAME/gpu/` | what the runtime `nvidia` of the node mounts into pods: the NVML simulator, and `scenario.toml`, which may be changed while they run. `tests/cluster/machine/simulated-nvidia-runtime` is its manual |
//! | `log/`, `nodes/NAME/log/` | what every part says; all that `down` leaves |
//!
//! Seen with cgroups of version 1 and without `CAP_SYS_RESOURCE`. What version 2 needs is done (`ground`), but was not seen.

mod ground;
mod process;
#[cfg(test)]
mod runtime_test;
mod up;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::test::Outcome;
use crate::{build, image, paths, setup, test, ui};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    test: TestArgs,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Bring it up, with the image that is built now.
    Up(UpArgs),
    /// Run the tests of the cluster on it; brought up if it is not, and then taken down.
    Test {
        #[command(flatten)]
        args: TestArgs,
        /// Only the tests with this in their names.
        filter: Option<String>,
    },
    /// Print what a shell needs to use it.
    Env,
    /// End it, and leave the machine as it was.
    Down,
}

/// A test that needs several nodes is content with these.
const NODES: u8 = 2;

#[derive(Debug, clap::Args)]
struct UpArgs {
    /// How many nodes.
    #[arg(long, default_value_t = NODES, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
}

#[derive(Debug, clap::Args)]
struct TestArgs {
    #[command(flatten)]
    up: UpArgs,
    /// Leave it up.
    #[arg(long)]
    keep: bool,
}

/// The agent's image, as the nodes have it.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) archive: PathBuf,
    pub(crate) name: String,
}

/// The task.
pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.what {
        Some(What::Up(up)) => bring_up(up.nodes, &built()?).map(|_| ()),
        Some(What::Test { args, filter }) => run_tests(args, filter.as_deref()),
        None => run_tests(&args.test, None),
        Some(What::Env) => env(),
        Some(What::Down) => {
            if down()? {
                return Ok(());
            }
            ui::line("there is no cluster");
            Ok(())
        }
    }
}

/// Builds agent, simulator and image.
fn built() -> Result<(PathBuf, Image)> {
    let built = build::run(&build::Args::default())?;
    let archive = image::around(&built.agent)?;
    Ok((built.sim_dir.join("libnvidia-ml.so.1"), Image { archive, name: image::NAME.to_owned() }))
}

/// A cluster for its tests alone, as `ci` wants it.
pub(crate) fn ci() -> Result<Outcome> {
    tested(NODES, false, None)
}

/// Brings it up and returns where it is; one that is up gets the new image.
fn bring_up(nodes: u8, (simulator, image): &(PathBuf, Image)) -> Result<PathBuf> {
    if let Some(state) = ground::claimed() {
        if !up::is_whole(&state) {
            bail!(
                "the cluster in {} is not whole: `cargo xtask cluster down` ends it",
                state.display()
            );
        }
        up::renew(&state, simulator, image)?;
        ui::line(format!("  the cluster in {} is up, and has this image now", state.display()));
        return Ok(state);
    }
    if !setup::is_root() {
        bail!("a cluster needs root: namespaces, mounts and cgroups are made for its nodes");
    }
    let tools = setup::cluster()?;
    ui::step("the cluster");
    let started = Instant::now();
    let state = paths::target()?.join("cluster");
    if let Err(error) = up::up(&state, nodes, simulator, image, &tools) {
        // Not one that somebody else brought up meanwhile.
        if ground::claimed().as_ref() == Some(&state)
            && let Err(error) = down()
        {
            ui::error(&error);
        }
        return Err(error);
    }
    ui::line(format!("  the cluster is up after {}", ui::elapsed(started.elapsed())));
    ui::line("  by hand: eval \"$(cargo xtask cluster env)\"");
    Ok(state)
}

/// Ends the cluster, whoever started it; false when there is none.
fn down() -> Result<bool> {
    let Some(state) = ground::claimed() else { return Ok(false) };
    let started = Instant::now();
    process::end_all(&state)?;
    ground::give_back(&state)?;
    // What every part said stays.
    for node in fs::read_dir(state.join("nodes")).into_iter().flatten().flatten() {
        clear(&node.path(), &["log"])?;
    }
    clear(&state, &["log", "nodes"])?;
    ui::line(format!("  the cluster is down after {}", ui::elapsed(started.elapsed())));
    Ok(true)
}

/// Removes what is in a folder, but what is kept.
fn clear(dir: &Path, kept: &[&str]) -> Result<()> {
    let context = || format!("cannot clear {}", dir.display());
    for entry in fs::read_dir(dir).with_context(context)?.flatten() {
        if kept.iter().any(|kept| entry.file_name() == *kept) {
            continue;
        }
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
            .with_context(context)?;
    }
    Ok(())
}

fn run_tests(args: &TestArgs, filter: Option<&str>) -> Result<()> {
    let outcome = tested(args.up.nodes, args.keep, filter)?;
    outcome.say();
    outcome.verdict
}

/// Runs the tests on a cluster, which ends with them where it began for them and nobody keeps it.
fn tested(nodes: u8, keep: bool, filter: Option<&str>) -> Result<Outcome> {
    let was_up = ground::claimed().is_some();
    let state = bring_up(nodes, &built()?)?;
    let outcome = test::on_cluster(&state, filter);
    if !was_up && !keep {
        down()?;
    }
    outcome
}

fn env() -> Result<()> {
    let Some(state) = ground::claimed().filter(|state| up::is_whole(state)) else {
        bail!("there is no cluster that is up: `cargo xtask cluster up`");
    };
    ui::line(format!("export KUBECONFIG={}", state.join("admin.conf").display()));
    for line in fs::read_to_string(state.join("env"))?.lines() {
        if let Some((name, value)) = line.split_once('=') {
            ui::line(format!("export {name}='{value}'"));
        }
    }
    ui::line("# $NSENTER $KUBECTL get nodes");
    Ok(())
}
