//! Where things are: the checkout, cargo's target directory, programs on `PATH`.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result};

use crate::cmd;

/// The root of the checkout.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        // `cargo run` says where this crate lies now; the compiled-in path is for a copied binary.
        let here = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        here.parent().map_or_else(|| here.clone(), Path::to_path_buf)
    })
}

/// Cargo's target directory for this workspace, wherever the user's configuration puts it.
pub(crate) fn target() -> Result<&'static Path> {
    static TARGET: OnceLock<PathBuf> = OnceLock::new();
    if let Some(dir) = TARGET.get() {
        return Ok(dir);
    }
    let mut metadata = cargo();
    metadata.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let json: serde_json::Value = serde_json::from_str(&cmd::output(&mut metadata)?)
        .context("`cargo metadata` printed something that is not JSON")?;
    let dir =
        json["target_directory"].as_str().context("`cargo metadata` names no target_directory")?;
    Ok(TARGET.get_or_init(|| PathBuf::from(dir)))
}

/// The cargo that runs this task, in the root of the checkout.
pub(crate) fn cargo() -> Command {
    let mut cmd = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    cmd.current_dir(root());
    cmd
}

/// The user's home directory.
pub(crate) fn home() -> Result<PathBuf> {
    env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from)
        .context("HOME is not set, so there is no place to look for or install tools")
}

/// Cargo's home: `CARGO_HOME` or `~/.cargo`.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    env::var_os("CARGO_HOME").map_or_else(|| Ok(home()?.join(".cargo")), |dir| Ok(dir.into()))
}

/// Where `setup` installs the tools it builds: `~/.local/share/k8s-gpu-mcp-server/tools`
/// (`XDG_DATA_HOME` moves it). Outside the target directory, so that `cargo clean` costs no
/// rebuild; outside `~/.cargo/bin`, so that a `bpf-linker` of the user's own stays as it is.
pub(crate) fn tools() -> Result<PathBuf> {
    let data = match env::var_os("XDG_DATA_HOME").map(PathBuf::from) {
        Some(dir) if dir.is_absolute() => dir,
        _ => home()?.join(".local/share"),
    };
    Ok(data.join("k8s-gpu-mcp-server/tools"))
}

/// All programs of this name on `PATH`, in its order.
pub(crate) fn all_on_path(name: &str) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|dir| dir.join(name)).filter(|file| is_executable(file)).collect()
}

/// The program of this name that a shell would run.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    all_on_path(name).into_iter().next()
}

pub(crate) fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_workspace() {
        assert!(root().join("agent-ebpf/Cargo.toml").is_file());
    }

    #[test]
    fn a_shell_is_on_the_path_and_nonsense_is_not() {
        assert!(on_path("sh").is_some());
        assert!(on_path("no-such-program-anywhere").is_none());
    }
}
