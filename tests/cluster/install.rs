//! Where the pods come, and how they go: install, upgrade, rollback and uninstall, by each helm.

use std::time::Instant;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::{
    cluster::{Cluster, until},
    figures, host,
    release::{DEFAULT, EBPF, Release, is_ready},
};

/// On labelled nodes alone, the tainted one too; each step ends. By all helms at once, each in a namespace of its own.
pub fn by_every_helm(cluster: &Cluster) -> Result<()> {
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..cluster.helms.len())
            .map(|number| scope.spawn(move || by_helm(cluster, number)))
            .collect();
        all.into_iter().try_for_each(|one| match one.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

fn by_helm(cluster: &Cluster, number: usize) -> Result<()> {
    let helm = &cluster.helms[number];
    let name = helm.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut timed = Timed { helm: &name, last: Instant::now() };
    let release = Release::install_by(cluster, helm, &format!("helm-{number}"), &[])?;
    timed.step(&format!("install to ready, nodes: {}", cluster.gpu_nodes.len()));
    pods_are_where_they_belong(cluster, &release)?;
    if let Some(said) = release.test(cluster)? {
        timed.step("the chart's own tests");
        assert!(said.contains("Succeeded"), "{said}");
    }
    let old = uids(&release, cluster)?;
    timed.last = Instant::now();
    release.upgrade(cluster, &["podAnnotations.changed=yes"])?;
    timed.step("upgrade, until the API server has forgotten the old pods");
    let new = uids(&release, cluster)?;
    assert!(old.iter().all(|uid| !new.contains(uid)), "{old:?} {new:?}");
    timed.last = Instant::now();
    release.roll_back(cluster)?;
    timed.step("rollback, the same");
    pods_are_where_they_belong(cluster, &release)?;
    timed.last = Instant::now();
    release.uninstall(cluster)?;
    timed.step("uninstall, the same");
    release.remove(cluster)
}

/// The container's first process, whichever it is, ends by itself on SIGTERM: upgrades do not wait for the kubelet's SIGKILL.
pub fn sigterm_is_obeyed(cluster: &Cluster) -> Result<()> {
    for mode in [DEFAULT, EBPF] {
        let pod = cluster.release(mode)?.pod(cluster, &cluster.gpu_nodes[0])?;
        let first = host::first(&pod)?;
        let started = Instant::now();
        kill_process(Pid::from_raw(i32::try_from(first)?).context("a pid")?, Signal::TERM)?;
        until("the process ends", || Ok(host::status(first, "Pid").is_err().then_some(())))?;
        let what = format!("SIGTERM to the end of the first process, mode {}", mode.name);
        figures::add(what, figures::time(started.elapsed()));
        let ended = until("the kubelet tells how it ended", || {
            let pod = cluster.get(&["pod", "-n", &pod.namespace, &pod.name])?;
            let ended = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
            Ok((!ended.is_null()).then(|| ended.clone()))
        })?;
        assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(0), &json!("Completed")));
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
