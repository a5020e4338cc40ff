//! Who is on the GPUs: NVML's lists with their traps, as the simulator sets them.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use e2e::{Agent, agent_path, scenario, simulated, simulator, text};
use serde_json::{Value, json};

fn session(scenario: &std::path::Path) -> Result<Agent> {
    let mut agent =
        Agent::spawn(simulated().args(["--ebpf", "off"]).env("NVML_SIM_SCENARIO", scenario))?;
    agent.initialize()?;
    Ok(agent)
}

fn with_scenario(content: &str) -> Result<(tempfile::TempDir, Agent)> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("scenario.toml");
    fs::write(&path, content)?;
    let agent = session(&path)?;
    Ok((dir, agent))
}

/// Whether process ids are the node's here, which decides what NVML's are.
fn initial_pid_namespace() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == "pid:[4026531836]")
}

fn process(answer: &Value, pid: u32) -> Value {
    let processes = answer["processes"].as_array().cloned().unwrap_or_default();
    processes.into_iter().find(|process| process["pid"] == pid).unwrap_or_default()
}

/// Processes from 1000 on, each with a key more.
fn many(table: &str, count: u32, key: impl Fn(u32) -> String) -> String {
    let process = |at| {
        let pid = 1000 + at;
        format!("[[{table}.processes]]\npid = {pid}\nused_bytes = 1\n{}\n", key(at))
    };
    (0..count).map(process).collect::<Vec<_>>().concat()
}

fn limit(answer: &Value, words: &[&str]) -> bool {
    let limits = answer["limits"].as_array().into_iter().flatten().filter_map(Value::as_str);
    limits.into_iter().any(|limit| words.iter().all(|word| limit.contains(word)))
}

#[test]
fn each_process_is_one_row_with_each_gpu_it_is_on() -> Result<()> {
    let mut agent = session(&scenario("busy-node.toml"))?;
    let answer = agent.ask("get_gpu_processes", &json!({"detail": "full"}))?;
    let namespace = if initial_pid_namespace() { "node" } else { "agent" };
    assert_eq!((&answer["process_count"], &answer["next_cursor"]), (&json!(7), &Value::Null));
    let training = process(&answer, 4242);
    assert_eq!(training["pid_namespace"], namespace);
    assert_eq!(
        (&training["name"], &training["known_by"]),
        (&json!("/usr/bin/python3"), &json!("nvml"))
    );
    assert_eq!(training["gpus"][0]["types"], json!(["compute", "graphics"]), "{training}");
    // The two lists tell of the same memory.
    assert_eq!(training["gpus"][0]["memory_bytes"], 60_129_542_144_u64);
    assert_eq!(training["gpus"][1]["pci_address"], "0000:43:00.0");
    assert_eq!(training["gpus"].as_array().map(Vec::len), Some(2));
    assert_eq!(process(&answer, 3999)["name"], Value::Null);
    assert_eq!(process(&answer, 5201)["gpus"][0]["types"], json!(["mps"]));
    let divided = process(&answer, 6300);
    assert_eq!(divided["gpus"][0]["mig"]["gpu_instance"], 1, "{divided}");
    assert_eq!(divided["gpus"][0]["mig"]["uuid"], "MIG-5e1f0c6a-7a1b-5d53-9b0e-1d2c3b4a5f60");
    assert_eq!(divided["gpus"][0]["sm_percent"], Value::Null);
    assert_eq!(process(&answer, 6301)["gpus"][0]["memory_bytes"], Value::Null);
    assert!(limit(&answer, &["GPU 3", "memory_bytes", "NVML_VALUE_NOT_AVAILABLE"]), "{answer}");
    assert_eq!(answer["gpus"][2]["nvml_processes"], 3);
    // The kernel's view is off, and what that costs is said.
    assert_eq!((&answer["ebpf"]["live"], &training["kernel"]), (&json!(false), &Value::Null));
    assert!(limit(&answer, &["--ebpf off", "ebpf.enabled"]), "{answer}");
    Ok(())
}

#[test]
fn who_did_nothing_is_at_0_and_who_is_not_sampled_is_null() -> Result<()> {
    let mut agent = session(&scenario("busy-node.toml"))?;
    let answer = agent.ask("get_gpu_processes", &json!({}))?;
    let shares =
        [4242, 5201, 5202, 6300].map(|pid| process(&answer, pid)["gpus"][0]["sm_percent"].clone());
    if initial_pid_namespace() {
        assert_eq!(shares, [json!(97), json!(33), json!(0), Value::Null]);
        assert!(limit(&answer, &["GPU 3", "utilization", "NOT_SUPPORTED"]), "{answer}");
    } else {
        // Samples are of anybody, by numbers that are another's here.
        assert_eq!(shares, [const { Value::Null }; 4]);
        assert!(limit(&answer, &["hostPID"]), "{answer}");
    }
    // No sample at all is no failure.
    let (_dir, mut agent) =
        with_scenario("profile = 'h100'\n[all]\nprocesses = [{ pid = 7, used_bytes = 1 }]")?;
    let answer = agent.ask("get_gpu_processes", &json!({}))?;
    let idle = if initial_pid_namespace() { json!(0) } else { Value::Null };
    assert_eq!(process(&answer, 7)["gpus"][7]["sm_percent"], idle);
    assert!(!limit(&answer, &["utilization"]), "{answer}");
    Ok(())
}

#[test]
fn outside_the_nodes_pid_namespace_numbers_are_the_agents_and_that_is_said() -> Result<()> {
    const TEST: &str =
        "processes::outside_the_nodes_pid_namespace_numbers_are_the_agents_and_that_is_said";
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(agent_path());
    command.args(["--nvml-mode", "simulated", "--ebpf", "off", "--kernel-log", "off"]);
    command.arg("--nvml-library").arg(simulator());
    command.env("NVML_SIM_SCENARIO", scenario("busy-node.toml"));
    if !Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        crate::skip(TEST, "needs unshare and the right to make a PID namespace");
        return Ok(());
    }
    let mut agent = Agent::spawn(&mut command)?;
    agent.initialize()?;
    let answer = agent.ask("get_gpu_processes", &json!({}))?;
    let training = process(&answer, 4242);
    assert_eq!(training["pid_namespace"], "agent");
    assert_eq!(training["gpus"][0]["sm_percent"], Value::Null);
    assert!(limit(&answer, &["PID namespace", "hostPID"]), "{answer}");
    Ok(())
}

#[test]
fn a_list_that_grows_while_it_is_read_is_read_whole() -> Result<()> {
    // More than there is room for at first, and more than was said by the time that it is asked for again.
    let processes = many("gpu", 300, |at| format!("after_calls = {}", (at + 50) / 150));
    let (_dir, mut agent) =
        with_scenario(&format!("profile = 'h100'\ngpus = 1\n[[gpu]]\nindex = 0\n{processes}"))?;
    assert_eq!(agent.ask("get_gpu_processes", &json!({}))?["gpus"][0]["nvml_processes"], 300);
    Ok(())
}

#[test]
fn a_driver_without_the_third_version_is_asked_for_the_second() -> Result<()> {
    let (_dir, mut agent) = with_scenario(
        "profile = 'h100'\n[all]\nprocesses = [{ pid = 7, used_bytes = 5 }]\n[all.faults]\n\
         nvmlDeviceGetComputeRunningProcesses_v3 = 'FUNCTION_NOT_FOUND'\n\
         nvmlDeviceGetMPSComputeRunningProcesses_v3 = 'FUNCTION_NOT_FOUND'\n\
         nvmlDeviceGetMPSComputeRunningProcesses_v2 = 'FUNCTION_NOT_FOUND'\n",
    )?;
    let answer = agent.ask("get_gpu_processes", &json!({"gpu": 1, "detail": "full"}))?;
    assert_eq!(process(&answer, 7)["gpus"][0]["memory_bytes"], 5);
    assert_eq!(answer["gpus"].as_array().map(Vec::len), Some(1));
    let absent = answer["gpus"][0]["absent"].as_array().cloned().unwrap_or_default();
    assert!(
        absent
            .iter()
            .any(|absent| absent["field"] == "mps_processes" && absent["by_design"] == true)
    );
    Ok(())
}

#[test]
fn a_list_that_is_refused_is_not_an_empty_one() -> Result<()> {
    let (_dir, mut agent) = with_scenario(
        "profile = 'h100'\n[[gpu]]\nindex = 1\n[gpu.faults]\nnvmlDeviceGetComputeRunningProcesses_v3 = 'NO_PERMISSION'\n\
         [[gpu]]\nindex = 2\nlost = true\n",
    )?;
    let answer = agent.ask("get_gpu_processes", &json!({}))?;
    assert_eq!(answer["gpus"][0]["nvml_processes"], 0);
    assert_eq!(answer["gpus"][1]["nvml_processes"], Value::Null);
    assert!(limit(&answer, &["GPU 1", "compute_processes", "NO_PERMISSION"]), "{answer}");
    assert_eq!(answer["gpus"][2]["nvml_processes"], Value::Null);
    assert!(answer["gpus"][2]["error"].as_str().unwrap_or_default().contains("GPU_IS_LOST"));
    Ok(())
}

#[test]
fn pages_are_small_and_together_whole() -> Result<()> {
    let processes = many("all", 250, |_| format!("name = '{}'", "n".repeat(90)));
    let (_dir, mut agent) = with_scenario(&format!("profile = 'h100'\n{processes}"))?;
    let (mut pids, mut arguments, mut pages) = (Vec::new(), json!({"detail": "full"}), 0);
    loop {
        let answer = agent.ask("get_gpu_processes", &arguments)?;
        assert_eq!(answer["process_count"], 250);
        assert!(answer.to_string().len() <= 32 << 10, "{}", answer.to_string().len());
        let page = answer["processes"].as_array().cloned().unwrap_or_default();
        pids.extend(page.iter().filter_map(|process| process["pid"].as_u64()));
        pages += 1;
        if answer["next_cursor"].is_null() {
            break;
        }
        arguments["cursor"] = answer["next_cursor"].clone();
    }
    assert_eq!(pids, (1000..1250).collect::<Vec<u64>>());
    assert!(pages > 2, "{pages}");
    Ok(())
}

#[test]
fn what_is_asked_for_is_answered_or_refused() -> Result<()> {
    let mut agent = session(&scenario("busy-node.toml"))?;
    let count = |agent: &mut Agent, arguments: &Value| -> Result<Value> {
        Ok(agent.ask("get_gpu_processes", arguments)?["process_count"].clone())
    };
    for gpu in [json!(1), json!("43:00.0"), json!("GPU-233010de-0000-4000-8000-000000000001")] {
        assert_eq!(count(&mut agent, &json!({"gpu": gpu}))?, 2, "{gpu}");
    }
    // Gone, and nobody holds its device.
    assert_eq!(count(&mut agent, &json!({"gpu": "0000:ff:00.0"}))?, 0);
    // NVML knows of no pods.
    let of_pod = agent.ask("get_gpu_processes", &json!({"pod": "ml/train-0"}))?;
    assert_eq!(of_pod["process_count"], 0);
    assert!(limit(&of_pod, &["pod", "7"]), "{of_pod}");
    for (arguments, word) in [
        (json!({"gpu": 9}), "no GPU"),
        (json!({"pod": ""}), "namespace/name"),
        (json!({"pod": "ml/"}), "namespace/name"),
        (json!({"cursor": "4242"}), "next_cursor"),
        (json!({"cursor": "host:1"}), "next_cursor"),
        (json!({"sort": "memory"}), "inputSchema"),
    ] {
        let result = agent.call("get_gpu_processes", &arguments)?;
        assert_eq!(result["isError"], true, "{arguments}");
        assert!(text(&result).contains(word), "{arguments}: {}", text(&result));
    }
    Ok(())
}

/// Has grpcio answer as the kubelet of a node, whose file system is in this directory.
struct Kubelet(std::process::Child);

impl Kubelet {
    fn start(root: &std::path::Path, devices: &[&str]) -> Result<Self> {
        let dir = root.join("var/lib/kubelet/pod-resources");
        fs::create_dir_all(&dir)?;
        let script = e2e::repository().join("tests/e2e/pod_resources.py");
        let mut server = Command::new(e2e::python());
        server.arg(script).arg(&dir).args(devices);
        let mut server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut ready = String::new();
        BufReader::new(server.stdout.take().context("stdout")?).read_line(&mut ready)?;
        anyhow::ensure!(ready == "ready\n", "{ready:?}");
        fs::rename(dir.join("node.sock"), dir.join("kubelet.sock"))?;
        Ok(Self(server))
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn without_ebpf_the_kubelet_still_says_who_was_given_which_gpu() -> Result<()> {
    let root = tempfile::tempdir()?;
    let scenario = scenario("busy-node.toml");
    let ask = |arguments: &Value| -> Result<Value> {
        let mut command = simulated();
        command.args(["--ebpf", "off", "--host-root"]).arg(root.path());
        let mut agent = Agent::spawn(command.env("NVML_SIM_SCENARIO", &scenario))?;
        agent.initialize()?;
        agent.ask("get_gpu_processes", arguments)
    };
    let before = ask(&json!({}))?;
    assert_eq!(before["gpus"][0]["given_to"], Value::Null, "nobody was asked");
    let instance = process(&before, 6300)["gpus"][0]["mig"]["uuid"].clone();
    let (whole, part) = (before["gpus"][0]["uuid"].clone(), instance);
    let (whole, part) = (whole.as_str().context("a GPU")?, part.as_str().context("an instance")?);

    let kubelet = Kubelet::start(root.path(), &[whole, part, "GPU-of-another-node"])?;
    let answer = ask(&json!({}))?;
    let given = |at: usize| &answer["gpus"][at]["given_to"];
    let to = |pod: &str| json!([{"namespace": "ml", "pod": pod, "container": "main"}]);
    assert_eq!([given(0), given(1), given(3)], [&to("train-0"), &json!([]), &to("train-1")]);
    assert_eq!([&answer["gpus"][0]["given_count"], &answer["gpus"][1]["given_count"]], [1, 0]);
    drop(kubelet);
    let after = ask(&json!({}))?;
    assert_eq!(after["gpus"][0]["given_to"], Value::Null);
    assert!(limit(&after, &["given which GPU is not known", "nobody listens"]), "{after}");
    Ok(())
}
