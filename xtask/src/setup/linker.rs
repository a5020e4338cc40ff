//! bpf-linker: links the BPF program's LLVM bitcode, optimises it whole and writes its BTF.
//!
//! It reads what rustc's LLVM wrote, so its own LLVM must be at least as new. That is asked of the
//! linker itself before anything is built with it, because the link error says "Invalid record".

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow};

use super::apt::Apt;
use super::version::Version;
use crate::{cmd, paths, ui};

/// The release that `setup` installs.
const RELEASE: &str = "0.13.0";

/// The cargo-binstall that is built where nothing else helps, the newest that our oldest Rust builds.
const BINSTALL: &str = "1.21.1";

/// LLVM majors that this release can be built against and that read what our compilers write,
/// newest first. (It still has a feature for 21; the workspace's oldest compiler has LLVM 22.)
const LLVMS: [u32; 2] = [23, 22];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Linker {
    pub(crate) path: PathBuf,
    pub(crate) llvm: Version,
}

impl Linker {
    pub(crate) fn describe(&self) -> String {
        format!("{} (LLVM {})", self.path.display(), self.llvm)
    }

    /// Whether this linker reads what a compiler with that LLVM writes.
    pub(crate) fn reads(&self, llvm: Version) -> bool {
        self.llvm >= llvm
    }
}

/// The linkers on this machine that run: on `PATH`, of cargo, of our own.
pub(crate) fn installed() -> Result<Vec<Linker>> {
    let mut places = paths::all_on_path("bpf-linker");
    places.push(paths::cargo_home()?.join("bin/bpf-linker"));
    places.push(paths::tools()?.join("bin/bpf-linker"));
    let mut found: Vec<Linker> = Vec::new();
    for path in places.into_iter().filter(|path| paths::is_executable(path)) {
        if found.iter().any(|linker| linker.path == path) {
            continue;
        }
        match probe(&path) {
            Some(llvm) => found.push(Linker { path, llvm }),
            None => ui::item(
                "bpf-linker",
                format!("{} does not run or does not say its LLVM; ignored", path.display()),
            ),
        }
    }
    Ok(found)
}

/// The LLVM version of a bpf-linker. Its own `--version` does not tell, but LLVM's does, and
/// arguments can be handed down to LLVM; nothing is linked.
fn probe(path: &Path) -> Option<Version> {
    let mut cmd = Command::new(path);
    cmd.args(["--llvm-args=--version", "--output", "/dev/null", "/dev/null"]);
    llvm_version(&cmd::output(&mut cmd).ok()?)
}

fn llvm_version(said: &str) -> Option<Version> {
    // Distributions put their name before it: "Debian LLVM version 22.1.8".
    said.lines().find_map(|line| line.split_once("LLVM version ")?.1.trim().parse().ok())
}

/// Installs [`RELEASE`] among our own tools: prebuilt by cargo-binstall where that is installed,
/// else built against an LLVM of this machine or its distribution, else prebuilt by a
/// cargo-binstall that is built for it (minutes, hence last).
pub(crate) fn install(apt: &Apt) -> Result<()> {
    let root = paths::tools()?;
    let has_binstall = paths::on_path("cargo-binstall").is_some();
    if has_binstall {
        match binstall(&root) {
            Ok(()) => return Ok(()),
            Err(error) => ui::line(format!("  no prebuilt bpf-linker: {error}")),
        }
    }
    if let Some(llvm) = find_llvm(apt)? {
        return build(&llvm, &root);
    }
    let majors = LLVMS.map(|llvm| llvm.to_string()).join(" or ");
    let by_binstall = if has_binstall {
        Err(anyhow!("cargo-binstall found no prebuilt one, and there is no LLVM {majors}"))
    } else {
        ui::line(format!(
            "  no LLVM {majors} to build bpf-linker against; fetching a prebuilt one"
        ));
        build_binstall(&root).and_then(|()| binstall(&root))
    };
    by_binstall.with_context(|| {
        format!(
            "bpf-linker {RELEASE} is needed to build the BPF program. Install it from \
             https://github.com/aya-rs/bpf-linker/releases, or as root the development files of \
             LLVM {majors} (llvm-22-dev, libpolly-22-dev, zlib1g-dev, libzstd-dev, g++; \
             apt.llvm.org has them for every Debian and Ubuntu), then run this again. Without it, `cargo build --release -p agent --no-default-features` builds the agent \
             with NVML alone"
        )
    })
}

fn binstall(root: &Path) -> Result<()> {
    let mut cmd = paths::cargo();
    // cargo looks for its subcommands on PATH.
    let ours = root.join("bin");
    let path = env::var_os("PATH").unwrap_or_default();
    cmd.env("PATH", env::join_paths(env::split_paths(&path).chain([ours]))?);
    cmd.args([
        "binstall",
        "--no-confirm",
        "--force",
        "--disable-telemetry",
        "--log-level",
        "error",
    ]);
    // The project's own release or nothing. Building is done by `build`, where the right LLVM is
    // seen to.
    cmd.args(["--disable-strategies", "compile,quick-install", "--root"]).arg(root);
    cmd.arg(format!("bpf-linker@{RELEASE}"));
    cmd::quiet(&mut cmd, "fetching a prebuilt bpf-linker")
}

fn build_binstall(root: &Path) -> Result<()> {
    let mut cmd = paths::cargo();
    cmd.args(["install", "cargo-binstall", "--version", BINSTALL, "--locked", "--root"]).arg(root);
    // For one download: what builds soonest.
    cmd.args(["--debug", "--no-default-features", "--features", "rustls,zstd-thin"]);
    cmd.arg("--target-dir").arg(paths::target()?.join("tools-build"));
    cmd::quiet(&mut cmd, "building cargo-binstall")
}

/// An LLVM to build against.
#[derive(Debug)]
struct Llvm {
    major: u32,
    prefix: PathBuf,
}

impl Llvm {
    fn has_headers(&self) -> bool {
        self.prefix.join("include/llvm/Config/llvm-config.h").is_file()
    }
}

/// The newest LLVM that has its development files here; where there is none and we may install
/// packages, the newest that the distribution has.
fn find_llvm(apt: &Apt) -> Result<Option<Llvm>> {
    let here = |major| Some(Llvm { major, prefix: prefix(major) }).filter(Llvm::has_headers);
    let compiler_here = paths::on_path("c++").is_some();
    if let Some(llvm) = LLVMS.into_iter().find_map(here).filter(|_| compiler_here) {
        return Ok(Some(llvm));
    }
    if !apt.may_install() {
        return Ok(None);
    }
    for major in LLVMS {
        let dev = format!("llvm-{major}-dev");
        if apt.candidate(&dev)?.is_some_and(|version| version.major == major) {
            // Debian splits Polly off, and LLVM's own list of libraries asks for it.
            let polly = format!("libpolly-{major}-dev");
            let mut packages = vec![dev.as_str(), &polly, "zlib1g-dev", "libzstd-dev"];
            packages.extend((!compiler_here).then_some("g++"));
            apt.install(&packages, "building bpf-linker")?;
            return Ok(here(major));
        }
    }
    Ok(None)
}

/// Where Debian and apt.llvm.org put that LLVM.
fn prefix(major: u32) -> PathBuf {
    PathBuf::from(format!("/usr/lib/llvm-{major}"))
}

fn build(llvm: &Llvm, root: &Path) -> Result<()> {
    let mut cmd = paths::cargo();
    cmd.args(["install", "bpf-linker", "--version", RELEASE, "--locked", "--force"]);
    cmd.args(["--no-default-features", "--features", &feature(llvm.major), "--root"]).arg(root);
    // In our target directory rather than a temporary one: what was built of it survives a failure.
    cmd.arg("--target-dir").arg(paths::target()?.join("tools-build"));
    cmd.env("LLVM_PREFIX", &llvm.prefix);
    cmd::quiet(&mut cmd, &format!("building bpf-linker {RELEASE} against LLVM {}", llvm.major))
        .with_context(|| {
            format!("cannot build bpf-linker against the LLVM in {}", llvm.prefix.display())
        })
}

/// bpf-linker's cargo feature for an LLVM.
fn feature(major: u32) -> String {
    format!("llvm-{major}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_version_is_read_from_what_llvm_prints() {
        let expected = Some("22.1.8".parse().unwrap());
        let upstream = "LLVM (http://llvm.org/):\n  LLVM version 22.1.8\n  Optimized build.\n";
        assert_eq!(llvm_version(upstream), expected);
        let debian = "Debian LLVM version 22.1.8\n  Optimized build.\n";
        assert_eq!(llvm_version(debian), expected);
        assert_eq!(llvm_version("bpf-linker 0.13.0\n"), None);
    }

    #[test]
    fn a_linker_reads_its_own_llvm_and_older_ones() {
        let linker = Linker { path: "bpf-linker".into(), llvm: "22.1.4".parse().unwrap() };
        assert!(linker.reads("22.1.4".parse().unwrap()));
        assert!(linker.reads("22.1.2".parse().unwrap()));
        // Seen in the field: the same major is not enough.
        assert!(!linker.reads("22.1.8".parse().unwrap()));
        assert!(!linker.reads("23.1.0".parse().unwrap()));
    }

    #[test]
    fn the_feature_names_the_llvm() {
        assert_eq!(feature(22), "llvm-22");
    }
}
