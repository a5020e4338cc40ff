//! Drivers that hang, are slow, are unloaded or upgraded, and GPUs that go, while a session is open: what is well answers,
//! what is not is named, and it is picked up again when it is well.

use std::{fs, process::Command, time::Instant};

use anyhow::{Context as _, Result};
use e2e::{Agent, Changing, PATIENCE, agent_path, run, simulated, simulator, text};
use serde_json::{Value, json};

/// Asks until the answer is as it should be: the simulator sees a change some time after it was written.
fn ask_until(node: &mut Changing, tool: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
    let started = Instant::now();
    loop {
        let answer = node.agent.call(tool, &json!({}))?;
        if is(&answer) {
            return Ok(answer);
        }
        anyhow::ensure!(started.elapsed() < PATIENCE, "{tool} stays {answer}");
    }
}

fn ask(node: &mut Changing, tool: &str) -> Result<Value> {
    node.agent.ask(tool, &json!({}))
}

const H100: &str = "profile = \"h100\"\n";
const GPU_2_HANGS: &str =
    "profile = \"h100\"\n[[gpu]]\nindex = 2\n[gpu.faults]\n\"*\" = { hang = true }\n";

fn verdict(health: &Value, gpu: usize) -> &str {
    health["gpus"][gpu]["verdict"].as_str().unwrap_or_default()
}

fn is_healthy(result: &Value) -> bool {
    result["structuredContent"]["verdict"] == "healthy"
}

#[test]
fn a_gpu_whose_calls_hang_is_asked_nothing_more_until_they_are_back() -> Result<()> {
    let mut node = Changing::start(H100)?;
    assert_eq!(ask(&mut node, "get_gpu_health")?["verdict"], "healthy");
    node.becomes(GPU_2_HANGS)?;
    let hung = ask_until(&mut node, "get_gpu_health", |answer| !is_healthy(answer))?;
    let health = &hung["structuredContent"];
    assert_eq!(verdict(health, 2), "unreachable", "{hung}");
    for gpu in [0, 1, 3, 4, 5, 6, 7] {
        assert_eq!(verdict(health, gpu), "healthy", "GPU {gpu}");
    }
    // It is known by the names that it had.
    assert_eq!(health["gpus"][2]["pci_address"], "0000:52:00.0");
    let finding = &health["gpus"][2]["findings"][0];
    assert_eq!(finding["id"], "nvml_hangs");
    let evidence = finding["evidence"][0]["value"].as_str().unwrap_or_default();
    assert!(
        evidence.contains("nvmlDevice") && evidence.contains("has not come back"),
        "{evidence}"
    );

    // Every tool answers for the others, and no further call is made into the GPU that hangs.
    let inventory = ask(&mut node, "get_gpu_inventory")?;
    assert!(inventory["gpus"][2]["error"].as_str().unwrap_or_default().contains("nvmlDevice"));
    assert!(inventory["gpus"][7]["memory_total_bytes"].is_u64(), "{inventory}");
    let processes = ask(&mut node, "get_gpu_processes")?;
    let errors: Vec<_> = processes["gpus"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|gpu| gpu["error"].is_string())
        .collect();
    assert_eq!(errors.iter().filter(|error| **error).count(), 1, "{processes}");
    let status = ask(&mut node, "get_agent_status")?;
    let nvml = status["sources"][0]["detail"].as_str().unwrap_or_default();
    assert!(nvml.contains("; GPU 2: nvmlDevice"), "{nvml}");
    let before = node.calls("nvmlDeviceGetHandleByIndex_v2")?;
    ask(&mut node, "get_gpu_health")?;
    assert_eq!(node.calls("nvmlDeviceGetHandleByIndex_v2")? - before, 7);

    node.becomes(H100)?;
    ask_until(&mut node, "get_gpu_health", is_healthy)?;
    Ok(())
}

#[test]
fn a_session_ends_though_every_call_hangs() -> Result<()> {
    let mut node = Changing::start(H100)?;
    ask(&mut node, "get_gpu_inventory")?;
    node.becomes("profile = \"h100\"\n[node.faults]\n\"*\" = { hang = true }\n")?;
    // The node's own call hangs, too: the GPUs are those that were there before.
    ask_until(&mut node, "get_gpu_health", |answer| {
        (0..8).all(|gpu| verdict(&answer["structuredContent"], gpu) == "unreachable")
    })?;
    let inventory = node.agent.call("get_gpu_inventory", &json!({}))?;
    assert!(text(&inventory).contains("has not come back"), "{inventory}");
    node.agent.close();
    assert_eq!(node.agent.wait()?.code(), Some(0));
    Ok(())
}

#[test]
fn a_driver_that_is_slow_is_waited_for() -> Result<()> {
    let mut node = Changing::start(
        "profile = \"h100\"\ngpus = 2\n[[gpu]]\nindex = 1\n[gpu.faults]\n\"*\" = { delay_ms = 120 }\n",
    )?;
    let health = ask(&mut node, "get_gpu_health")?;
    assert_eq!(verdict(&health, 1), "healthy", "{health}");
    Ok(())
}

#[test]
fn a_driver_that_is_upgraded_under_the_session_is_said_and_picked_up() -> Result<()> {
    // A wait for events that says all the time that some GPU is lost keeps nothing from being unloaded.
    let mut node = Changing::start(
        "profile = \"h100\"\n[node]\ndriver_version = \"580.95.05\"\n[node.faults]\nnvmlEventSetWait_v2 = \"GPU_IS_LOST\"\n",
    )?;
    assert_eq!(ask(&mut node, "get_gpu_inventory")?["driver_version"], "580.95.05");
    node.becomes(
        "profile = \"h100\"\n[node]\ninit_error = \"LIB_RM_VERSION_MISMATCH\"\n[node.faults]\n\"*\" = \"LIB_RM_VERSION_MISMATCH\"\n",
    )?;
    for tool in ["get_gpu_health", "get_gpu_inventory", "get_gpu_processes"] {
        let refused = ask_until(&mut node, tool, |answer| answer["isError"] == true)?;
        assert!(text(&refused).contains("upgraded under"), "{tool}: {}", text(&refused));
    }
    // One GPU fewer, and a new version: what the library now says, not what was remembered.
    node.becomes("profile = \"h100\"\ngpus = 7\n[node]\ndriver_version = \"590.10.01\"\n")?;
    let there = ask_until(&mut node, "get_gpu_inventory", |answer| answer["isError"] != true)?;
    let inventory = &there["structuredContent"];
    assert_eq!(inventory["driver_version"], "590.10.01");
    assert_eq!(inventory["gpus"].as_array().map(Vec::len), Some(7));
    assert_eq!(ask(&mut node, "get_gpu_health")?["verdict"], "healthy");
    Ok(())
}

#[test]
fn a_gpu_that_falls_off_the_bus_keeps_its_events_when_nvml_has_forgotten_it() -> Result<()> {
    let mut node = Changing::start(H100)?;
    ask(&mut node, "get_gpu_inventory")?;
    let gone = "profile = \"h100\"\n[[gpu]]\nindex = 5\nlost = true\n";
    node.becomes(&format!("{gone}[[event]]\ngpu = 5\nxid = 79\nafter_ms = 0\n"))?;
    let watch = json!({"since": "0-0", "max_events": 1});
    let told = node.agent.ask("watch_gpu_events", &watch)?;
    assert_eq!(told["events"][0]["xid"]["code"], 79, "{told}");
    let address = told["events"][0]["gpu"]["pci_address"].clone();
    assert_eq!(address, "0000:c3:00.0");
    let lost = ask(&mut node, "get_gpu_health")?;
    assert_eq!((verdict(&lost, 5), verdict(&lost, 4)), ("unreachable", "healthy"), "{lost}");

    // The driver is loaded again, and does not find the GPU any more.
    node.becomes("profile = \"h100\"\n[node.faults]\n\"*\" = \"DRIVER_NOT_LOADED\"\n[node]\ninit_error = \"DRIVER_NOT_LOADED\"\n")?;
    ask_until(&mut node, "get_gpu_health", |answer| answer["isError"] == true)?;
    node.becomes("profile = \"h100\"\n[[gpu]]\nindex = 5\nremoved = true\n")?;
    let after = ask_until(&mut node, "get_gpu_health", |answer| answer["isError"] != true)?;
    let health = &after["structuredContent"];
    assert_eq!(health["gpus"].as_array().map(Vec::len), Some(7), "{after}");
    let others = &health["other_devices"];
    assert_eq!(others[0]["id"], "xid_79", "{others}");
    assert!(others.to_string().contains("0000:c3:00.0"), "{others}");
    let events = node.agent.ask("analyze_xid_errors", &json!({"gpu": "0000:c3:00.0"}))?;
    assert_eq!(events["event_count"], 1, "{events}");
    Ok(())
}

#[test]
fn a_gpu_that_the_driver_has_and_nvml_does_not_tell_of_is_missed() -> Result<()> {
    const NAME: &str =
        "sick_drivers::a_gpu_that_the_driver_has_and_nvml_does_not_tell_of_is_missed";
    // The driver lists four GPUs, of which NVML tells of one; this container has the files of three, and one is excluded.
    let node = tempfile::tempdir()?;
    let addresses = ["0000:1b:00.0", "0000:43:00.0", "0000:52:00.0", "0000:61:00.0"];
    for (minor, address) in addresses.iter().enumerate() {
        let folder = node.path().join("proc/driver/nvidia/gpus").join(address);
        fs::create_dir_all(&folder)?;
        let excluded = if minor == 3 { "Yes" } else { "No" };
        let text = format!(
            "Model: \t\t NVIDIA H100 80GB HBM3\nDevice Minor: \t {minor}\nGPU Excluded:\t {excluded}\n"
        );
        fs::write(folder.join("information"), text)?;
    }
    fs::write(node.path().join("scenario.toml"), "profile = \"h100\"\ngpus = 1\n")?;
    let dev = "mount -t tmpfs tmpfs /dev && mknod -m 666 /dev/null c 1 3 && \
               mknod /dev/nvidia0 c 195 0 && mknod /dev/nvidia1 c 195 1 && \
               mknod /dev/nvidia3 c 195 3";
    let private = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]);
        command
    };
    if run(&mut private(dev)).map_or(true, |exit| exit.code != Some(0)) {
        crate::skip(NAME, "needs root, unshare and mknod");
        return Ok(());
    }
    let mut command = private(&format!("{dev} && exec \"$@\""));
    command.arg("sh").arg(agent_path()).args(["--ebpf", "off", "--nvml-mode", "simulated"]);
    command.arg("--nvml-library").arg(simulator()).arg("--host-root").arg(node.path());
    let mut agent = Agent::spawn(
        command
            .env("NVML_SIM_SCENARIO", node.path().join("scenario.toml"))
            .env("AGENT_KERNEL_LOG", "off"),
    )?;
    agent.initialize()?;
    let health = agent.ask("get_gpu_health", &json!({}))?;
    let missing = &health["other_devices"];
    assert_eq!(missing.as_array().map(Vec::len), Some(1), "{health}");
    assert_eq!(missing[0]["id"], "gpu_missing");
    assert!(missing.to_string().contains("0000:43:00.0"), "{missing}");
    assert_eq!(health["verdict"], "unreachable");
    let limits = health["limits"].as_array().context("limits")?;
    for (address, why) in [("0000:52:00.0", "not given"), ("0000:61:00.0", "ExcludedGpus")] {
        let said = |limit: &Value| {
            limit.as_str().is_some_and(|limit| limit.contains(address) && limit.contains(why))
        };
        assert!(limits.iter().any(said), "{address}: {health}");
    }
    Ok(())
}

#[test]
fn a_file_of_the_driver_that_never_answers_costs_what_stands_in_it() -> Result<()> {
    let node = tempfile::tempdir()?;
    let folder = node.path().join("proc/driver/nvidia/gpus/0000:1b:00.0");
    fs::create_dir_all(&folder)?;
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("information"), 0o600.into())?;
    let mut agent =
        Agent::spawn(simulated().args(["--ebpf", "off", "--host-root"]).arg(node.path()))?;
    agent.initialize()?;
    // More often than there are threads for what blocks.
    for _ in 0..10 {
        assert_eq!(agent.ask("get_gpu_health", &json!({}))?["verdict"], "healthy");
    }
    let topology = agent.ask("get_gpu_topology", &json!({}))?;
    assert_eq!(topology["matrix"].as_array().map(Vec::len), Some(8));
    agent.close();
    assert_eq!(agent.wait()?.code(), Some(0));
    Ok(())
}
