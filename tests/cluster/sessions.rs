//! Sessions by `kubectl exec -i`: what a client sees, and what ends one.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result};
use e2e::{Agent, python};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, succeeded, until},
    figures, host,
    release::{DEFAULT, EBPF, Pod},
};

/// As many as every node has.
const GPUS: usize = 8;

/// MCP's reference client, with an older kubectl and with the newest.
pub fn a_real_client(cluster: &Cluster) -> Result<()> {
    anyhow::ensure!(python().exists(), "E2E_PYTHON names no Python");
    for (mode, kubectl) in [(DEFAULT, &cluster.kubectl_old), (EBPF, &cluster.kubectl)] {
        let pod = cluster.release(mode)?.pod(cluster, &cluster.gpu_nodes[0])?;
        let session = pod.session_command(cluster, kubectl);
        let mut client = Command::new(python());
        client.arg(e2e::repository().join("tests/cluster/mcp_client.py"));
        client.arg(GPUS.to_string()).arg(session.get_program()).args(session.get_args());
        client.envs(session.get_envs().filter_map(|(name, value)| Some((name, value?))));
        succeeded("the client", client.stdin(Stdio::null()).output()?)?;
        let mut took = Vec::new();
        for _ in 0..5 {
            let started = Instant::now();
            pod.session(cluster)?;
            took.push(started.elapsed());
        }
        let what = format!("kubectl exec to the first answer, mode {}", mode.name);
        figures::add(what, figures::times(took));
    }
    Ok(())
}

/// Another pod has all GPUs of the node, which the agent's session still sees.
pub fn no_gpu_is_taken(cluster: &Cluster) -> Result<()> {
    let release = cluster.release(DEFAULT)?;
    let node = &cluster.gpu_nodes[0];
    let patch = |how: &str, patch: &Value| {
        let (how, patch) = (format!("--type={how}"), patch.to_string());
        cluster.kubectl(&["patch", "node", node, "--subresource=status", &how, "-p", &patch])
    };
    let all = GPUS.to_string();
    let capacity = json!({"status": {"capacity": {"nvidia.com/gpu": all}}});
    patch("merge", &capacity)?;
    until("the kubelet offers the GPUs", || {
        let offered = &cluster.get(&["node", node])?["status"]["allocatable"]["nvidia.com/gpu"];
        Ok((offered.as_str() == Some(&all)).then_some(()))
    })?;
    let manifest = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "trains", "namespace": release.namespace},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main",
                "image": cluster.image,
                "imagePullPolicy": "Never",
                "command": ["/agent", "pause"],
                "resources": {"limits": {"nvidia.com/gpu": GPUS}},
            }],
        },
    });
    cluster.apply(&manifest.to_string())?;
    let runs = until("a pod with all GPUs runs beside the agent", || {
        let pod = cluster.get(&["pod", "-n", &release.namespace, "trains"])?;
        Ok((pod["status"]["phase"] == "Running").then_some(pod))
    });
    let seen = release
        .pod(cluster, node)
        .and_then(|pod| pod.session(cluster)?.ask("get_gpu_inventory", &json!({})));
    cluster.kubectl(&["delete", "pod", "-n", &release.namespace, "trains"])?;
    patch("json", &json!([{"op": "remove", "path": "/status/capacity/nvidia.com~1gpu"}]))?;
    assert_eq!(runs?["spec"]["nodeName"], node.as_str());
    assert_eq!(seen?["gpu_count"], GPUS);
    Ok(())
}

/// Each gets its own answers and no other's, whichever asked first.
pub fn two_at_once(cluster: &Cluster) -> Result<()> {
    for mode in [DEFAULT, EBPF] {
        let pod = cluster.release(mode)?.pod(cluster, &cluster.gpu_nodes[0])?;
        all_gone(&pod)?;
        let mut first = pod.session(cluster)?;
        let mut second = pod.session(cluster)?;
        assert_eq!(host::sessions(&pod)?.len(), 2, "{}", mode.name);
        // The same ids in both, for different questions.
        for gpu in [0, 5] {
            let ask = |session: &mut Agent, gpu: usize| {
                let params = json!({"name": "get_gpu_inventory", "arguments": {"gpu": gpu}});
                session.start("tools/call", &params)
            };
            let (one, two) = (ask(&mut first, gpu)?, ask(&mut second, gpu + 1)?);
            assert_eq!(one, two);
            let index =
                |answer: &Value| answer["result"]["structuredContent"]["gpus"][0]["index"].clone();
            assert_eq!(index(&second.answer(two)?), gpu + 1, "{}", mode.name);
            assert_eq!(index(&first.answer(one)?), gpu, "{}", mode.name);
        }
    }
    Ok(())
}

/// Whether the client closes its end or dies.
pub fn ends_with_the_client(cluster: &Cluster) -> Result<()> {
    for mode in [DEFAULT, EBPF] {
        let pod = cluster.release(mode)?.pod(cluster, &cluster.gpu_nodes[0])?;
        all_gone(&pod)?;
        let mut session = pod.session(cluster)?;
        assert_eq!(host::sessions(&pod)?.len(), 1);
        session.close();
        assert_eq!(session.wait()?.code(), Some(0), "{}", mode.name);
        all_gone(&pod)?;
        for signal in [Signal::TERM, Signal::KILL] {
            // In the middle of an answer that takes its time, too.
            for busy in [false, true] {
                let mut session = pod.session(cluster)?;
                assert_eq!(host::sessions(&pod)?.len(), 1, "{}", mode.name);
                if busy {
                    let watch =
                        json!({"name": "watch_gpu_events", "arguments": {"duration_s": 60}});
                    session.start("tools/call", &watch)?;
                }
                let kubectl = Pid::from_raw(i32::try_from(session.pid())?).context("a pid")?;
                let started = Instant::now();
                kill_process(kubectl, signal)?;
                session.wait()?;
                all_gone(&pod)?;
                if !busy {
                    let what =
                        format!("{signal:?} of kubectl to the session's end, mode {}", mode.name);
                    figures::add(what, figures::time(started.elapsed()));
                }
            }
        }
        let restarts = cluster.get(&["pod", "-n", &pod.namespace, &pod.name])?;
        assert_eq!(restarts["status"]["containerStatuses"][0]["restartCount"], 0);
    }
    Ok(())
}

/// Waits until no session is left in the pod.
fn all_gone(pod: &Pod) -> Result<()> {
    until("the session's end", || Ok(host::sessions(pod)?.is_empty().then_some(())))
}

/// The client is told by the end of its command.
pub fn ends_with_the_pod(cluster: &Cluster) -> Result<()> {
    for mode in [DEFAULT, EBPF] {
        let node = &cluster.gpu_nodes[0];
        let pod = cluster.release(mode)?.pod(cluster, node)?;
        let mut session = pod.session(cluster)?;
        let started = Instant::now();
        cluster.kubectl(&["delete", "pod", "--wait=false", "-n", &pod.namespace, &pod.name])?;
        assert_ne!(session.wait()?.code(), Some(0), "{}: it was not the client's wish", mode.name);
        let what = format!("pod's deletion to the end of kubectl exec, mode {}", mode.name);
        figures::add(what, figures::time(started.elapsed()));
        // Its successor answers.
        let next = cluster.release(mode)?.pod(cluster, node)?;
        assert_ne!(next.uid, pod.uid);
        assert_eq!(next.session(cluster)?.ask("get_gpu_inventory", &json!({}))?["gpu_count"], GPUS);
    }
    Ok(())
}
