//! rustfmt and clippy, which `ci` needs and a minimal Rust lacks.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{cmd, paths};

/// Sees to rustfmt and clippy, and says which they are.
pub(crate) fn ensure() -> Result<String> {
    let mut said = Vec::new();
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let version = || cmd::output(paths::cargo().args([subcommand, "--version"]));
        if version().is_err() {
            add(component)?;
        }
        let version = version().with_context(|| format!("{component} is installed, but fails"))?;
        said.push(version.trim().to_owned());
    }
    Ok(said.join(", "))
}

fn add(component: &str) -> Result<()> {
    let Some(rustup) = paths::on_path("rustup") else {
        bail!(
            "{component} is missing and there is no rustup to add it: install the package of \
             your distribution that has `cargo {component}`"
        );
    };
    cmd::quiet(
        Command::new(rustup).args(["component", "add", component]),
        &format!("installing {component}"),
    )
}
