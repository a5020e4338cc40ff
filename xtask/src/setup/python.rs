//! Python clients for the tests: NVIDIA's own NVML binding and the MCP SDK's reference client,
//! both older and more used than our code, and so the judges of it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::apt::Apt;
use crate::{cmd, paths};

/// A Python in `<target>/venv` that has exactly what `xtask/requirements.txt` pins.
pub(crate) fn ensure(apt: &Apt) -> Result<PathBuf> {
    let requirements = paths::root().join("xtask/requirements.txt");
    let pins = fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let venv = paths::target()?.join("venv");
    let python = venv.join("bin/python");
    // Written last, so that a half-made environment is made again.
    let stamp = venv.join("requirements.done");
    let done = fs::read_to_string(&stamp).is_ok_and(|installed| installed == pins);
    if done && cmd::succeeds(Command::new(&python).args(["-c", ""])) {
        return Ok(python);
    }

    if !has_venv() {
        apt.install(&["python3", "python3-venv"], "the Python clients in the tests")?;
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(&venv);
    cmd::quiet(&mut create, "creating a Python environment for the tests")?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--disable-pip-version-check", "--requirement"]);
    install.arg(&requirements);
    cmd::quiet(&mut install, "installing the Python clients for the tests")?;
    fs::write(&stamp, pins).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(python)
}

/// Debian splits `ensurepip` off Python; without it a venv has no pip.
fn has_venv() -> bool {
    cmd::succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"]))
}
