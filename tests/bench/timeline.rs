//! What it costs a recorder to sample eight GPUs every second.
//!
//! `cargo xtask bench timeline`; it takes two minutes. `TIMELINE_SECONDS` (60) says how long each of two recorders is watched:
//! one that samples, and one whose NVML cannot be loaded and that does all else. What the simulator takes to answer is part of
//! the first; what a driver takes is not.

use std::{env, fs, time::Duration};

use anyhow::{Context as _, Result};
use e2e::{
    Recorder,
    measure::{mib, processor_time},
};
use serde_json::{Value, json};

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() -> Result<()> {
    let seconds: u64 = env::var("TIMELINE_SECONDS")
        .map_or(Ok(60), |value| value.parse())
        .context("TIMELINE_SECONDS")?;
    for (name, scenario) in [
        ("8 GPUs", "profile = 'h100'\n"),
        ("no driver", "profile = 'h100'\n[node]\ninit_error = 'DRIVER_NOT_LOADED'\n"),
    ] {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("scenario.toml");
        fs::write(&path, scenario)?;
        let recorder = Recorder::start_with(dir, &["--ebpf", "off"], |command| {
            command.env("NVML_SIM_SCENARIO", &path);
        })?;
        let pid = recorder.pid();
        // What is done once is not what a second costs.
        std::thread::sleep(Duration::from_secs(5));
        let before = processor_time(pid)?;
        std::thread::sleep(Duration::from_secs(seconds));
        let spent = processor_time(pid)?.saturating_sub(before);
        let status = recorder.session()?.ask("get_agent_status", &json!({}))?;
        let Value::Object(of) = &status["recorder"] else { continue };
        println!(
            "{name}: {:.0} µs of processor time a second, {:.3} % of one; timelines of {} GPUs in {} bytes, resident {:.1} MiB",
            spent.as_secs_f64() * 1e6 / Duration::from_secs(seconds).as_secs_f64(),
            spent.as_secs_f64() * 100.0 / Duration::from_secs(seconds).as_secs_f64(),
            of["timeline_gpus"],
            of["timeline_bytes"],
            mib(pid, "VmRSS")?,
        );
    }
    Ok(())
}
