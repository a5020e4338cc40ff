//! Both eras of MCP on one stdio, and what every tool promises.

use anyhow::Result;
use e2e::{Agent, simulated};
use serde_json::{Value, json};

const TOOLS: &[&str] = &[
    "get_gpu_health",
    "get_gpu_inventory",
    "get_gpu_processes",
    "get_gpu_timeline",
    "get_gpu_topology",
    "analyze_xid_errors",
    "trace_driver_calls",
    "watch_gpu_events",
    "get_agent_status",
];

/// What a request of the 2026-07-28 era carries.
fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

fn quick(tool: &str) -> Value {
    if tool == "watch_gpu_events" { json!({"duration_s": 0}) } else { json!({}) }
}

#[test]
fn initialize_echoes_every_older_revision_and_offers_its_newest_for_others() -> Result<()> {
    for (asked, answered) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2099-01-01", "2025-11-25"),
    ] {
        let mut agent = Agent::spawn(&mut simulated())?;
        let client = json!({"name": "e2e", "version": "1"});
        let params = json!({"protocolVersion": asked, "capabilities": {}, "clientInfo": client});
        let answer = agent.request("initialize", &params)?;
        assert_eq!(answer["result"]["protocolVersion"], answered, "{asked}");
        assert_eq!(answer["result"]["serverInfo"]["name"], "k8s-gpu-mcp-server");
    }
    Ok(())
}

#[test]
fn a_client_of_2026_discovers_and_calls_without_a_handshake() -> Result<()> {
    let mut agent = Agent::spawn(&mut simulated())?;
    let discovered = agent.request("server/discover", &json!({"_meta": meta()}))?;
    let versions =
        discovered["result"]["supportedVersions"].as_array().cloned().unwrap_or_default();
    assert!(
        versions.contains(&json!("2026-07-28")) && versions.contains(&json!("2025-11-25")),
        "{discovered}"
    );
    let params = json!({"name": "get_gpu_inventory", "arguments": {}, "_meta": meta()});
    let answer = agent.request("tools/call", &params)?;
    assert_eq!(answer["result"]["structuredContent"]["gpu_count"], 8);
    assert_eq!(answer["result"]["resultType"], "complete");
    let listed = agent.request("tools/list", &json!({"_meta": meta()}))?;
    assert_eq!(listed["result"]["tools"].as_array().map(Vec::len), Some(TOOLS.len()));
    Ok(())
}

#[test]
fn every_tool_has_schemas_honest_annotations_and_an_answer_of_both_kinds() -> Result<()> {
    let mut agent = Agent::simulated(&["--ebpf", "off"])?;
    let listed = agent.request("tools/list", &json!({}))?;
    let tools = listed["result"]["tools"].as_array().cloned().unwrap_or_default();
    assert_eq!(tools.iter().filter_map(|tool| tool["name"].as_str()).collect::<Vec<_>>(), TOOLS);
    for tool in &tools {
        let name = tool["name"].as_str().unwrap_or_default();
        assert_eq!(tool["inputSchema"]["type"], "object", "{name}");
        assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{name}");
        assert_eq!(tool["outputSchema"]["type"], "object", "{name}");
        assert_eq!(tool["annotations"]["readOnlyHint"], true, "{name}");
        assert_eq!(tool["annotations"]["destructiveHint"], false, "{name}");
        let result = agent.call(name, &quick(name))?;
        if name == "trace_driver_calls" {
            // Of a driver that is not there, or not followed, there is nothing to tell.
            assert_eq!(result["isError"], true, "{result}");
            assert!(e2e::text(&result).contains("--ebpf off"), "{result}");
            continue;
        }
        assert_ne!(result["isError"], true, "{name}: {result}");
        assert_eq!(result["structuredContent"]["simulated"], true, "{name}");
        assert!(e2e::text(&result).starts_with("SIMULATED GPUs"), "{name}");
        assert!(result["structuredContent"].to_string().len() < 32 << 10, "{name}");
    }
    Ok(())
}

#[test]
fn the_answers_of_sixteen_full_gpus_stay_within_their_bound() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("sixteen.toml");
    // The profile has the eight places of an HGX board; eight more make the largest node there is.
    let more = (8..16).map(|index| {
        let place =
            format!("pci.address = \"0001:{index:02x}:00.0\"\nidentity.module_id = {}", index + 1);
        format!("[[gpu]]\nindex = {index}\n{place}\n")
    });
    let sick = "profile = \"h100\"\ngpus = 16\n[all]\nrecovery_action = \"gpu_reset\"\nfabric.state = \"in_progress\"\n\
        ecc = { volatile.dram_uncorrected = 1, pending = false, sram_threshold_exceeded = true }\nnvlink.links.4.state = \"inactive\"\n\
        throttle.reasons = [\"hw_slowdown\", \"hw_thermal_slowdown\"]\nrow_remap.pending = true\npcie.width = 8\n"
        .to_owned();
    let content: String = std::iter::once(sick).chain(more).collect();
    std::fs::write(&path, content)?;
    let mut agent = Agent::spawn(simulated().env("NVML_SIM_SCENARIO", &path))?;
    agent.initialize()?;
    for tool in ["get_gpu_inventory", "get_gpu_health", "get_gpu_topology"] {
        let answer = agent.ask(tool, &json!({}))?;
        assert_eq!(answer["gpus"].as_array().map(Vec::len), Some(16), "{tool}");
        assert!(answer.to_string().len() < 32 << 10, "{tool}: {}", answer.to_string().len());
    }
    Ok(())
}

#[test]
fn the_events_resource_reads_and_its_subscription_is_told_of_news() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fifo = dir.path().join("log");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into())?;
    let mut agent = Agent::simulated(&["--ebpf", "off", "--replay", &fifo.to_string_lossy()])?;
    let mut log = std::fs::OpenOptions::new().write(true).open(&fifo)?;
    let uri = json!({"uri": "gpu://events"});
    assert_eq!(agent.request("resources/subscribe", &uri)?["result"], json!({}));
    std::io::Write::write_all(
        &mut log,
        b"NVRM: Xid (PCI:0000:1b:00): 79, GPU has fallen off the bus.\n",
    )?;
    agent.wait_for(|message| message["method"] == "notifications/resources/updated")?;
    let read = agent.request("resources/read", &uri)?;
    let body: Value =
        serde_json::from_str(read["result"]["contents"][0]["text"].as_str().unwrap_or_default())?;
    assert_eq!((&body["events"][0]["xid"]["code"], &body["simulated"]), (&json!(79), &json!(true)));
    assert_eq!(agent.request("resources/unsubscribe", &uri)?["result"], json!({}));
    Ok(())
}

#[test]
fn a_2026_client_listens_to_the_events_resource() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fifo = dir.path().join("log");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into())?;
    let mut agent = Agent::spawn(simulated().args(["--ebpf", "off", "--replay"]).arg(&fifo))?;
    let mut log = std::fs::OpenOptions::new().write(true).open(&fifo)?;
    let params =
        json!({"notifications": {"resourceSubscriptions": ["gpu://events"]}, "_meta": meta()});
    let id = agent.start("subscriptions/listen", &params)?;
    agent.wait_for(|message| message["method"] == "notifications/subscriptions/acknowledged")?;
    std::io::Write::write_all(
        &mut log,
        b"NVRM: Xid (PCI:0000:1b:00): 31, pid=1, name=a, MMU Fault\n",
    )?;
    let (_, told) =
        agent.wait_for(|message| message["method"] == "notifications/resources/updated")?;
    assert_eq!(told["params"]["uri"], "gpu://events");
    // The end of the input ends the subscription in order.
    agent.close();
    assert!(agent.answer(id)?.get("result").is_some());
    assert_eq!(agent.wait()?.code(), Some(0));
    Ok(())
}

#[test]
fn a_session_in_one_pipe_gets_every_answer_before_the_end() -> Result<()> {
    let mut agent = Agent::spawn(&mut simulated())?;
    agent.initialize()?;
    let ids: Vec<u64> = TOOLS
        .iter()
        .map(|tool| agent.start("tools/call", &json!({"name": tool, "arguments": {}})))
        .collect::<Result<_>>()?;
    agent.close();
    for (id, tool) in ids.into_iter().zip(TOOLS) {
        assert!(agent.answer(id)?["result"]["content"].is_array(), "{tool}");
    }
    assert_eq!(agent.wait()?.code(), Some(0));
    Ok(())
}
