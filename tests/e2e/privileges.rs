//! With which rights what works. `setpriv` (util-linux) takes them away.

use std::process::Command;

use anyhow::Result;
use e2e::{Agent, agent_path, no_kernel, run, simulator, text};
use serde_json::json;

/// The agent on the simulator under `setpriv` with these options; `None` where that cannot be done.
fn with(options: &[&str]) -> Option<Command> {
    if !rustix::process::geteuid().is_root()
        || run(Command::new("setpriv").arg("--version")).is_err()
    {
        return None;
    }
    let mut command = Command::new("setpriv");
    command
        .args(options)
        .arg(agent_path())
        .args(["--nvml-mode", "simulated", "--nvml-library"])
        .arg(simulator());
    Some(command)
}

/// UID 65532 without a capability, as options of setpriv.
pub const NOBODY: &[&str] = &[
    "--reuid",
    "65532",
    "--regid",
    "65532",
    "--clear-groups",
    "--bounding-set",
    "-all",
    "--inh-caps",
    "-all",
    "--no-new-privs",
];
const TRACER: &[&str] = &["--bounding-set", "-all,+bpf,+perfmon", "--inh-caps", "-all"];
const WHY: &str = "needs root and setpriv";

#[test]
fn uid_65532_without_a_capability_reads_nvml_and_says_that_it_does_not_hear() -> Result<()> {
    let Some(mut command) = with(NOBODY) else {
        crate::skip(
            "privileges::uid_65532_without_a_capability_reads_nvml_and_says_that_it_does_not_hear",
            WHY,
        );
        return Ok(());
    };
    let mut agent = Agent::spawn(&mut command)?;
    agent.initialize()?;
    assert_eq!(agent.ask("get_gpu_inventory", &json!({}))?["gpu_count"], 8);
    let status = agent.ask("get_agent_status", &json!({}))?;
    assert_eq!((&status["uid"], &status["capabilities"]), (&json!(65532), &json!([])));
    let ebpf = status["sources"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|s| s["name"] == "ebpf")
        .cloned()
        .unwrap_or_default();
    assert_eq!(ebpf["state"], "unavailable");
    assert_eq!(ebpf["detail"], "missing CAP_BPF and CAP_PERFMON");
    assert!(ebpf["remedy"].as_str().unwrap_or_default().contains("ebpf.enabled=true"));
    Ok(())
}

#[test]
fn ebpf_demanded_without_the_right_exits_with_3_reason_and_remedy() -> Result<()> {
    let Some(mut command) = with(NOBODY) else {
        crate::skip(
            "privileges::ebpf_demanded_without_the_right_exits_with_3_reason_and_remedy",
            WHY,
        );
        return Ok(());
    };
    let exit = run(command.args(["--ebpf", "on"]))?;
    assert_eq!(exit.code, Some(3));
    assert!(
        exit.stderr.contains("CAP_BPF") && exit.stderr.contains("ebpf.enabled=true"),
        "{}",
        exit.stderr
    );
    Ok(())
}

#[test]
fn cap_bpf_and_cap_perfmon_are_enough_to_hear() -> Result<()> {
    const TEST: &str = "privileges::cap_bpf_and_cap_perfmon_are_enough_to_hear";
    let (None, Some(mut command)) = (no_kernel(), with(TRACER)) else {
        crate::skip(TEST, no_kernel().as_deref().unwrap_or(WHY));
        return Ok(());
    };
    let mut agent = Agent::spawn(command.args(["--ebpf", "on"]))?;
    agent.initialize()?;
    let status = agent.ask("get_agent_status", &json!({}))?;
    assert_eq!(status["capabilities"], json!(["CAP_BPF", "CAP_PERFMON"]));
    e2e::print_to_kernel(
        "NVRM: Xid (PCI:0000:a4:00): 79, pid=1, name=e2e, GPU has fallen off the bus.",
    )?;
    let arguments = json!({"gpu": "0000:a4:00.0", "since": "0-0", "max_events": 1});
    assert_eq!(agent.ask("watch_gpu_events", &arguments)?["events"][0]["xid"]["code"], 79);
    Ok(())
}

#[test]
fn where_the_device_files_refuse_it_the_answer_names_them() -> Result<()> {
    const NAME: &str = "privileges::where_the_device_files_refuse_it_the_answer_names_them";
    // A /dev of its own, with the driver's files for root alone, as a hardened node has them.
    let dev = "mount -t tmpfs -o mode=755 tmpfs /dev && mknod -m 666 /dev/null c 1 3 && \
               mknod -m 600 /dev/nvidiactl c 195 255 && mknod -m 666 /dev/nvidia0 c 195 0";
    let private = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c"]);
        command
    };
    if !rustix::process::geteuid().is_root()
        || run(private().arg(dev)).map_or(true, |exit| exit.code != Some(0))
    {
        crate::skip(NAME, "needs root, unshare and mknod");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let scenario = dir.path().join("scenario.toml");
    std::fs::write(&scenario, "profile = \"h100\"\n[node]\ninit_error = \"NO_PERMISSION\"\n")?;
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mut command = private();
    command
        .arg(format!("{dev} && exec setpriv {} \"$@\"", NOBODY.join(" ")))
        .arg("sh")
        .arg(agent_path())
        .args(["--ebpf", "off", "--nvml-mode", "simulated", "--nvml-library"])
        .arg(simulator())
        .env("NVML_SIM_SCENARIO", scenario);
    let mut agent = Agent::spawn(&mut command)?;
    agent.initialize()?;
    let refused = agent.call("get_gpu_inventory", &json!({}))?;
    assert_eq!(refused["isError"], true, "{refused}");
    let said = text(&refused);
    assert!(
        said.contains("UID 65532") && said.contains("/dev/nvidiactl (mode 0600, UID 0, GID 0)"),
        "{said}"
    );
    assert!(!said.contains("/dev/nvidia0") && said.contains("UID 0 (no capability"), "{said}");
    Ok(())
}
