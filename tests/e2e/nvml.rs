//! NVML that is there, that is not, that is a simulator in disguise, and that is sick.

use std::process::Command;

use anyhow::Result;
use e2e::{Agent, agent, run, scenario, simulated, simulator, text};
use serde_json::{Value, json};

fn session(command: &mut Command) -> Result<Agent> {
    let mut agent = Agent::spawn(command)?;
    agent.initialize()?;
    Ok(agent)
}

fn with_scenario(content: &str) -> Result<(tempfile::TempDir, Agent)> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("scenario.toml");
    std::fs::write(&path, content)?;
    let agent = session(simulated().args(["--ebpf", "off"]).env("NVML_SIM_SCENARIO", path))?;
    Ok((dir, agent))
}

fn verdicts(health: &Value) -> Vec<(u64, String)> {
    let gpus = health["gpus"].as_array().cloned().unwrap_or_default();
    let unwell = gpus.iter().filter(|gpu| gpu["verdict"] != "healthy");
    unwell
        .map(|gpu| {
            (gpu["index"].as_u64().unwrap_or(99), gpu["verdict"].as_str().unwrap_or("").to_owned())
        })
        .collect()
}

#[test]
fn without_a_driver_the_session_starts_and_every_nvml_tool_says_what_is_missing() -> Result<()> {
    let mut agent = session(agent().args(["--nvml-library", "/nonexistent/libnvidia-ml.so.1"]))?;
    for tool in ["get_gpu_inventory", "get_gpu_health", "get_gpu_processes", "get_gpu_topology"] {
        let result = agent.call(tool, &json!({}))?;
        assert_eq!(result["isError"], true, "{tool}");
        let text = text(&result);
        assert!(
            text.contains("/nonexistent/libnvidia-ml.so.1") && text.contains("Next: "),
            "{text}"
        );
        assert!(!text.contains("SIMULATED"), "{text}");
    }
    let status = agent.ask("get_agent_status", &json!({}))?;
    assert_eq!(
        (&status["sources"][0]["name"], &status["sources"][0]["state"]),
        (&json!("nvml"), &json!("unavailable"))
    );
    assert_eq!(status["simulated"], false);
    // What does not need NVML answers.
    assert_eq!(agent.ask("analyze_xid_errors", &json!({}))?["event_count"], 0);
    Ok(())
}

#[test]
fn the_default_search_names_what_it_searched() -> Result<()> {
    if std::path::Path::new("/dev/nvidiactl").exists() {
        crate::skip(
            "nvml::the_default_search_names_what_it_searched",
            "this machine has an NVIDIA driver",
        );
        return Ok(());
    }
    let mut agent = session(&mut agent())?;
    let result = agent.call("get_gpu_inventory", &json!({}))?;
    assert_eq!(result["isError"], true);
    assert!(text(&result).contains("libnvidia-ml.so.1"), "{result}");
    Ok(())
}

#[test]
fn real_demanded_and_not_there_exits_with_3_reason_and_remedy() -> Result<()> {
    for library in ["/nonexistent.so", "/etc/hostname"] {
        let exit = run(agent().args(["--nvml-mode", "real", "--nvml-library", library]))?;
        assert_eq!(exit.code, Some(3));
        assert!(
            exit.stderr.contains(library) && exit.stderr.contains("gpuAccess.method"),
            "{}",
            exit.stderr
        );
    }
    Ok(())
}

#[test]
fn the_simulator_is_never_taken_for_a_real_driver() -> Result<()> {
    let library = simulator();
    let mut session = session(agent().arg("--nvml-library").arg(&library))?;
    for tool in ["get_gpu_inventory", "get_gpu_health", "get_gpu_processes", "get_gpu_topology"] {
        let result = session.call(tool, &json!({}))?;
        assert_eq!(result["isError"], true, "{tool}");
        assert!(text(&result).contains("simulator") && !text(&result).contains("H100"), "{result}");
    }
    let exit = run(agent().args(["--nvml-mode", "real", "--nvml-library"]).arg(&library))?;
    assert_eq!(exit.code, Some(3));
    // Nor the other way round: a library without the marker is not shown as simulated.
    let exit =
        run(agent().args(["--nvml-mode", "simulated", "--nvml-library", "/nonexistent.so"]))?;
    assert_eq!(exit.code, Some(3));
    Ok(())
}

#[test]
fn one_sick_gpu_of_eight_busy_ones_is_found_and_no_other() -> Result<()> {
    let mut agent = session(
        simulated().args(["--ebpf", "off"]).env("NVML_SIM_SCENARIO", scenario("one-sick-gpu.toml")),
    )?;
    let health = agent.ask("get_gpu_health", &json!({}))?;
    assert_eq!(verdicts(&health), [(3, "failed".to_owned())]);
    let ids: Vec<_> = health["gpus"][3]["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|f| f["id"].clone())
        .collect();
    assert_eq!(ids, ["recovery_action", "row_remap_pending", "ecc_uncorrected"]);
    assert_eq!(health["verdict"], "failed");
    assert_eq!(health["xids_considered"], true);
    assert!(health["limits"][0].as_str().unwrap_or_default().contains("NVML alone"), "{health}");
    let one = agent.ask("get_gpu_health", &json!({"gpu": "61:00.0", "detail": "full"}))?;
    assert_eq!(one["gpus"].as_array().map(Vec::len), Some(1));
    assert_eq!(one["gpus"][0]["figures"]["recovery_action"], 1);
    Ok(())
}

#[test]
fn a_driver_that_is_not_loaded_is_said_in_its_own_words() -> Result<()> {
    let mut agent =
        session(simulated().env("NVML_SIM_SCENARIO", scenario("driver-not-loaded.toml")))?;
    let result = agent.call("get_gpu_health", &json!({}))?;
    assert_eq!(result["isError"], true);
    assert!(text(&result).contains("kernel module is not loaded"), "{}", text(&result));
    Ok(())
}

#[test]
fn a_lost_gpu_is_unreachable_and_the_others_answer() -> Result<()> {
    let mut agent = session(
        simulated().args(["--ebpf", "off"]).env("NVML_SIM_SCENARIO", scenario("gpu-lost.toml")),
    )?;
    let health = agent.ask("get_gpu_health", &json!({}))?;
    let unwell = verdicts(&health);
    assert_eq!(unwell.len(), 1, "{health}");
    assert_eq!(unwell[0].1, "unreachable");
    let inventory = agent.ask("get_gpu_inventory", &json!({}))?;
    let gpus = inventory["gpus"].as_array().cloned().unwrap_or_default();
    assert_eq!(gpus.iter().filter(|gpu| gpu["error"].is_string()).count(), 1, "{inventory}");
    assert_eq!(gpus.iter().filter(|gpu| gpu["memory_total_bytes"].is_u64()).count(), 7);
    Ok(())
}

#[test]
fn a_value_that_the_board_does_not_have_is_null_with_a_reason() -> Result<()> {
    let (_dir, mut agent) = with_scenario(
        "profile = \"h100\"\n[[gpu]]\nindex = 1\n[gpu.faults]\nnvmlDeviceGetPowerUsage = \"NOT_SUPPORTED\"\n",
    )?;
    let inventory = agent.ask("get_gpu_inventory", &json!({}))?;
    let gpu = &inventory["gpus"][1];
    assert_eq!(gpu["power_mw"], Value::Null);
    let why: Vec<_> = gpu["absent"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|a| a["fields"] == json!(["power_mw"]))
        .collect();
    assert_eq!(why.len(), 1, "{gpu}");
    assert_eq!(why[0]["by_design"], true);
    assert!(why[0]["reason"].as_str().unwrap_or_default().contains("NOT_SUPPORTED"));
    assert!(inventory["gpus"][0]["power_mw"].is_u64());
    Ok(())
}

#[test]
fn a_call_that_hangs_is_named_and_hangs_neither_session_nor_exit() -> Result<()> {
    let (_dir, mut agent) = with_scenario(
        "profile = \"h100\"\n[[gpu]]\nindex = 2\n[gpu.faults]\nnvmlDeviceGetTemperature = { hang = true }\n",
    )?;
    let id = agent.start("tools/call", &json!({"name": "get_gpu_health", "arguments": {}}))?;
    // Another question is answered while that one waits.
    assert_eq!(agent.ask("analyze_xid_errors", &json!({}))?["event_count"], 0);
    let answer = agent.answer(id)?;
    let health = &answer["result"]["structuredContent"];
    let stuck = &health["gpus"][2];
    assert_eq!(stuck["verdict"], "unreachable", "{answer}");
    assert_eq!(stuck["findings"][0]["id"], "nvml_hangs");
    assert!(
        stuck["findings"][0]["evidence"][0]["value"]
            .as_str()
            .unwrap_or_default()
            .contains("nvmlDeviceGetTemperature")
    );
    assert_eq!(health["gpus"][0]["verdict"], "healthy");
    agent.close();
    assert_eq!(agent.wait()?.code(), Some(0));
    Ok(())
}

#[test]
fn a_scenario_with_a_mistake_is_refused_and_not_guessed() -> Result<()> {
    let (_dir, mut agent) = with_scenario("profile = \"h100\"\nfavourite_colour = \"green\"\n")?;
    assert_eq!(agent.call("get_gpu_inventory", &json!({}))?["isError"], true);
    Ok(())
}

#[test]
fn without_any_capability_xids_are_heard_from_nvml_by_number() -> Result<()> {
    let (_dir, mut agent) =
        with_scenario("profile = \"h100\"\n[[event]]\ngpu = 3\nxid = 79\nafter_ms = 300\n")?;
    let watched = agent.ask("watch_gpu_events", &json!({"since": "0-0", "max_events": 1}))?;
    let event = &watched["events"][0];
    assert_eq!((&event["kind"], &event["xid"]["code"]), (&json!("xid"), &json!(79)));
    assert_eq!((&event["sources"], &event["raw"]), (&json!(["nvml_events"]), &Value::Null));
    assert_eq!(
        (&event["gpu"]["pci_address"], &event["origin"]),
        (&json!("0000:61:00.0"), &json!("kernel"))
    );
    let health = agent.ask("get_gpu_health", &json!({}))?;
    assert_eq!(verdicts(&health), [(3, "failed".to_owned())]);
    agent.close();
    assert_eq!(agent.wait()?.code(), Some(0));
    Ok(())
}
