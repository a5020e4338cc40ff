//! `cargo xtask image`: the image of the Containerfile, built by buildah.
//!
//! | output | what |
//! | --- | --- |
//! | `<target>/image/k8s-gpu-mcp-server.tar` | an OCI archive of the image, for this machine's architecture |
//!
//! Nothing is pulled, so it works on a machine without a registry: the agent that `cargo xtask build` has just made takes
//! the place of the stage that would compile it, and glibc comes from a root filesystem of this machine's distribution
//! (`base`). `--build-image` and `--runtime-image` name images instead, as the Containerfile's build arguments do. What is
//! put together that way is put together alike: of the same commit, agent and glibc the digest is the same.

mod base;
mod contents;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{build, cmd, paths, setup, ui};

/// The name of the image in the archive, as one that was built here and pulled from nowhere.
pub(crate) const NAME: &str = concat!("localhost/k8s-gpu-mcp-server:", env!("CARGO_PKG_VERSION"));

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Put in this agent, rather than building one.
    #[arg(long, value_name = "FILE", conflicts_with = "build_image")]
    agent: Option<PathBuf>,
    /// Compile the agent in this image, rather than here.
    #[arg(long, value_name = "IMAGE")]
    build_image: Option<String>,
    /// Take glibc from this image, rather than from a root filesystem of this machine's distribution.
    #[arg(long, value_name = "IMAGE")]
    runtime_image: Option<String>,
}

/// The task.
pub(crate) fn run(args: &Args) -> Result<()> {
    let agent = match (&args.agent, &args.build_image) {
        (Some(agent), _) => Agent::Built(agent.clone()),
        (None, Some(image)) => Agent::CompiledIn(image.clone()),
        (None, None) => Agent::Built(build::run(&build::Args::default())?.agent),
    };
    make(&agent, args.runtime_image.as_deref()).map(|_| ())
}

/// The image around an agent that is built.
pub(crate) fn around(agent: &Path) -> Result<PathBuf> {
    make(&Agent::Built(agent.to_owned()), None)
}

/// Where the image's agent comes from.
#[derive(Debug)]
enum Agent {
    Built(PathBuf),
    CompiledIn(String),
}

/// Builds the archive, shows what is in it, and returns where it is.
fn make(agent: &Agent, runtime_image: Option<&str>) -> Result<PathBuf> {
    ui::step("the image");
    setup::buildah()?;
    let dir = paths::target()?.join("image");
    let buildah = Buildah::new(&dir, matches!(agent, Agent::Built(_)) && runtime_image.is_none())?;

    let mut build = buildah.command();
    // Neither namespaces nor a runtime: works in a container, too.
    build.args(["build", "--isolation", "chroot", "--format", "oci"]);
    // Both would tell of this machine: of buildah's version, and of hashes of the stages before the last.
    build.args(["--omit-history", "--identity-label=false"]);
    match agent {
        Agent::Built(agent) => {
            let context = dir.join("agent");
            fs::create_dir_all(&context)?;
            fs::copy(agent, context.join("agent"))
                .with_context(|| format!("cannot copy {}", agent.display()))?;
            build.arg("--build-context").arg(format!("build={}", context.display()));
        }
        Agent::CompiledIn(image) => drop(build.arg(format!("--build-arg=BUILD_IMAGE={image}"))),
    }
    let runtime = match runtime_image {
        Some(image) => image.to_owned(),
        None => base::image(&buildah)?,
    };
    build.arg(format!("--build-arg=RUNTIME_IMAGE={runtime}"));
    describe(&mut build);
    build.args(["--tag", NAME]).arg(paths::root());
    cmd::quiet(&mut build, "building the image")?;

    let archive = dir.join("k8s-gpu-mcp-server.tar");
    // buildah does not write over an archive.
    let _ = fs::remove_file(&archive);
    let mut push = buildah.command();
    push.args(["push", NAME]).arg(format!("oci-archive:{}:{NAME}", archive.display()));
    cmd::quiet(&mut push, "writing the archive")?;
    contents::show(&archive, &dir.join("layout"))?;
    Ok(archive)
}

/// Labels the image with what git knows, and dates it and all its files by the commit, or by `SOURCE_DATE_EPOCH`.
fn describe(build: &mut Command) {
    build.arg(format!("--build-arg=VERSION={}", env!("CARGO_PKG_VERSION")));
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        let said = cmd::output(git.args(arguments).current_dir(paths::root())).ok()?;
        Some(said.trim().to_owned())
    };
    if let Some(commit) = git(&["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]) {
        build.arg(format!("--build-arg=REVISION={commit}"));
    }
    let epoch = std::env::var("SOURCE_DATE_EPOCH").ok();
    let Some(epoch) = epoch.or_else(|| git(&["log", "-1", "--format=%ct"])) else { return };
    build.args(["--timestamp", &epoch]);
    let mut date = Command::new("date");
    date.args(["--utc", &format!("--date=@{epoch}"), "+%Y-%m-%dT%H:%M:%SZ"]);
    if let Ok(created) = cmd::output(&mut date) {
        build.arg(format!("--label=org.opencontainers.image.created={}", created.trim()));
    }
}

/// buildah and its store of images.
#[derive(Debug)]
struct Buildah {
    /// One of our own, which leaves nothing on this machine; `None` is the user's, where images lie that were pulled, and
    /// what logs in to registries.
    store: Option<PathBuf>,
}

impl Buildah {
    fn new(dir: &Path, own: bool) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let buildah = Self { store: own.then(|| dir.join("store")) };
        // What a run that was broken off has left.
        buildah.clear()?;
        Ok(buildah)
    }

    fn command(&self) -> Command {
        let mut buildah = Command::new("buildah");
        if let Some(store) = &self.store {
            // Plain directories: nothing stays mounted, and no file system refuses it.
            buildah.args(["--storage-driver", "vfs", "--root"]).arg(store.join("root"));
            buildah.arg("--runroot").arg(store.join("run"));
        }
        buildah
    }

    fn clear(&self) -> Result<()> {
        match &self.store {
            Some(store) if store.exists() => fs::remove_dir_all(store)
                .with_context(|| format!("cannot remove {}", store.display())),
            _ => Ok(()),
        }
    }
}

impl Drop for Buildah {
    fn drop(&mut self) {
        // What cannot be removed now stops the next build, which says so.
        let _ = self.clear();
    }
}
