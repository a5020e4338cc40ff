//! Bringing the cluster up: etcd, the API server and its two companions, then the nodes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::process::{self, Process};
use super::{Image, ground};
use crate::setup::ClusterTools;
use crate::{cmd, paths};

const ETCD: &str = "http://127.0.0.1:2379";

/// The cluster that is coming up.
#[derive(Debug)]
struct Up<'a> {
    tools: &'a ClusterTools,
    /// Where everything of it lies; absolute.
    state: &'a Path,
    processes: Vec<Process>,
}

/// Brings up a cluster in `state`, with the simulator on each node and the image in each node's containerd.
pub(crate) fn up(
    state: &Path,
    nodes: u8,
    simulator: &Path,
    image: &Image,
    tools: &ClusterTools,
) -> Result<()> {
    // What a cluster before it left are its logs.
    if state.exists() {
        fs::remove_dir_all(state).with_context(|| format!("cannot empty {}", state.display()))?;
    }
    for dir in ["log", "pki", "etcd", "images"] {
        fs::create_dir_all(state.join(dir))?;
    }
    ground::take(state, nodes)?;
    let names: Vec<String> = (1..=nodes).map(name).collect();
    let mut pki = Command::new("sh");
    pki.arg(machine().join("pki.sh")).arg(ground::address(1)).args(&names);
    cmd::output(pki.current_dir(state.join("pki"))).context("cannot make certificates")?;
    fs::copy(state.join("pki/admin.conf"), state.join("admin.conf"))?;
    let images = state.join("images");
    fs::copy(&tools.pause, images.join("pause.tar"))?;
    fs::copy(&image.archive, images.join("agent.tar"))?;

    let mut up = Up { tools, state, processes: Vec::new() };
    up.etcd()?;
    up.api_server()?;
    for number in 1..=nodes {
        up.node(number, simulator)?;
    }
    let ready =
        || cmd::succeeds(kubectl(state, &tools.kubectls[0]).args(["get", "--raw", "/readyz"]));
    process::wait("starting etcd and the API server", &mut up.processes, ready)?;
    fs::write(images.join("go"), "")?;
    up.companions()?;
    let ready = || {
        let mut get = kubectl(state, &tools.kubectls[0]);
        get.args(["get", "nodes", "--output"]);
        get.arg("jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}");
        let said = cmd::output(&mut get).unwrap_or_default();
        said.split_whitespace().filter(|&status| status == "True").count() == usize::from(nodes)
    };
    let doing = format!("starting {}", names.join(", "));
    process::wait(&doing, &mut up.processes, ready)?;
    // Last: who finds it finds a cluster that is up.
    fs::write(state.join("env"), environment(tools, image, &names)?)?;
    Ok(())
}

impl Up<'_> {
    fn etcd(&mut self) -> Result<()> {
        const PEERS: &str = "http://127.0.0.1:2380";
        let mut etcd = ground::enter("etcd");
        etcd.args(["--name", "only", "--data-dir"]).arg(self.state.join("etcd"));
        etcd.args(["--listen-client-urls", ETCD, "--advertise-client-urls", ETCD]);
        etcd.args(["--listen-peer-urls", PEERS, "--initial-advertise-peer-urls", PEERS]);
        // Nothing of it has to outlive the machine's next crash.
        etcd.args(["--initial-cluster", &format!("only={PEERS}"), "--unsafe-no-fsync"]);
        self.start("etcd", etcd)
    }

    fn api_server(&mut self) -> Result<()> {
        let mut server = self.server("kube-apiserver");
        server.args([
            &format!("--etcd-servers={ETCD}"),
            "--bind-address=127.0.0.1",
            &format!("--advertise-address={}", ground::address(1)),
            "--service-cluster-ip-range=10.96.0.0/24",
            "--client-ca-file=ca.crt",
            "--tls-cert-file=kube-apiserver.crt",
            "--tls-private-key-file=kube-apiserver.key",
            "--kubelet-client-certificate=to-kubelet.crt",
            "--kubelet-client-key=to-kubelet.key",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-signing-key-file=service-accounts.key",
            "--service-account-key-file=service-accounts.pub",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
        ]);
        self.start("kube-apiserver", server)
    }

    /// They ask the API server at once, and do not wait for it long.
    fn companions(&mut self) -> Result<()> {
        let mut controllers = self.server("kube-controller-manager");
        controllers.args([
            "--kubeconfig=kube-controller-manager.conf",
            "--leader-elect=false",
            "--service-account-private-key-file=service-accounts.key",
            "--root-ca-file=ca.crt",
            // Else RBAC keeps the controllers from what they do.
            "--use-service-account-credentials=true",
        ]);
        self.start("kube-controller-manager", controllers)?;
        let mut scheduler = self.server("kube-scheduler");
        scheduler.args(["--kubeconfig=kube-scheduler.conf", "--leader-elect=false"]);
        self.start("kube-scheduler", scheduler)
    }

    fn node(&mut self, number: u8, simulator: &Path) -> Result<()> {
        let name = name(number);
        let dir = self.state.join("nodes").join(&name);
        for part in ["gpu", "log"] {
            fs::create_dir_all(dir.join(part))?;
        }
        fs::copy(simulator, dir.join("gpu/libnvidia-ml.so.1"))
            .context("cannot copy the simulator")?;
        let scenario = paths::root().join("tests/nvml-sim/scenarios/healthy.toml");
        fs::copy(scenario, dir.join("gpu/scenario.toml"))?;

        let mut node = ground::enter("unshare");
        node.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh"]);
        node.arg(machine().join("node.sh")).arg(&dir).arg(&name).arg(ground::address(number));
        // An address range of its own for each node's pods.
        node.arg(format!("10.88.{}.0/24", 100 + u16::from(number))).arg(ground::cgroup(number));
        node.arg(&self.tools.servers).arg(self.state.join("images"));
        let logs = ["node.log", "images.log", "containerd.log", "kubelet.log"];
        let logs = logs.map(|log| dir.join("log").join(log)).into();
        self.processes.push(Process::start(self.state, &name, node, logs)?);
        Ok(())
    }

    fn server(&self, name: &str) -> Command {
        let mut server = ground::enter(self.tools.servers.join(name));
        server.current_dir(self.state.join("pki"));
        server
    }

    fn start(&mut self, name: &str, cmd: Command) -> Result<()> {
        let log = self.state.join("log").join(format!("{name}.log"));
        self.processes.push(Process::start(self.state, name, cmd, vec![log])?);
        Ok(())
    }
}

/// Puts another simulator and another image into the nodes of a cluster that is up. Pods that run keep what they have.
pub(crate) fn renew(state: &Path, simulator: &Path, image: &Image) -> Result<()> {
    for node in fs::read_dir(state.join("nodes"))?.flatten() {
        let name = node.file_name().to_string_lossy().into_owned();
        let library = node.path().join("gpu/libnvidia-ml.so.1");
        let new = library.with_extension("new");
        fs::copy(simulator, &new)
            .and_then(|_| fs::rename(&new, &library))
            .with_context(|| format!("cannot put the simulator into {name}"))?;
        let pid = process::pid(state, &name).with_context(|| format!("{name} has ended"))?;
        let mut import = Command::new("nsenter");
        import.args([&format!("--mount=/proc/{pid}/ns/mnt"), "ctr", "--namespace", "k8s.io"]);
        import.args(["images", "import"]).arg(&image.archive);
        cmd::output(&mut import).with_context(|| format!("cannot put the image into {name}"))?;
    }
    Ok(())
}

/// Whether everything that was started still runs.
pub(crate) fn is_whole(state: &Path) -> bool {
    state.join("env").exists() && process::all_run(state)
}

/// The file `env`; [`super`] says what is in it.
fn environment(tools: &ClusterTools, image: &Image, names: &[String]) -> Result<String> {
    let [new, old] = &tools.kubectls;
    let helms =
        std::env::join_paths(&tools.helms).context("the path of a helm has a colon in it")?;
    Ok(format!(
        "NSENTER=nsenter --net={}\nKUBECTL={}\nKUBECTL_OLD={}\nHELM={}\nIMAGE={}\nNODES={}\n",
        ground::NET,
        new.display(),
        old.display(),
        helms.to_string_lossy(),
        image.name,
        names.join(" "),
    ))
}

fn kubectl(state: &Path, kubectl: &Path) -> Command {
    let mut cmd = ground::enter(kubectl);
    cmd.arg("--kubeconfig").arg(state.join("admin.conf")).args(["--request-timeout", "5s"]);
    cmd
}

fn name(number: u8) -> String {
    format!("n{number}")
}

/// What runs in the nodes, and its configuration.
fn machine() -> PathBuf {
    paths::root().join("tests/cluster/machine")
}
