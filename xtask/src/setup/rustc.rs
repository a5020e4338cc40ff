//! A rustc that can build `core` for `bpfel-unknown-none`.
//!
//! Rust ships no compiled `core` for BPF, so it is built from source (`-Z build-std`). That needs
//! the library's source beside the compiler and a compiler that takes unstable options: a rustup
//! nightly with the component `rust-src`, or a distribution's rustc with its source package, which
//! takes them under `RUSTC_BOOTSTRAP=1`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::apt::Apt;
use super::version::{Version, field};
use crate::{cmd, paths, ui};

/// The nightly that `setup` installs where none suits. A fixed one, so that everybody's BPF object
/// comes from the same compiler, and one with LLVM 22, so that every bpf-linker we can get reads
/// what it writes (its LLVM must not be older than the compiler's).
const NIGHTLY: &str = "nightly-2026-05-20";

/// Debian's compiler for its own web browsers, newer than its `rustc`, and the library's source.
const DEBIAN: [&str; 2] = ["rustc-web", "rust-web-src"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rustc {
    kind: Kind,
    path: PathBuf,
    version: Version,
    pub(crate) llvm: Version,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Nightly { toolchain: String },
    System,
}

impl Rustc {
    /// A cargo command in which this compiler is the compiler.
    pub(crate) fn cargo(&self) -> Command {
        let mut cmd = paths::cargo();
        match &self.kind {
            Kind::Nightly { toolchain } => {
                cmd = Command::new(self.path.with_file_name("cargo"));
                cmd.current_dir(paths::root()).env("RUSTUP_TOOLCHAIN", toolchain);
            }
            Kind::System => {
                cmd.env("RUSTC_BOOTSTRAP", "1");
            }
        }
        cmd.env("RUSTC", &self.path);
        cmd
    }

    pub(crate) fn describe(&self) -> String {
        let what = match &self.kind {
            Kind::Nightly { toolchain } => format!("rustup {toolchain} with rust-src"),
            Kind::System => format!("{} with its library source", self.path.display()),
        };
        format!("{what} ({}, LLVM {})", self.version, self.llvm)
    }

    fn probe(kind: Kind, path: PathBuf) -> Option<Self> {
        let said = cmd::output(Command::new(&path).arg("-vV")).ok()?;
        let version = field(&said, "release")?.parse().ok()?;
        let llvm = field(&said, "LLVM version")?.parse().ok()?;
        Some(Self { kind, path, version, llvm })
    }
}

/// The compilers on this machine that can build for BPF, best first: the nightly that the project
/// is tested with, the newest other nightly, the system's.
pub(crate) fn installed() -> Result<Vec<Rustc>> {
    let oldest = Version::oldest_rust()?;
    let mut found = nightlies();
    found.sort_by_key(|rustc| {
        let pinned =
            matches!(&rustc.kind, Kind::Nightly { toolchain } if toolchain.starts_with(NIGHTLY));
        std::cmp::Reverse((pinned, rustc.version))
    });
    found.extend(system());
    found.retain(|rustc| rustc.version >= oldest);
    Ok(found)
}

fn nightlies() -> Vec<Rustc> {
    let home = env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let Some(home) = home.or_else(|| Some(paths::home().ok()?.join(".rustup"))) else {
        return Vec::new();
    };
    let Ok(entries) = home.join("toolchains").read_dir() else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let toolchain = entry.file_name().to_string_lossy().into_owned();
        let root = entry.path();
        if toolchain.starts_with("nightly") && has_source(&root) {
            found.extend(Rustc::probe(Kind::Nightly { toolchain }, root.join("bin/rustc")));
        }
    }
    found
}

fn system() -> Option<Rustc> {
    // rustup's rustc is a link to rustup itself and would answer for whatever toolchain is active.
    let is_rustup = |path: &Path| {
        path.canonicalize().is_ok_and(|real| real.file_name().is_some_and(|n| n == "rustup"))
    };
    let path = paths::all_on_path("rustc")
        .into_iter()
        .chain([PathBuf::from("/usr/bin/rustc")])
        .find(|path| paths::is_executable(path) && !is_rustup(path) && !in_cargo_home(path))?;
    let sysroot = cmd::output(Command::new(&path).args(["--print", "sysroot"])).ok()?;
    has_source(Path::new(sysroot.trim())).then_some(())?;
    Rustc::probe(Kind::System, path)
}

/// rustup may also have made its proxies as copies or hard links of itself.
fn in_cargo_home(path: &Path) -> bool {
    paths::cargo_home().is_ok_and(|home| path.starts_with(home))
}

/// Whether a sysroot holds the source of `core`.
fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file()
}

/// Installs a compiler: rustup's where rustup can fetch it, else the distribution's.
pub(crate) fn install(apt: &Apt) -> Result<()> {
    let by_rustup = match paths::on_path("rustup") {
        None => "there is no rustup here".to_owned(),
        Some(rustup) => {
            let mut cmd = Command::new(rustup);
            cmd.args(["toolchain", "install", NIGHTLY, "--profile", "minimal"]);
            cmd.args(["--component", "rust-src", "--no-self-update"]);
            // Ours is asked for by name: whatever toolchain runs this task has no say in it.
            cmd.env_remove("RUSTUP_TOOLCHAIN");
            // Without a network this ends in seconds rather than after rustup's patience, and
            // without a backtrace of rustup's inside.
            cmd.env("RUSTUP_MAX_RETRIES", "1").env_remove("RUST_BACKTRACE");
            match cmd::quiet(&mut cmd, &format!("installing {NIGHTLY} with rust-src")) {
                Ok(()) => return Ok(()),
                Err(error) => error.to_string(),
            }
        }
    };
    ui::line(format!("  no nightly from rustup ({by_rustup}); trying the distribution's compiler"));
    by_distribution(apt).with_context(|| {
        format!(
            "the BPF program needs a rustc with the source of its library. Where rustup has a \
             network: `rustup toolchain install {NIGHTLY} --component rust-src`. \
             Without any of this, `cargo build --release -p agent --no-default-features` builds \
             the agent with NVML alone"
        )
    })
}

fn by_distribution(apt: &Apt) -> Result<()> {
    let oldest = Version::oldest_rust()?;
    match apt.candidate(DEBIAN[0])? {
        Some(version) if version >= oldest => apt.install(&DEBIAN, "the compiler for BPF"),
        Some(version) => {
            bail!("the distribution's {} is {version}; {oldest} or newer is needed", DEBIAN[0])
        }
        None if apt.present() => bail!("the distribution has no package {}", DEBIAN[0]),
        None => bail!("there is no apt-get here"),
    }
}
