//! What `kubectl logs` tells of sessions.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, until},
    release::{DEFAULT, EBPF, Pod, ROOTLESS},
};

/// Each session, and each question with what became of it, is one line of JSON, whoever the first process is.
pub fn in_the_pods_log(cluster: &Cluster) -> Result<()> {
    for mode in [DEFAULT, EBPF, ROOTLESS] {
        let pod = cluster.release(mode)?.pod(cluster, &cluster.gpu_nodes[0])?;
        let before = lines(cluster, &pod)?.len();
        let mut sessions = [pod.session(cluster)?, pod.session(cluster)?];
        for (session, gpu) in sessions.iter_mut().zip([3, 99]) {
            session.call("get_gpu_inventory", &json!({"gpu": gpu}))?;
            session.close();
            session.wait()?;
        }
        let told = until("the end of two sessions in the log", || {
            let told = lines(cluster, &pod)?.split_off(before);
            let ended = told.iter().filter(|line| line["audit"] == "session_ended").count();
            Ok((ended >= 2).then_some(told))
        });
        let told = told.with_context(|| format!("{}: {:?}", mode.name, lines(cluster, &pod)))?;
        let calls: Vec<&Value> = told.iter().filter(|line| line["audit"] == "tool_call").collect();
        assert_eq!(calls.len(), 2, "{}: {told:?}", mode.name);
        assert_ne!(calls[0]["session"], calls[1]["session"]);
        for (call, (gpu, outcome)) in calls.iter().zip([(3, "ok"), (99, "refused")]) {
            assert_eq!(call["tool"], "get_gpu_inventory", "{}: {call}", mode.name);
            assert_eq!(call["arguments"], json!({"gpu": gpu}), "{}: {call}", mode.name);
            assert_eq!(call["outcome"], outcome, "{}: {call}", mode.name);
            assert!(call["duration_ms"].is_number() && call["time"].is_string(), "{call}");
            let of_session: Vec<&Value> = told
                .iter()
                .filter(|line| line["session"] == call["session"])
                .map(|line| &line["audit"])
                .collect();
            assert_eq!(of_session, ["session_started", "tool_call", "session_ended"]);
        }
    }
    Ok(())
}

/// The lines of the audit; nothing else that is in the log is JSON.
fn lines(cluster: &Cluster, pod: &Pod) -> Result<Vec<Value>> {
    let log =
        cluster.kubectl(&["logs", "-n", &pod.namespace, &pod.name]).context("kubectl logs")?;
    let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
    Ok(lines.filter(|line: &Value| line["audit"].is_string()).collect())
}
