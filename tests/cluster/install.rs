//! Where the pods come, and how they go: install, upgrade, rollback and uninstall, by each helm.

use std::{
    collections::BTreeMap,
    process::{Child, Stdio},
    thread::JoinHandle,
    time::Instant,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{
    cluster::Cluster,
    figures,
    release::{Release, is_ready},
};

/// On labelled nodes alone, the tainted one too; each step ends, and every container by itself, with exit code 0.
pub fn by_every_helm(cluster: &Cluster) -> Result<()> {
    for (number, helm) in cluster.helms.iter().enumerate() {
        let name = helm.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut timed = Timed { helm: &name, last: Instant::now() };
        let release = Release::install_by(cluster, helm, &format!("helm-{number}"), &[])?;
        timed.step(&format!("install to ready, {} pods", cluster.gpu_nodes.len()));
        pods_are_where_they_belong(cluster, &release)?;
        let ends = Ends::watch(cluster, &release.namespace)?;
        let old = uids(&release, cluster)?;
        if let Some(said) = release.test(cluster)? {
            timed.step("the chart's own tests");
            assert!(said.contains("Succeeded"), "{said}");
        }
        timed.last = Instant::now();
        release.upgrade(cluster, &["podAnnotations.changed=yes"])?;
        timed.step("upgrade, pod by pod");
        let new = uids(&release, cluster)?;
        assert!(old.iter().all(|uid| !new.contains(uid)), "{old:?} {new:?}");
        timed.last = Instant::now();
        release.roll_back(cluster)?;
        timed.step("rollback, pod by pod");
        let last = uids(&release, cluster)?;
        pods_are_where_they_belong(cluster, &release)?;
        timed.last = Instant::now();
        release.uninstall(cluster)?;
        timed.step("uninstall");
        let ended = ends.stop()?;
        for uid in old.iter().chain(&new).chain(&last) {
            let reason = Some(&("Completed".to_owned(), 0));
            assert_eq!(ended.get(uid), reason, "{name}: {uid} of {ended:?}");
        }
        release.remove(cluster)?;
    }
    Ok(())
}

/// Names what took how long.
struct Timed<'a> {
    helm: &'a str,
    last: Instant,
}

impl Timed<'_> {
    fn step(&mut self, what: &str) {
        figures::add(format!("{}: {what}", self.helm), figures::time(self.last.elapsed()));
        self.last = Instant::now();
    }
}

fn pods_are_where_they_belong(cluster: &Cluster, release: &Release) -> Result<()> {
    let pods = release.objects(cluster)?;
    let mut nodes: Vec<&str> =
        pods.iter().filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
    nodes.sort_unstable();
    // The first of them has the taint.
    assert_eq!(nodes, cluster.gpu_nodes);
    assert!(!nodes.contains(&cluster.other_node.as_str()));
    for pod in &pods {
        assert!(is_ready(pod), "{pod}");
        assert_eq!(pod["spec"]["runtimeClassName"], "nvidia");
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{pod}");
    }
    Ok(())
}

fn uids(release: &Release, cluster: &Cluster) -> Result<Vec<String>> {
    Ok(release.pods(cluster)?.into_iter().map(|pod| pod.uid).collect())
}

/// How the containers of a namespace end. The API server forgets a pod with its end, so it has to be watched.
struct Ends {
    kubectl: Child,
    read: JoinHandle<BTreeMap<String, (String, i64)>>,
}

impl Ends {
    fn watch(cluster: &Cluster, namespace: &str) -> Result<Self> {
        let mut kubectl = cluster.program(&cluster.kubectl);
        kubectl.args(["get", "pods", "-n", namespace, "--watch", "-o", "json"]);
        let mut kubectl = kubectl.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = kubectl.stdout.take().context("stdout")?;
        let read = std::thread::spawn(move || {
            let pods = serde_json::Deserializer::from_reader(stdout).into_iter::<Value>();
            // The last object is cut off where the watch ends.
            let ends = pods.map_while(Result::ok).filter_map(|pod| {
                let state = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
                let how = (state["reason"].as_str()?.to_owned(), state["exitCode"].as_i64()?);
                Some((pod["metadata"]["uid"].as_str()?.to_owned(), how))
            });
            ends.collect()
        });
        Ok(Self { kubectl, read })
    }

    /// Reason and exit code by the pod's uid.
    fn stop(mut self) -> Result<BTreeMap<String, (String, i64)>> {
        self.kubectl.kill()?;
        self.kubectl.wait()?;
        self.read.join().map_err(|_| anyhow::anyhow!("a panic"))
    }
}
