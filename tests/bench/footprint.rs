//! The memory of a session by itself, and of a recorder with its sessions, on eight and on sixteen GPUs.
//!
//! `cargo xtask bench footprint`, as root; it takes two minutes and a half. A session has been asked every tool in full. The recorder hears
//! the kernel, follows a device that stands in for a GPU's, and has sampled its GPUs for `FOOTPRINT_SECONDS` (60) before it has one
//! session, then five, all asked the same. The pod's limit counts what is resident of all its processes, and what the kernel keeps
//! for the program beside it: the ring buffers and the maps.

use std::{env, fs, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, bail};
use e2e::{
    Agent, Recorder,
    measure::{machine, mib},
    no_kernel, simulated, stand_in,
};
use serde_json::json;

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() -> Result<()> {
    if let Some(why) = no_kernel() {
        bail!("this benchmark cannot run here: {why}");
    }
    let seconds: u64 = env::var("FOOTPRINT_SECONDS")
        .map_or(Ok(60), |text| text.parse())
        .context("FOOTPRINT_SECONDS")?;
    let host = stand_in::Host::new()?;
    println!("{}; MiB:", machine()?);
    for gpus in [8, 16] {
        let dir = tempfile::tempdir()?;
        let scenario = dir.path().join("scenario.toml");
        fs::write(&scenario, format!("profile = 'h100'\ngpus = {gpus}\n"))?;
        for ebpf in ["off", "auto"] {
            let mut alone = Agent::spawn(
                simulated()
                    .args(["--ebpf", ebpf, "--host-root"])
                    .arg(host.root())
                    .env("NVML_SIM_SCENARIO", &scenario),
            )?;
            alone.initialize()?;
            println!("{gpus} GPUs, a session, --ebpf {ebpf}: first {}", of(alone.pid())?);
            ask_all(&mut alone)?;
            println!("  asked everything:       {}", of(alone.pid())?);
        }
        let root = host.root().to_string_lossy();
        let arguments = ["--ebpf", "auto", "--kernel-log", "auto", "--host-root", &root];
        let recorder = Recorder::start_with(dir, &arguments, |command| {
            command.env("NVML_SIM_SCENARIO", &scenario);
        })?;
        sleep(Duration::from_secs(seconds));
        println!("{gpus} GPUs, a recorder after {seconds} s: {}", of(recorder.pid())?);
        let mut sessions = Vec::new();
        for count in [1, 5] {
            while sessions.len() < count {
                let mut session = recorder.session()?;
                ask_all(&mut session)?;
                sessions.push(session);
            }
            println!("  with {count} session(s):      {}", of(recorder.pid())?);
        }
        println!("  and each session's own process: {}", of(sessions[0].pid())?);
    }
    Ok(())
}

/// Every tool, in full where it knows that.
fn ask_all(session: &mut Agent) -> Result<()> {
    let tools = session.request("tools/list", &json!({}))?["result"]["tools"].clone();
    for tool in tools.as_array().context("tools")? {
        let name = tool["name"].as_str().context("name")?;
        let mut arguments = json!({});
        if tool["inputSchema"]["properties"]["detail"].is_object() {
            arguments["detail"] = json!("full");
        }
        if tool["inputSchema"]["properties"]["duration_s"].is_object() {
            arguments["duration_s"] = json!(1);
        }
        // What is refused, such as calls that nobody traces, has cost what it costs.
        session.call(name, &arguments)?;
    }
    Ok(())
}

fn of(pid: u32) -> Result<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))?.count();
    Ok(format!(
        "resident {:5.1} (anonymous {:4.1}), peak {:5.1}, threads {threads}",
        mib(pid, "VmRSS")?,
        mib(pid, "RssAnon")?,
        mib(pid, "VmHWM")?,
    ))
}
