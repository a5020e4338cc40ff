//! From the kernel's log to a client outside the cluster, by each way that a pod may hear it.

use std::time::Instant;

use anyhow::Result;
use e2e::print_to_kernel;
use serde_json::{Value, json};

use crate::{cluster::Cluster, figures, release::MODES};

/// As progress while the tool runs, decoded, and said to be a process's line where that can be known.
pub fn a_line_is_heard(cluster: &Cluster) -> Result<()> {
    let modes = MODES.iter().zip(0xc1_u8..).filter(|(mode, _)| !mode.hears.is_empty());
    for (mode, bus) in modes {
        let pod = cluster.release(mode)?.pod(cluster, &cluster.gpu_nodes[0])?;
        let mut session = pod.session(cluster)?;
        let lines = if mode.hears.contains(&"ebpf") { 20 } else { 3 };
        let gpu = format!("0000:{bus:02x}:00.0");
        let arguments = json!({"gpu": gpu, "max_events": lines, "duration_s": 60});
        let id = session.start(
            "tools/call",
            &json!({"name": "watch_gpu_events", "arguments": arguments, "_meta": {"progressToken": "t"}}),
        )?;
        // The status answers after the watch has begun: both are taken in order.
        session.ask("get_agent_status", &json!({}))?;
        let mut took = Vec::new();
        for number in 0..lines {
            let started = Instant::now();
            print_to_kernel(&format!(
                "NVRM: Xid (PCI:0000:{bus:02x}:00): 79, pid={number}, name=e2e, GPU has fallen off the bus."
            ))?;
            let told = |message: &Value| message["method"] == "notifications/progress";
            let (at, told) = session.wait_for(told)?;
            took.push(at.duration_since(started));
            let event: Value =
                serde_json::from_str(told["params"]["message"].as_str().unwrap_or_default())?;
            assert_eq!(event["process"]["pid"], number, "{}: {event}", mode.name);
            assert_eq!((&event["xid"]["code"], &event["severity"]), (&json!(79), &json!("fatal")));
            assert_eq!(event["gpu"]["pci_address"], gpu);
            assert_ne!(event["origin"], "kernel", "{}: a process wrote it", mode.name);
            assert!(
                mode.hears.contains(&event["sources"][0].as_str().unwrap_or_default()),
                "{event}"
            );
        }
        let watched = &session.answer(id)?["result"]["structuredContent"];
        assert_eq!(watched["ended_by"], "max_events", "{watched}");
        assert!(
            watched["lost"].as_object().into_iter().flatten().all(|(_, n)| *n == 0),
            "{watched}"
        );
        let what = format!("a line written to /dev/kmsg to the client, mode {}", mode.name);
        figures::add(what, figures::times(took));
    }
    Ok(())
}
