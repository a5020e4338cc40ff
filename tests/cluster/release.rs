//! A release of the chart, and its pods.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use e2e::{
    Agent,
    stand_in::{self, Host},
};
use serde_json::{Value, json};

use crate::cluster::{Cluster, succeeded, until};

/// Values that change what the pods may do.
#[derive(Debug)]
pub struct Mode {
    pub name: &'static str,
    pub values: &'static [&'static str],
    pub uid: u32,
    /// As `get_agent_status` names them.
    pub capabilities: &'static [&'static str],
    /// What hears the kernel, as `get_agent_status` names the sources.
    pub hears: &'static [&'static str],
}

pub static MODES: [Mode; 5] = [
    Mode { name: "default", values: &[], uid: 0, capabilities: &[], hears: &[] },
    Mode {
        name: "ebpf",
        values: &["ebpf.enabled=true"],
        uid: 0,
        capabilities: &["CAP_BPF", "CAP_PERFMON"],
        hears: &["ebpf"],
    },
    Mode {
        name: "kernel-log",
        values: &["xid.kernelLog=true"],
        uid: 0,
        capabilities: &["CAP_SYSLOG"],
        hears: &["kernel_log"],
    },
    Mode {
        name: "both",
        values: &["ebpf.enabled=true", "xid.kernelLog=true"],
        uid: 0,
        capabilities: &["CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG"],
        hears: &["ebpf", "kernel_log"],
    },
    Mode {
        name: "rootless",
        values: &["rootless=true"],
        uid: 65532,
        capabilities: &[],
        hears: &[],
    },
];

pub static DEFAULT: &Mode = &MODES[0];
pub static EBPF: &Mode = &MODES[1];
pub static ROOTLESS: &Mode = &MODES[4];

/// The name of every release; each has a namespace of its own.
const NAME: &str = "gpu";

/// An installed chart.
#[derive(Debug)]
pub struct Release {
    helm: PathBuf,
    pub namespace: String,
}

/// A pod of a release.
#[derive(Debug, Clone)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub node: String,
}

impl Release {
    /// Installs the chart with the newest helm and waits until all pods are ready.
    pub fn install(cluster: &Cluster, name: &str, values: &[&str]) -> Result<Self> {
        let helm = cluster.helms.last().context("no helm")?;
        Self::install_by(cluster, helm, name, values)
    }

    /// The same with a helm of one's choice.
    pub fn install_by(cluster: &Cluster, helm: &Path, name: &str, values: &[&str]) -> Result<Self> {
        let release = Self { helm: helm.to_owned(), namespace: format!("e2e-{name}") };
        let mut install = release.helm(cluster, &["install", NAME]);
        install.arg(chart()).args(settings(cluster, values));
        install.args(["--create-namespace", "--wait", "--timeout", "120s"]);
        release.run(install)?;
        release.rolled_out(cluster)?;
        Ok(release)
    }

    /// `helm`, for this release's namespace.
    pub fn helm(&self, cluster: &Cluster, arguments: &[&str]) -> Command {
        let mut command = cluster.program(&self.helm);
        command.args(arguments).args(["--namespace", &self.namespace]).stdin(Stdio::null());
        command
    }

    fn run(&self, mut helm: Command) -> Result<String> {
        let what = format!("{helm:?}");
        let output = helm.output().with_context(|| self.helm.display().to_string())?;
        succeeded(&what, output)
    }

    pub fn upgrade(&self, cluster: &Cluster, values: &[&str]) -> Result<()> {
        let mut upgrade = self.helm(cluster, &["upgrade", NAME]);
        upgrade.arg(chart()).args(settings(cluster, values));
        upgrade.args(["--wait", "--timeout", "120s"]);
        self.run(upgrade)?;
        self.rolled_out(cluster)
    }

    pub fn roll_back(&self, cluster: &Cluster) -> Result<()> {
        self.run(self.helm(cluster, &["rollback", NAME, "1", "--wait", "--timeout", "120s"]))?;
        self.rolled_out(cluster)
    }

    /// Waits until every pod is there and ready. `helm --wait` does not wait for as many as may be unavailable, and 10 % of a
    /// few pods is one of them.
    fn rolled_out(&self, cluster: &Cluster) -> Result<()> {
        let name = format!("daemonset/{NAME}-k8s-gpu-mcp-server");
        let status = ["rollout", "status", "--timeout=120s", "-n", &self.namespace, &name];
        cluster.kubectl(&status).map(drop)
    }

    pub fn uninstall(&self, cluster: &Cluster) -> Result<()> {
        self.run(self.helm(cluster, &["uninstall", NAME, "--wait", "--timeout", "120s"]))?;
        // Older helms wait for what they made themselves, and a DaemonSet's pods are not that.
        until("the pods' end", || Ok(self.pods(cluster)?.is_empty().then_some(())))
    }

    /// Gives the pods another root of the node, where a device stands in for a GPU's, and waits until they follow it. The
    /// chart has no value for that, as nobody else needs it: the `DaemonSet` is changed.
    pub fn give_root(&self, cluster: &Cluster, host: &Host) -> Result<()> {
        let name = format!("{NAME}-k8s-gpu-mcp-server");
        let patch = with_root(&host.root().join("proc").to_string_lossy()).to_string();
        let here = ["-n", self.namespace.as_str(), "daemonset", &name];
        cluster.kubectl(&[&["patch"], &here[..], &["-p", &patch]].concat())?;
        self.rolled_out(cluster)?;
        for node in &cluster.gpu_nodes {
            let mut session = self.pod(cluster, node)?.session(cluster)?;
            until("the device is followed", || {
                let tracer = stand_in::tracer(&mut session)?;
                ensure!(tracer["state"] != "unavailable", "{tracer}");
                Ok((tracer["state"] == "live").then_some(()))
            })?;
        }
        Ok(())
    }

    /// Runs the chart's own tests; what helm says of them, or nothing where the chart has none.
    pub fn test(&self, cluster: &Cluster) -> Result<Option<String>> {
        if !self.run(self.helm(cluster, &["get", "hooks", NAME]))?.contains("test") {
            return Ok(None);
        }
        self.run(self.helm(cluster, &["test", NAME, "--timeout", "120s"])).map(Some)
    }

    /// Has it go with its namespace. Nobody waits for that.
    pub fn remove(&self, cluster: &Cluster) -> Result<()> {
        cluster.kubectl(&["delete", "namespace", "--wait=false", &self.namespace]).map(drop)
    }

    /// The pods that there are, with those that are going.
    pub fn pods(&self, cluster: &Cluster) -> Result<Vec<Pod>> {
        Ok(self.objects(cluster)?.iter().map(|pod| self.pod_of(pod)).collect())
    }

    /// The pods as the API server has them.
    pub fn objects(&self, cluster: &Cluster) -> Result<Vec<Value>> {
        // Not by the component, which the pod of the chart's own test is of too.
        let label = "app.kubernetes.io/name=k8s-gpu-mcp-server";
        let mut list = cluster.get(&["pods", "-n", &self.namespace, "-l", label])?;
        let items = list["items"].as_array_mut().map(std::mem::take);
        Ok(items.unwrap_or_default())
    }

    fn pod_of(&self, pod: &Value) -> Pod {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Pod {
            namespace: self.namespace.clone(),
            name: text(&pod["metadata"]["name"]),
            uid: text(&pod["metadata"]["uid"]),
            node: text(&pod["spec"]["nodeName"]),
        }
    }

    /// The ready pod of a node, when no other is going there any more.
    pub fn pod(&self, cluster: &Cluster, node: &str) -> Result<Pod> {
        until("a ready pod", || {
            let pods = self.objects(cluster)?;
            let mut here = pods.iter().filter(|pod| pod["spec"]["nodeName"] == node);
            let (Some(pod), None) = (here.next(), here.next()) else { return Ok(None) };
            let ready = is_ready(pod) && pod["metadata"]["deletionTimestamp"].is_null();
            Ok(ready.then(|| self.pod_of(pod)))
        })
    }
}

impl Pod {
    /// The command that a client is given: an MCP session in this pod.
    pub fn session_command(&self, cluster: &Cluster, kubectl: &Path) -> Command {
        let mut command = cluster.program(kubectl);
        command.args(["exec", "-i", "-n", &self.namespace, &self.name, "--", "/agent"]);
        command
    }

    /// A session, initialized.
    pub fn session(&self, cluster: &Cluster) -> Result<Agent> {
        let mut session = Agent::spawn(&mut self.session_command(cluster, &cluster.kubectl))?;
        session.initialize()?;
        Ok(session)
    }
}

/// Whether the API server has the pod as ready.
pub fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|it| it["type"] == "Ready" && it["status"] == "True")
}

fn chart() -> PathBuf {
    e2e::repository().join("helm/k8s-gpu-mcp-server")
}

/// What the agent reads of the node besides its kernel, with `proc` of the test's own.
fn with_root(proc: &str) -> Value {
    let places = [("proc", proc), ("pods", "/var/log/pods"), ("containers", "/var/log/containers")];
    let volumes: Vec<Value> = places
        .iter()
        .map(|(name, path)| json!({"name": name, "hostPath": {"path": path, "type": "Directory"}}))
        .collect();
    let mounts: Vec<Value> = places
        .iter()
        .zip(["/node/proc", "/node/var/log/pods", "/node/var/log/containers"])
        .map(|((name, _), at)| json!({"name": name, "mountPath": at, "readOnly": true}))
        .collect();
    let root = json!([{"name": "AGENT_HOST_ROOT", "value": "/node"}]);
    let container = json!({"name": "agent", "env": root, "volumeMounts": mounts});
    json!({"spec": {"template": {"spec": {"containers": [container], "volumes": volumes}}}})
}

/// The values, and what every release here needs: the image that the nodes have, and leave to show simulated GPUs.
fn settings(cluster: &Cluster, values: &[&str]) -> Vec<String> {
    let (repository, tag) = cluster.image.rsplit_once(':').unwrap_or((&cluster.image, ""));
    let image = format!("image.repository={repository},image.tag={tag},image.pullPolicy=Never");
    let simulated = "extraEnv[0].name=AGENT_NVML_MODE,extraEnv[0].value=simulated";
    let scenario =
        "extraEnv[1].name=NVML_SIM_SCENARIO,extraEnv[1].value=/run/nvml-sim/scenario.toml";
    let all = [&image, simulated, scenario].into_iter().chain(values.iter().copied());
    all.flat_map(|value| ["--set".to_owned(), value.to_owned()]).collect()
}
