//! Where the cluster is, and its nodes as the tests need them.
//!
//! | in the folder of `E2E_CLUSTER` | what |
//! | --- | --- |
//! | `admin.conf` | kubeconfig of an administrator |
//! | `nodes/NAME/gpu/scenario.toml` | what the GPUs of a node are: `/run/nvml-sim/scenario.toml` in the pods |
//! | `env` | lines `NAME=value`: `NSENTER` (a command before each program that talks to the API server), `KUBECTL`, `KUBECTL_OLD`, `HELM` (separated as in `PATH`), `IMAGE` (in every node's containerd), `NODES` (their names) |
//!
//! The kubelets of all nodes run on this machine, so that each container's processes are in this machine's `/proc`.

use std::{
    collections::HashMap,
    env, fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::release::{Mode, Release};

/// How long the cluster may take for anything. Not a measure: only a hang meets it.
const PATIENCE: Duration = Duration::from_mins(2);
const LABEL: &str = "nvidia.com/gpu.present";
const TAINT: &str = "nvidia.com/gpu";

/// What the GPUs of every node are.
const SCENARIO: &str = "profile = \"h200\"\ngpus = 8\n";

/// What NVIDIA's operator brings, and the tests make where it is missing.
const RUNTIME_CLASS: &str = r#"{"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "nvidia"}, "handler": "nvidia"}"#;

/// The cluster. Its last node has no GPU's label; the first of the others has a GPU's taint.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    nsenter: Vec<String>,
    pub kubectl: PathBuf,
    pub kubectl_old: PathBuf,
    pub helms: Vec<PathBuf>,
    pub image: String,
    pub gpu_nodes: Vec<String>,
    pub other_node: String,
    /// Of each mode that a test wanted. Written by [`release`](Self::release), emptied by [`close`](Self::close).
    releases: Mutex<HashMap<&'static str, Arc<Release>>>,
}

impl Cluster {
    /// `None` where there is none.
    pub fn open() -> Result<Option<Self>> {
        let Some(dir) = env::var_os("E2E_CLUSTER").filter(|dir| !dir.is_empty()) else {
            return Ok(None);
        };
        let dir = PathBuf::from(dir);
        let path = dir.join("env");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let all: HashMap<&str, &str> =
            text.lines().filter_map(|line| line.split_once('=')).collect();
        let get = |name: &str| {
            all.get(name).copied().with_context(|| format!("{} has no {name}", path.display()))
        };
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let mut gpu_nodes = words(get("NODES")?);
        let other_node = gpu_nodes.pop().context("no node")?;
        if gpu_nodes.is_empty() {
            bail!("needs two nodes, one of them without GPUs");
        }
        let cluster = Self {
            nsenter: words(get("NSENTER")?),
            kubectl: get("KUBECTL")?.into(),
            kubectl_old: get("KUBECTL_OLD")?.into(),
            helms: env::split_paths(get("HELM")?).collect(),
            image: get("IMAGE")?.to_owned(),
            gpu_nodes,
            other_node,
            releases: Mutex::default(),
            dir,
        };
        cluster.prepare()?;
        Ok(Some(cluster))
    }

    fn prepare(&self) -> Result<()> {
        self.restore();
        // What an earlier run that was killed left, or what is still going of the last.
        self.delete_namespaces("--wait=true")?;
        for node in &self.gpu_nodes {
            self.becomes(node, SCENARIO)?;
        }
        let mut label = vec!["label", "node", "--overwrite"];
        label.extend(self.gpu_nodes.iter().map(String::as_str));
        let value = format!("{LABEL}=true");
        label.push(&value);
        self.kubectl(&label)?;
        let taint = format!("{TAINT}=present:NoSchedule");
        self.kubectl(&["taint", "node", &self.gpu_nodes[0], &taint])?;
        self.apply(RUNTIME_CLASS)
    }

    /// The GPUs of a node become what a scenario says.
    pub fn becomes(&self, node: &str, scenario: &str) -> Result<()> {
        let dir = self.dir.join("nodes").join(node).join("gpu");
        fs::write(dir.join("new.toml"), scenario).with_context(|| dir.display().to_string())?;
        Ok(fs::rename(dir.join("new.toml"), dir.join("scenario.toml"))?)
    }

    /// Takes from the nodes what `prepare` gave them.
    fn restore(&self) {
        let (label, taint) = (format!("{LABEL}-"), format!("{TAINT}-"));
        // What is not there need not be taken away.
        let _ = self.kubectl(&["label", "node", "--all", &label]);
        let _ = self.kubectl(&["taint", "node", "--all", &taint]);
    }

    /// The mode's release, installed where it is not yet. It stays until the end, for whoever wants it next.
    pub fn release(&self, mode: &'static Mode) -> Result<Arc<Release>> {
        let mut releases = self.releases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(release) = releases.get(mode.name) {
            return Ok(release.clone());
        }
        let release = Arc::new(Release::install(self, mode.name, mode.values)?);
        releases.insert(mode.name, release.clone());
        Ok(release)
    }

    /// The releases of all these modes, installed at once.
    pub fn releases(&self, modes: &'static [Mode]) -> Result<Vec<Arc<Release>>> {
        let missing: Vec<&Mode> = {
            let there = self.releases.lock().unwrap_or_else(PoisonError::into_inner);
            modes.iter().filter(|mode| !there.contains_key(mode.name)).collect()
        };
        let installed = std::thread::scope(|scope| {
            let installing: Vec<_> = missing
                .iter()
                .map(|mode| scope.spawn(|| Release::install(self, mode.name, mode.values)))
                .collect();
            installing
                .into_iter()
                .map(|it| it.join().unwrap_or_else(|_| bail!("a panic")))
                .collect::<Result<Vec<_>>>()
        })?;
        {
            let mut releases = self.releases.lock().unwrap_or_else(PoisonError::into_inner);
            let named = missing.iter().map(|mode| mode.name);
            releases.extend(named.zip(installed.into_iter().map(Arc::new)));
        }
        modes.iter().map(|mode| self.release(mode)).collect()
    }

    /// Takes away all releases and waits until their pods are gone: for what wants the machine for itself, and at the end.
    pub fn clear(&self) -> Result<()> {
        self.releases.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.delete_namespaces("--wait=false")?;
        until("the end of all pods", || {
            let pods =
                self.kubectl(&["get", "pods", "-A", "--no-headers", "--ignore-not-found"])?;
            Ok((!pods.lines().any(|pod| pod.starts_with("e2e-"))).then_some(()))
        })
    }

    fn delete_namespaces(&self, wait: &str) -> Result<()> {
        let namespaces = self.kubectl(&["get", "namespaces", "-o", "name"])?;
        let ours: Vec<&str> =
            namespaces.lines().filter(|name| name.starts_with("namespace/e2e-")).collect();
        if ours.is_empty() {
            return Ok(());
        }
        self.kubectl(&[&["delete", wait], &ours[..]].concat()).map(drop)
    }

    /// Leaves the cluster as it was, whatever became of the tests; the empty namespaces go a little later.
    pub fn close(&self) -> Result<()> {
        self.restore();
        self.clear()?;
        self.kubectl(&["delete", "runtimeclass", "nvidia"]).map(drop)
    }

    /// A program that talks to the API server, as the administrator.
    pub fn program(&self, program: impl Into<PathBuf>) -> Command {
        let mut words = self.nsenter.iter();
        let program = program.into();
        let mut command = match words.next() {
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.env("KUBECONFIG", self.dir.join("admin.conf")).env_remove("HELM_NAMESPACE");
        command
    }

    /// Runs kubectl, which must succeed; what it prints.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.kubectl_output(arguments)?;
        succeeded(&format!("kubectl {}", arguments.join(" ")), output)
    }

    /// Runs kubectl, whatever comes of it.
    pub fn kubectl_output(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.program(&self.kubectl);
        command.args(arguments).stdin(Stdio::null()).output().context("kubectl")
    }

    /// Objects as JSON.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[&["get", "-o", "json"], arguments].concat())?;
        serde_json::from_str(&text).context("kubectl's JSON")
    }

    /// Makes what a manifest says.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        use std::io::Write as _;
        let mut command = self.program(&self.kubectl);
        command.args(["apply", "-f", "-"]).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("stdin")?.write_all(manifest.as_bytes())?;
        succeeded("kubectl apply", child.wait_with_output()?).map(drop)
    }
}

/// What a program printed, or why it failed.
pub fn succeeded(what: &str, output: Output) -> Result<String> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{what}: {}: {}{said}", output.status, String::from_utf8_lossy(&output.stdout));
    }
    String::from_utf8(output.stdout).context("UTF-8")
}

/// Asks until the answer is there.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() > end {
            bail!("{what}: not after {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
