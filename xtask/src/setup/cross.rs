//! What builds programs for the other kind of machine, and what runs them here: Rust's standard library for it, a linker
//! with a C library, and QEMU's emulation of a process (not of a machine: the kernel stays this one).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::apt::Apt;
use crate::arch::Arch;
use crate::{cmd, paths};

/// Another kind of machine than this one.
#[derive(Debug)]
pub(crate) struct Cross {
    pub(crate) arch: Arch,
    pub(crate) linker: PathBuf,
    pub(crate) emulator: PathBuf,
    /// Where Debian keeps that kind's C library, and the emulator looks for it.
    pub(crate) root: PathBuf,
}

impl Cross {
    /// Has cargo build for it.
    pub(crate) fn have(&self, cargo: &mut Command) {
        let target = self.arch.target();
        let variable = target.to_uppercase().replace('-', "_");
        cargo.args(["--target", &target]);
        cargo.env(format!("CARGO_TARGET_{variable}_LINKER"), &self.linker);
    }

    /// What runs a program of that kind here, as if it were one of this machine's.
    pub(crate) fn emulated(&self, program: &Path) -> Result<PathBuf> {
        let script = program.with_extension("emulated");
        let words = [self.emulator.as_path(), Path::new("-L"), &self.root, program];
        let mut emulate = Command::new("exec");
        emulate.args(words);
        let text = format!("#!/bin/sh\n{} \"$@\"\n", cmd::display(&emulate));
        fs::write(&script, text).with_context(|| format!("cannot write {}", script.display()))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        Ok(script)
    }
}

/// Sees to all of it; `None` where the machine is of that kind itself.
pub(crate) fn ensure(arch: Arch) -> Result<Option<Cross>> {
    if Arch::here()? == arch {
        return Ok(None);
    }
    standard_library(arch)?;
    let gnu = arch.gnu();
    let linker = format!("{gnu}-gcc");
    let emulators = [format!("qemu-{}-static", arch.rust()), format!("qemu-{}", arch.rust())];
    let emulator = || emulators.iter().find_map(|name| paths::on_path(name));
    let mut missing = Vec::new();
    if paths::on_path(&linker).is_none() {
        // Debian's names of packages have no underscore.
        missing.push(format!("gcc-{}", gnu.replace('_', "-")));
        missing.push(format!("libc6-dev-{}-cross", arch.debian()));
    }
    if emulator().is_none() {
        missing.push("qemu-user-static".to_owned());
    }
    if !missing.is_empty() {
        let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
        Apt::detect().install(&missing, &format!("building for {}", arch.debian()))?;
    }
    Ok(Some(Cross {
        arch,
        linker: paths::on_path(&linker).with_context(|| {
            format!("there is no {linker} on PATH, which its package should have put there")
        })?,
        emulator: emulator()
            .with_context(|| format!("there is no {} on PATH", emulators.join(" or ")))?,
        root: PathBuf::from("/usr").join(gnu),
    }))
}

/// Rust's, for that target.
fn standard_library(arch: Arch) -> Result<()> {
    let target = arch.target();
    let mut rustc = Command::new("rustc");
    rustc.current_dir(paths::root()).args(["--print", "target-libdir", "--target", &target]);
    if cmd::output(&mut rustc).is_ok_and(|dir| PathBuf::from(dir.trim()).is_dir()) {
        return Ok(());
    }
    let Some(rustup) = paths::on_path("rustup") else {
        bail!(
            "this Rust has no standard library for {target} and there is no rustup to add it: \
             install the package of your distribution that has it"
        );
    };
    let mut add = Command::new(rustup);
    add.current_dir(paths::root()).args(["target", "add", &target]);
    cmd::quiet(&mut add, &format!("installing Rust's standard library for {target}"))
}
