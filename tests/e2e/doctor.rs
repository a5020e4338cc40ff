//! `agent doctor`: what it says of each source, and when it fails.

use anyhow::{Context as _, Result};
use e2e::{agent, scenario, simulated};
use serde_json::{Value, json};

const NO_LIBRARY: [&str; 2] = ["--nvml-library", "/nonexistent/libnvidia-ml.so.1"];

#[test]
fn it_says_how_each_source_stands_and_what_turns_it_on() -> Result<()> {
    let out = simulated().args(["--ebpf", "off", "doctor", "--expect", "nvml"]).output()?;
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let text = String::from_utf8(out.stdout)?;
    assert!(text.starts_with("SIMULATED: these GPUs do not exist.\n"), "{text}");
    assert!(text.contains(", 8 GPUs\n") && text.contains("UID "), "{text}");

    let out = agent().args(["--ebpf", "off", "doctor", "-o", "json"]).args(NO_LIBRARY).output()?;
    assert_eq!(out.status.code(), Some(0), "nothing is expected: {out:?}");
    let found: Vec<Value> = String::from_utf8(out.stdout)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let nvml = found.first().context("a line")?;
    assert_eq!((&nvml["source"], &nvml["state"]), (&json!("nvml"), &json!("unavailable")));
    let remedy = nvml["remedy"].as_str().context("what to do")?;
    assert!(
        remedy.contains("gpuAccess.method") && remedy.contains("gpuAccess.request"),
        "{remedy}"
    );
    let off: Vec<_> = found.iter().filter(|found| found["state"] == "off").collect();
    assert!(off.iter().any(|found| found["source"] == "ebpf"), "{found:?}");
    assert!(off.iter().all(|found| found["remedy"].is_null()), "{found:?}");
    Ok(())
}

#[test]
fn what_is_expected_and_not_had_exits_with_3_reason_and_remedy() -> Result<()> {
    let not_loaded = format!("NVML_SIM_SCENARIO={}", scenario("driver-not-loaded.toml").display());
    let cases: [(&[&str], &str, &str); 4] = [
        (&["--ebpf", "off", "doctor", "--expect", "nvml"], "", "--expect nvml: unavailable: "),
        (
            &["--ebpf", "off", "doctor", "--expect", "nvml"],
            &not_loaded,
            "--expect nvml: unavailable: ",
        ),
        (&["--ebpf", "off", "doctor", "--expect", "ebpf"], "", "--expect ebpf: off: --ebpf off"),
        (
            &["--ebpf", "off", "doctor", "--expect", "kernel_log"],
            "",
            "--expect kernel_log: off: --kernel-log off",
        ),
    ];
    for (arguments, variable, why) in cases {
        let mut command = match variable.split_once('=') {
            Some((name, value)) => {
                let mut command = simulated();
                command.env(name, value);
                command
            }
            None => agent(),
        };
        if variable.is_empty() {
            command.args(NO_LIBRARY);
        }
        let out = command.args(arguments).output()?;
        let said = String::from_utf8(out.stderr)?;
        assert_eq!(out.status.code(), Some(3), "{arguments:?}: {said}");
        assert!(said.contains(why) && said.contains("\n  "), "{arguments:?}: {said}");
        assert!(!out.stdout.is_empty(), "what is there is said all the same");
    }
    Ok(())
}

#[test]
fn a_library_without_a_gpu_is_not_what_was_expected() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let none = dir.path().join("none.toml");
    std::fs::write(&none, "profile = \"h100\"\ngpus = 0\n")?;
    let out = simulated()
        .env("NVML_SIM_SCENARIO", none)
        .args(["--ebpf", "off", "doctor", "--expect", "nvml"])
        .output()?;
    let said = String::from_utf8(out.stderr)?;
    assert_eq!(out.status.code(), Some(3), "{said}");
    assert!(said.contains("no GPU is visible"), "{said}");
    Ok(())
}
