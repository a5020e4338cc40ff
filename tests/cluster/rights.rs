//! What a pod may do in each mode, as the kernel has it of the container's processes.

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::{
    cluster::{Cluster, until},
    host,
    release::{DEFAULT, MODES, Mode, Pod},
};

/// Bits of the capabilities that a mode may have.
const BITS: [(&str, u32); 3] = [("CAP_SYSLOG", 34), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];
/// File systems of the container's own, which end with it and which no volume is behind.
const VIRTUAL: [&str; 7] = ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2"];

/// Of the container's first process and of a session, by the node's `/proc` and by the session's own answer.
pub fn of_each_mode(cluster: &Cluster) -> Result<()> {
    for (mode, release) in MODES.iter().zip(cluster.releases(&MODES)?) {
        let pod = release.pod(cluster, &cluster.gpu_nodes[0])?;
        let mut session = pod.session(cluster)?;
        let status = session.ask("get_agent_status", &json!({}))?;
        assert_eq!(status["capabilities"], json!(mode.capabilities), "{}: {status}", mode.name);
        assert_eq!(status["uid"], mode.uid, "{}", mode.name);
        assert_eq!(status["node"], pod.node.as_str(), "{}", mode.name);
        for source in ["ebpf", "kernel_log"] {
            let state = if mode.hears.contains(&source) { "live" } else { "unavailable" };
            assert!(session.source_is(source, state)?, "{}, {source}: {status}", mode.name);
        }
        let agents = host::agents(&pod)?;
        assert_eq!(agents.len(), 2, "{}: the first process and the session", mode.name);
        for process in agents {
            has(process.pid, mode)?;
        }
        writes_nowhere_else(&pod, mode)?;
    }
    Ok(())
}

fn has(pid: u32, mode: &Mode) -> Result<()> {
    let bits = BITS.iter().filter(|(name, _)| mode.capabilities.contains(name));
    let wanted = bits.fold(0_u64, |all, (_, bit)| all | 1 << bit);
    for set in ["CapEff", "CapPrm", "CapBnd", "CapAmb"] {
        let has = u64::from_str_radix(&host::status(pid, set)?, 16)?;
        let wanted = if set == "CapAmb" { 0 } else { wanted };
        assert_eq!(has, wanted, "{}: {set}", mode.name);
    }
    assert_eq!(host::status(pid, "Seccomp")?, "2", "{}: a filter", mode.name);
    assert_eq!(host::status(pid, "NoNewPrivs")?, "1", "{}", mode.name);
    let uid = host::status(pid, "Uid")?;
    assert!(uid.split_whitespace().all(|uid| uid == mode.uid.to_string()), "{}: {uid}", mode.name);
    Ok(())
}

/// The root cannot be written to, and of volumes there is the recorder's alone: no token, nothing of the node.
fn writes_nowhere_else(pod: &Pod, mode: &Mode) -> Result<()> {
    let mounts = host::mounts(host::first(pod)?)?;
    let root = mounts.iter().find(|(place, ..)| place == "/").context("a root")?;
    assert!(!root.1, "{}: {root:?}", mode.name);
    let secrets = mounts.iter().find(|(place, ..)| place.starts_with("/var/run/secrets"));
    assert_eq!(secrets, None, "{}", mode.name);
    let written: Vec<&str> = mounts
        .iter()
        .filter(|(_, writable, kind)| *writable && !VIRTUAL.contains(&kind.as_str()))
        .map(|(place, ..)| place.as_str())
        .filter(|place| !KUBELETS.contains(place))
        .collect();
    let recorder: &[&str] =
        if mode.hears.contains(&"ebpf") { &["/run/k8s-gpu-mcp-server"] } else { &[] };
    assert_eq!(written, recorder, "{}: {mounts:?}", mode.name);
    Ok(())
}

/// Files that the kubelet gives every container: names, and where a container may say why it ended.
const KUBELETS: [&str; 4] =
    ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/termination-log"];

/// Why the chart says `BPF`: the same pod with the name that capabilities(7) has gets none.
pub fn by_the_long_name(cluster: &Cluster) -> Result<()> {
    let namespace = &cluster.release(DEFAULT)?.namespace;
    let security = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"], "add": ["CAP_BPF", "CAP_PERFMON"]},
        "runAsUser": 0,
    });
    let manifest = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "long-name", "namespace": namespace},
        "spec": {
            "nodeName": cluster.other_node,
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "agent",
                "image": cluster.image,
                "imagePullPolicy": "Never",
                "command": ["/agent", "pause"],
                "securityContext": security,
            }],
        },
    });
    cluster.apply(&manifest.to_string())?;
    let pod = until("the pod runs", || {
        let pod = cluster.get(&["pod", "-n", namespace, "long-name"])?;
        Ok((pod["status"]["phase"] == "Running").then_some(pod))
    })?;
    let pod = Pod {
        namespace: namespace.clone(),
        name: "long-name".to_owned(),
        uid: pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
        node: cluster.other_node.clone(),
    };
    assert_eq!(host::status(host::first(&pod)?, "CapEff")?, "0000000000000000");
    cluster.kubectl(&["delete", "pod", "-n", namespace, "long-name"]).map(drop)
}
