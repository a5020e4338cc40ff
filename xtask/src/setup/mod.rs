//! `cargo xtask setup`: what the build and the tests need beyond stable Rust.
//!
//! Everything is looked for first and installed only when it is missing; when all is there this
//! takes under a second and touches no network. What gets installed, and where:
//!
//! | what | from | where |
//! | --- | --- | --- |
//! | rustc with rust-src | rustup, else Debian's `rustc-web` | rustup's home, `/usr` |
//! | bpf-linker | cargo-binstall, else built against the distribution's LLVM | [`paths::tools`] |
//! | standard library, linker, QEMU for the other kind of machine | rustup, the distribution | rustup's home, `/usr` |
//! | QEMU (other kernels), at the first `vm` | the distribution | `/usr` |
//! | C++ compiler (fuzzing) | the distribution | `/usr` |
//! | Python clients (tests) | PyPI, pinned in `xtask/requirements.txt` | `<target>/venv` |
//! | bpftrace, strace (one benchmark) | the distribution | `/usr` |
//! | Helm 3 and 4, kubectl (tests) | PyPI, pinned in `helm.rs` | [`paths::tools`] |
//! | buildah, mmdebstrap (the image), podman, runc (its tests) | the distribution | `/usr` |
//! | servers of Kubernetes, at the first `cluster` | built from Debian's source | [`paths::tools`] |
//! | etcd, containerd, runc, CNI plugins, at the first `cluster` | the distribution | `/usr` |
//! | rustfmt, clippy (ci) | rustup | rustup's home |

mod apt;
mod components;
mod cross;
mod helm;
mod kubernetes;
mod linker;
mod python;
mod rustc;
mod version;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::{paths, ui};
use apt::Apt;
pub(crate) use apt::is_root;
pub(crate) use cross::Cross;
use linker::Linker;
use rustc::Rustc;

/// What builds the BPF program: a compiler, and a linker that reads what it writes.
#[derive(Debug)]
pub(crate) struct BpfTools {
    pub(crate) rustc: Rustc,
    pub(crate) linker: Linker,
}

/// The task: everything, said item by item.
pub(crate) fn everything() -> Result<()> {
    ui::step("setup");
    let tools = bpf()?;
    ui::item("rustc for BPF", tools.rustc.describe());
    ui::item("bpf-linker", tools.linker.describe());
    ui::item("C++ for fuzzing", cxx()?.display().to_string());
    ui::item("Python for tests", python()?.display().to_string());
    let helms: Vec<String> = helms()?.iter().map(|helm| helm.display().to_string()).collect();
    ui::item("helm for tests", helms.join(", "));
    ui::item("buildah", buildah()?.display().to_string());
    mmdebstrap()?;
    ui::item("podman for tests", podman()?.display().to_string());
    if let Some(cross) = cross(Arch::Arm64)? {
        ui::item("for arm64", format!("{}, {}", cross.linker.display(), cross.emulator.display()));
    }
    ui::item("checks", components::ensure()?);
    ui::item("own tools in", paths::tools()?.display().to_string());
    Ok(())
}

/// A C++ compiler, for the fuzzer's runtime.
pub(crate) fn cxx() -> Result<PathBuf> {
    program("c++", "g++", "the fuzzer's runtime")
}

/// An emulator of a whole machine, for other kernels than this one's.
pub(crate) fn qemu(arch: Arch) -> Result<PathBuf> {
    let package = match arch {
        Arch::Amd64 => "qemu-system-x86",
        Arch::Arm64 => "qemu-system-arm",
    };
    program(&format!("qemu-system-{}", arch.rust()), package, "booting other kernels")
}

/// What builds for another kind of machine and runs that here; `None` where this is one.
pub(crate) fn cross(arch: Arch) -> Result<Option<Cross>> {
    cross::ensure(arch)
}

/// Tracers that the agent is measured beside, for the benchmark of that alone.
pub(crate) fn tracers() -> Result<()> {
    let missing: Vec<_> =
        ["bpftrace", "strace"].into_iter().filter(|name| paths::on_path(name).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Apt::detect().install(&missing, "the benchmark of calls")
}

/// What builds the image.
pub(crate) fn buildah() -> Result<PathBuf> {
    program("buildah", "buildah", "the image")
}

/// What makes a root filesystem of the distribution's packages.
pub(crate) fn mmdebstrap() -> Result<PathBuf> {
    program("mmdebstrap", "mmdebstrap", "the base of the image")
}

/// What the tests run the image with, on the runtime that most clusters have.
pub(crate) fn podman() -> Result<PathBuf> {
    // First, or podman's package brings another.
    program("runc", "runc", "the tests of the image")?;
    program("podman", "podman", "the tests of the image")
}

/// A program, and the distribution's package that has it, which is installed where it is missing.
fn program(name: &str, package: &str, why: &str) -> Result<PathBuf> {
    if paths::on_path(name).is_none() {
        Apt::detect().install(&[package], why)?;
    }
    paths::on_path(name).with_context(|| {
        format!("there is no {name} on PATH, which the package {package} should have put there")
    })
}

/// A Python with the clients that the tests use.
pub(crate) fn python() -> Result<PathBuf> {
    python::ensure(&Apt::detect())
}

/// Helm 3 and Helm 4, for the tests of the chart.
pub(crate) fn helms() -> Result<Vec<PathBuf>> {
    Ok(helm::ensure(&python()?)?.map(|clients| clients.helm).into())
}

/// What a cluster is made of. The older of each client is the last.
#[derive(Debug)]
pub(crate) struct ClusterTools {
    /// The folder with Kubernetes' servers.
    pub(crate) servers: PathBuf,
    /// The image that holds a pod's namespaces.
    pub(crate) pause: PathBuf,
    pub(crate) kubectls: [PathBuf; 2],
    pub(crate) helms: [PathBuf; 2],
}

/// Servers, runtime and clients of a Kubernetes.
pub(crate) fn cluster() -> Result<ClusterTools> {
    cluster_packages()?;
    let servers = servers()?;
    let [old, new] = helm::ensure(&python()?)?;
    Ok(ClusterTools {
        pause: servers.join("pause.tar"),
        servers,
        kubectls: [new.kubectl, old.kubectl],
        helms: [old.helm, new.helm],
    })
}

/// The distribution's packages for a cluster, and for building its servers where they are missing.
pub(crate) fn cluster_packages() -> Result<()> {
    // The program that is looked for, and its package.
    const PROGRAMS: [(&str, &str); 8] = [
        ("etcd", "etcd-server"),
        ("containerd", "containerd"),
        ("runc", "runc"),
        ("/usr/lib/cni/ptp", "containernetworking-plugins"),
        ("ip", "iproute2"),
        ("openssl", "openssl"),
        ("nsenter", "util-linux"),
        ("jq", "jq"),
    ];
    let is_there =
        |name: &str| paths::on_path(name).is_some() || paths::is_executable(name.as_ref());
    let missing = PROGRAMS.into_iter().filter(|(name, _)| !is_there(name));
    let mut missing: Vec<_> = missing.map(|(_, package)| package).collect();
    missing.extend(kubernetes::missing()?);
    if missing.is_empty() {
        return Ok(());
    }
    Apt::detect().install(&missing, "a cluster")
}

/// The servers of Kubernetes. Where they are missing this takes minutes, behind everybody else who wants a processor: it may run in
/// a thread while cargo compiles. Installs nothing; [`cluster_packages`] comes first.
pub(crate) fn servers() -> Result<PathBuf> {
    kubernetes::ensure()
}

/// rustfmt and clippy.
pub(crate) fn components() -> Result<()> {
    components::ensure().map(|_| ())
}

/// Compiler and linker for the BPF program.
pub(crate) fn bpf() -> Result<BpfTools> {
    if let Some(tools) = found()? {
        return Ok(tools);
    }
    let apt = Apt::detect();
    let linkers = linker::installed()?;
    let compilers = rustc::installed()?;
    say_what_does_not_fit(&compilers, &linkers);
    // A linker without a compiler old enough for it may only lack the compiler that we install.
    let compiler_first = !linkers.is_empty();
    if compiler_first {
        if let Err(error) = rustc::install(&apt) {
            ui::line(format!("  {error:#}"));
        }
        if let Some(tools) = found()? {
            return Ok(tools);
        }
    }
    linker::install(&apt)?;
    if let Some(tools) = found()? {
        return Ok(tools);
    }
    if !compiler_first {
        rustc::install(&apt)?;
        if let Some(tools) = found()? {
            return Ok(tools);
        }
    }
    say_what_does_not_fit(&rustc::installed()?, &linker::installed()?);
    bail!(
        "all that could be installed is installed, and still no bpf-linker here reads what a \
         compiler here writes: its LLVM must be at least as new as the compiler's"
    )
}

fn found() -> Result<Option<BpfTools>> {
    Ok(pair(&rustc::installed()?, &linker::installed()?))
}

/// The first compiler, in order of preference, for which there is a linker.
fn pair(compilers: &[Rustc], linkers: &[Linker]) -> Option<BpfTools> {
    compilers.iter().find_map(|rustc| {
        let linker = linkers.iter().find(|linker| linker.reads(rustc.llvm))?;
        Some(BpfTools { rustc: rustc.clone(), linker: linker.clone() })
    })
}

fn say_what_does_not_fit(compilers: &[Rustc], linkers: &[Linker]) {
    for rustc in compilers {
        ui::item("rustc for BPF", format!("{}: no linker here reads its output", rustc.describe()));
    }
    for linker in linkers {
        ui::item("bpf-linker", format!("{}: no compiler here suits it", linker.describe()));
    }
}
