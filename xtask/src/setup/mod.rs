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
//! | Helm 3 and 4 (tests) | PyPI, pinned in `helm.rs` | [`paths::tools`] |
//! | rustfmt, clippy (ci) | rustup | rustup's home |

mod apt;
mod components;
mod cross;
mod helm;
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
    if let Some(cross) = cross(Arch::Arm64)? {
        ui::item("for arm64", format!("{}, {}", cross.linker.display(), cross.emulator.display()));
    }
    ui::item("checks", components::ensure()?);
    ui::item("own tools in", paths::tools()?.display().to_string());
    Ok(())
}

/// A C++ compiler, for the fuzzer's runtime.
pub(crate) fn cxx() -> Result<PathBuf> {
    if paths::on_path("c++").is_none() {
        Apt::detect().install(&["g++"], "the fuzzer's runtime")?;
    }
    paths::on_path("c++").context("there is no c++ on PATH, which g++ should have put there")
}

/// An emulator of a whole machine, for other kernels than this one's.
pub(crate) fn qemu(arch: Arch) -> Result<PathBuf> {
    let qemu = format!("qemu-system-{}", arch.rust());
    if paths::on_path(&qemu).is_none() {
        let package = match arch {
            Arch::Amd64 => "qemu-system-x86",
            Arch::Arm64 => "qemu-system-arm",
        };
        Apt::detect().install(&[package], "booting other kernels")?;
    }
    paths::on_path(&qemu).with_context(|| {
        format!("there is no {qemu} on PATH, which its package should have put there")
    })
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

/// A Python with the clients that the tests use.
pub(crate) fn python() -> Result<PathBuf> {
    python::ensure(&Apt::detect())
}

/// Helm 3 and Helm 4, for the tests of the chart.
pub(crate) fn helms() -> Result<Vec<PathBuf>> {
    helm::ensure(&python()?)
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
