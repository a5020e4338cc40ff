//! `proc/devices` as nobody should write it, and rights that are missing: the source says what is wrong, and the session goes on.

use std::{fs, process::Command};

use anyhow::Result;
use e2e::{Agent, agent_path, run, simulated, simulator};
use serde_json::{Value, json};

use super::{Stage, quiet, settled, unavailable};

/// What the source says that follows the devices.
fn source(command: &mut Command) -> Result<Value> {
    let mut agent = Agent::spawn(command)?;
    agent.initialize()?;
    let source = settled(&mut agent)?;
    // The rest of the agent is none the worse for it.
    assert_eq!(agent.ask("get_gpu_inventory", &json!({}))?["gpu_count"], 8);
    if source["state"] != "live" {
        // Somebody who asks for who holds a GPU is told why that is not known, and what to do.
        let answer = agent.ask("get_gpu_processes", &json!({}))?;
        assert_eq!(answer["ebpf"]["reason"], source["detail"]);
        assert!(answer["ebpf"]["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()));
    }
    Ok(source)
}

/// The state that the source is in with this `proc/devices`, and that its detail has this word.
#[track_caller]
#[expect(
    clippy::expect_used,
    reason = "a helper of tests, which say what they expect by panicking"
)]
fn check(devices: Option<&[u8]>, state: &str, word: &str) {
    let root = tempfile::tempdir().expect("a directory");
    fs::create_dir(root.path().join("proc")).expect("a directory in it");
    if let Some(devices) = devices {
        fs::write(root.path().join("proc/devices"), devices).expect("written");
    }
    let source = source(simulated().env("AGENT_HOST_ROOT", root.path())).expect("a session");
    let shown = devices.map(String::from_utf8_lossy);
    assert_eq!(source["state"], state, "{shown:?}: {source}");
    assert!(source["detail"].as_str().unwrap_or_default().contains(word), "{shown:?}: {source}");
}

#[test]
fn without_the_driver_the_source_is_off_and_says_so() {
    for devices in [
        &b""[..],
        b"\n\n\n",
        b"Character devices:\n  1 mem\n  4 tty\n\nBlock devices:\n259 blkext\n",
        // Of another kind, of a driver that is called nearly so, and numbers that cannot be.
        b"Character devices:\n  1 mem\n\nBlock devices:\n195 nvidia\n",
        b"Character devices:\n195 nvidiactl\n234 nvidia-nvlink\n",
        b"Character devices:\n0 nvidia\n",
        b"Character devices:\n4096 nvidia\n",
        b"Character devices:\n99999999999999999999 nvidia\n-1 nvidia\nnvidia nvidia\nnvidia\n nvidia \n",
        b"\0\0\0\0 nvidia\n\x1b[2J",
    ] {
        check(Some(devices), "off", "not loaded");
    }
}

#[test]
fn what_cannot_be_read_is_said_with_its_path() {
    check(None, "unavailable", "proc/devices");
    check(Some(b"195 nvidia\xff\xfe\n"), "unavailable", "proc/devices");
}

#[test]
fn a_root_that_is_not_there_is_said() -> Result<()> {
    for root in ["/nonexistent", "/dev/null"] {
        let source = source(simulated().env("AGENT_HOST_ROOT", root))?;
        assert_eq!(source["state"], "unavailable", "{root}: {source}");
        assert!(source["detail"].as_str().unwrap_or_default().contains("proc/devices"), "{source}");
    }
    Ok(())
}

#[test]
fn numbers_that_no_device_has_are_followed_in_silence() -> Result<()> {
    const TEST: &str = "devices::bad_input::numbers_that_no_device_has_are_followed_in_silence";
    if let Some(why) = unavailable() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let _quiet = quiet();
    let stage = Stage::new()?;
    stage.devices("Character devices:\n4095 nvidia\n4094 nvidia-uvm\n4093 nvidia-caps\n")?;
    let mut agent = Agent::spawn(&mut stage.agent())?;
    agent.initialize()?;
    assert_eq!(settled(&mut agent)?["state"], "live");
    let mut actor = stage.actor()?;
    actor.run("open_and_close(nvidia0, 10); gpu = os.open(nvidia0, os.O_RDONLY); ask(gpu)")?;
    let all =
        json!({"kinds": ["gpu_open", "gpu_close", "call_failed"], "since": "0-0", "duration_s": 0});
    assert_eq!(agent.ask("watch_gpu_events", &all)?["events"], json!([]));
    assert_eq!(settled(&mut agent)?["heard"], 0);
    Ok(())
}

#[test]
fn without_ebpf_or_the_right_to_it_that_is_the_reason() -> Result<()> {
    const TEST: &str = "devices::bad_input::without_ebpf_or_the_right_to_it_that_is_the_reason";
    if let Some(why) = unavailable() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let stage = Stage::new()?;
    let off = source(stage.agent().args(["--ebpf", "off"]))?;
    assert_eq!((&off["state"], &off["detail"]), (&json!("off"), &json!("--ebpf off")));
    if run(Command::new("setpriv").arg("--version")).is_err() {
        crate::skip(TEST, "needs setpriv");
        return Ok(());
    }
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-bpf,-perfmon,-sys_admin", "--inh-caps", "-all"]);
    command.arg(agent_path()).args(["--nvml-mode", "simulated", "--kernel-log", "off"]);
    command.arg("--nvml-library").arg(simulator()).env("AGENT_HOST_ROOT", stage.path(""));
    let without = source(&mut command)?;
    assert_eq!(
        (&without["state"], &without["detail"]),
        (&json!("unavailable"), &json!("missing CAP_BPF and CAP_PERFMON"))
    );
    assert!(
        without["remedy"].as_str().unwrap_or_default().contains("ebpf.enabled=true"),
        "{without}"
    );
    Ok(())
}
