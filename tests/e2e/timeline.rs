//! What the recorder samples, what a session without one still knows, and what is said of the rest.
//!
//! Nothing here is about how fast it goes: a test waits until there are as many samples as it needs.

use std::{fs, process::Command, time::Instant};

use anyhow::{Result, bail};
use e2e::{Agent, PATIENCE, Recorder, simulated, text};
use serde_json::{Value, json};

/// Values that move, faster than they are read.
const MOVING: &str = "profile = 'h100'
[all]
frame_ms = 100
frames = [
    { power.usage_mw = 200000, power.instant_mw = 200000, utilization.gpu_percent = 50, throttle.reasons = [] },
    { power.usage_mw = 400000, power.instant_mw = 690000, utilization.gpu_percent = 90, throttle.reasons = ['sw_power_cap'] },
]
";

/// A recorder on a scenario.
fn recorder(scenario: &str) -> Result<Recorder> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("scenario.toml");
    fs::write(&path, scenario)?;
    let recorder = Recorder::start_with(dir, &["--ebpf", "off"], |command: &mut Command| {
        command.env("NVML_SIM_SCENARIO", &path);
    })?;
    Ok(recorder)
}

/// A session by itself on a scenario.
fn alone(scenario: &str) -> Result<(tempfile::TempDir, Agent)> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("scenario.toml");
    fs::write(&path, scenario)?;
    let mut agent =
        Agent::spawn(simulated().args(["--ebpf", "off"]).env("NVML_SIM_SCENARIO", &path))?;
    agent.initialize()?;
    Ok((dir, agent))
}

/// Asks until the answer is as wanted.
fn until(agent: &mut Agent, arguments: &Value, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let result = agent.call("get_gpu_timeline", arguments)?;
        if result["isError"] != true && wanted(&result["structuredContent"]) {
            return Ok(result);
        }
        if Instant::now() > end {
            bail!("never as wanted: {result}");
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

fn samples(answer: &Value, gpu: usize) -> u64 {
    answer["gpus"][gpu]["samples"].as_u64().unwrap_or_default()
}

fn series<'a>(gpu: &'a Value, metric: &str) -> &'a Value {
    let all = gpu["series"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().find(|series| series["metric"] == metric).unwrap_or(&Value::Null)
}

fn absent<'a>(answer: &'a Value, field: &str) -> Option<&'a Value> {
    answer["absent"].as_array()?.iter().find(|absent| absent["field"] == field)
}

#[test]
fn the_recorder_knows_how_it_went_and_what_came_between_two_readings() -> Result<()> {
    let recorder = recorder(MOVING)?;
    let mut session = recorder.session()?;
    let asked = json!({"detail": "full"});
    let result = until(&mut session, &asked, |answer| (0..8).all(|gpu| samples(answer, gpu) >= 4))?;
    let answer = &result["structuredContent"];
    assert_eq!(answer["source"], "recorder");
    assert_eq!(answer["gpus"].as_array().map(Vec::len), Some(8));
    let gpu = &answer["gpus"][3];
    assert_eq!((&gpu["pci_address"], &gpu["resolution_s"]), (&json!("0000:61:00.0"), &json!(1)));
    let power = series(gpu, "power_watts");
    // A reading has one or the other; the driver's own samples have both, though they last a tenth of a second.
    assert_eq!((&power["min"], &power["max"]), (&json!(200.0), &json!(690.0)), "{power}");
    let mean = power["mean"].as_f64().unwrap_or_default();
    assert!((200.0..=400.0).contains(&mean), "{power}");
    let busy = series(gpu, "gpu_utilization_percent");
    assert_eq!((&busy["min"], &busy["max"]), (&json!(50.0), &json!(90.0)));
    let points = &power["points"];
    let columns = ["at_s", "min", "mean", "max"].map(|name| points[name].as_array().map(Vec::len));
    assert!(columns.iter().all(|column| *column == columns[0] && *column >= Some(4)), "{points}");
    // Nothing has gone wrong, and that was read.
    assert_eq!((&gpu["counters"]["ecc_uncorrected"], &gpu["gaps"]), (&json!(0), &json!([])));
    assert_eq!(answer["event_count"], 0);
    let text = text(&result);
    assert!(
        text.contains("power_watts") && text.contains("200 / ") && text.contains('▁'),
        "{text}"
    );
    // Memory did not move, on any GPU.
    let still = text.lines().filter(|line| line.starts_with("  memory_used_mib "));
    let told: Vec<_> = still.filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(told, ["throughout"; 8], "{text}");
    let status = session.ask("get_agent_status", &json!({}))?;
    assert_eq!(status["recorder"]["timeline_gpus"], 8);
    let bytes = status["recorder"]["timeline_bytes"].as_u64().unwrap_or_default();
    assert!((1 << 19..=1 << 20 | 1 << 17).contains(&bytes), "{bytes}");
    Ok(())
}

#[test]
fn what_held_the_clocks_and_what_rose_is_added_up() -> Result<()> {
    // Each frame has one more of everything, and then the driver is loaded anew.
    let frame = |count: u32| {
        format!(
            "{{ ecc.volatile.dram_corrected = {count}, pcie.replays = {count}, throttle.reasons = ['hw_thermal_slowdown'] }}"
        )
    };
    let frames: Vec<_> = (0..1000).map(frame).collect();
    let scenario = format!(
        "profile = 'h100'\ngpus = 1\n[all]\nframe_ms = 100\nframes = [{}]\n",
        frames.join(", ")
    );
    let recorder = recorder(&scenario)?;
    let mut session = recorder.session()?;
    let result = until(&mut session, &json!({}), |answer| {
        samples(answer, 0) >= 4 && answer["gpus"][0]["counters"]["pcie_replays"].as_u64() > Some(0)
    })?;
    let gpu = &result["structuredContent"]["gpus"][0];
    assert!(gpu["counters"]["ecc_corrected"].as_u64() > Some(0), "{gpu}");
    assert_eq!(gpu["counters"]["ecc_uncorrected"], 0);
    assert_eq!(gpu["throttle"][0]["reason"], "hw_thermal_slowdown");
    assert_eq!(
        (&gpu["throttle"][0]["samples"], &gpu["throttle"][0]["percent"]),
        (&gpu["samples"], &json!(100.0))
    );
    assert!(text(&result).contains("clocks held by"), "{}", text(&result));
    Ok(())
}

#[test]
fn a_lost_gpu_is_a_gap_with_its_reason_and_stops_no_other() -> Result<()> {
    let recorder =
        recorder("profile = 'h100'\ngpus = 2\n[[gpu]]\nindex = 0\nlost_after_ms = 2500\n")?;
    let mut session = recorder.session()?;
    let result = until(&mut session, &json!({}), |answer| {
        samples(answer, 1) >= 6
            && answer["gpus"][0]["gaps"].as_array().is_some_and(|gaps| !gaps.is_empty())
    })?;
    let gpus = &result["structuredContent"]["gpus"];
    let gap = &gpus[0]["gaps"][0];
    assert!(gap["reason"].as_str().unwrap_or_default().contains("GPU_IS_LOST"), "{gpus}");
    assert_eq!((&gap["to"], &gpus[1]["gaps"]), (&Value::Null, &json!([])));
    // What it was like before is still there.
    assert!(series(&gpus[0], "temperature_celsius")["last"].is_number(), "{gpus}");
    assert!(text(&result).contains(" to now: nvmlDevice"), "{}", text(&result));
    // By its address too, though NVML has forgotten it.
    let one = session.ask("get_gpu_timeline", &json!({"gpu": gpus[0]["pci_address"]}))?;
    assert_eq!(one["gpus"].as_array().map(Vec::len), Some(1));
    Ok(())
}

#[test]
fn while_a_gpu_hangs_its_past_is_answered_the_gap_named_and_the_others_go_on() -> Result<()> {
    const WELL: &str = "profile = 'h100'\ngpus = 2\n";
    let recorder = recorder(WELL)?;
    let mut session = recorder.session()?;
    until(&mut session, &json!({}), |answer| samples(answer, 1) >= 2)?;
    let scenario = recorder.file("scenario.toml");
    fs::write(
        &scenario,
        format!("{WELL}[[gpu]]\nindex = 1\nfaults.nvmlDeviceGetTemperature = {{ hang = true }}\n"),
    )?;
    let result = until(&mut session, &json!({}), |answer| {
        answer["gpus"][1]["gaps"].to_string().contains("nvmlDeviceGetTemperature")
    })?;
    let gpus = &result["structuredContent"]["gpus"];
    assert_eq!((&gpus[1]["gaps"][0]["to"], &gpus[0]["gaps"]), (&Value::Null, &json!([])), "{gpus}");
    assert!(gpus[1]["gaps"][0]["reason"].as_str().unwrap_or_default().contains("stuck"), "{gpus}");
    let (one, other) =
        (samples(&result["structuredContent"], 0), samples(&result["structuredContent"], 1));
    assert!(one > other && other >= 2, "{one} {other}");
    // And it goes on when the driver does.
    fs::write(scenario, WELL)?;
    until(&mut session, &json!({}), |answer| {
        samples(answer, 1) > other && answer["gpus"][1]["gaps"][0]["to"].is_string()
    })?;
    Ok(())
}

#[test]
fn without_a_recorder_the_driver_s_own_samples_answer_and_that_is_said() -> Result<()> {
    let (_dir, mut agent) = alone(MOVING)?;
    let result = agent.call("get_gpu_timeline", &json!({"gpu": 2, "detail": "full"}))?;
    let answer = &result["structuredContent"];
    assert_eq!(answer["source"], "driver_buffers", "{answer}");
    let gpu = &answer["gpus"][0];
    let power = series(gpu, "power_watts");
    assert_eq!((&power["min"], &power["max"]), (&json!(200.0), &json!(690.0)), "{power}");
    assert!(power["points"]["at_s"].as_array().map(Vec::len) >= Some(2), "{power}");
    // Of what the driver does not sample there is the reading of now.
    assert_eq!(
        series(gpu, "temperature_celsius")["points"]["at_s"].as_array().map(Vec::len),
        Some(1)
    );
    assert_eq!(gpu["counters"], Value::Null);
    assert!(absent(answer, "counters").is_some(), "{answer}");
    let limits = answer["limits"].to_string();
    assert!(limits.contains("ebpf.enabled") && limits.contains("agent record"), "{limits}");
    assert!(text(&result).contains("as far as the driver keeps samples"), "{}", text(&result));
    // Of a window that is over there is nothing.
    let over = agent.ask("get_gpu_timeline", &json!({"gpu": 2, "since": "2h", "until": "1h"}))?;
    assert_eq!((&over["gpus"][0]["samples"], &over["gpus"][0]["series"]), (&json!(0), &json!([])));
    Ok(())
}

#[test]
fn what_a_board_lacks_is_absent_with_its_reason_and_never_zero() -> Result<()> {
    let scenario = "profile = 'h100'\ngpus = 3\n[[gpu]]\nindex = 1\n[gpu.mig]\nenabled = true\n\
         [[gpu]]\nindex = 2\nthermal.memory_celsius = 'unsupported'\npower.usage_mw = { error = 'NOT_READY' }\n\
         throttle.reasons = 'unsupported'\nnvlink = 'unsupported'\nfabric = 'unsupported'\n\
         samples = { power = 'unsupported', utilization = 'unsupported', clock = 'unsupported' }\n";
    let metrics = json!({"metrics": ["gpu_utilization_percent", "memory_temperature_celsius", "power_watts"]});
    let check = |answer: &Value| {
        let divided = &answer["gpus"][1];
        assert_eq!(series(divided, "gpu_utilization_percent"), &Value::Null, "{divided}");
        let why = absent(answer, "gpu_utilization_percent").unwrap_or(&Value::Null);
        assert_eq!(why["gpus"], json!([1]), "{answer}");
        assert!(why["reason"].as_str().unwrap_or_default().contains("MIG"), "{why}");
        let bare = &answer["gpus"][2];
        assert_eq!(series(bare, "gpu_utilization_percent")["max"], 0.0, "it was read, and is idle");
        for (field, reason, by_design) in [
            ("memory_temperature_celsius", "NOT_SUPPORTED", true),
            ("power_watts", "", false),
            ("throttle", "NOT_SUPPORTED", true),
            ("power_watts_between", "NOT_SUPPORTED", true),
        ] {
            let why = absent(answer, field).unwrap_or(&Value::Null);
            assert_eq!(
                (&why["gpus"], &why["by_design"]),
                (&json!([2]), &json!(by_design)),
                "{field}: {answer}"
            );
            assert!(why["reason"].as_str().unwrap_or_default().contains(reason), "{why}");
        }
        assert_eq!(bare["throttle"], Value::Null);
    };
    let (_dir, mut agent) = alone(scenario)?;
    check(&agent.ask("get_gpu_timeline", &metrics)?);
    let recorder = recorder(scenario)?;
    let mut session = recorder.session()?;
    let result =
        until(&mut session, &metrics, |answer| (0..3).all(|gpu| samples(answer, gpu) >= 2))?;
    let answer = &result["structuredContent"];
    check(answer);
    assert_eq!(answer["gpus"][2]["counters"]["nvlink_errors"], Value::Null);
    assert_eq!(absent(answer, "nvlink_errors").unwrap_or(&Value::Null)["gpus"], json!([2]));
    Ok(())
}

#[test]
fn the_faults_of_the_window_stand_beside_it() -> Result<()> {
    let recorder =
        recorder("profile = 'h100'\ngpus = 2\n[[event]]\ngpu = 1\nxid = 79\nafter_ms = 0\n")?;
    let mut session = recorder.session()?;
    let result = until(&mut session, &json!({}), |answer| {
        answer["event_count"] == 1 && (0..2).all(|gpu| samples(answer, gpu) >= 5)
    })?;
    let answer = &result["structuredContent"];
    let event = &answer["events"][0];
    assert_eq!((&event["code"], &event["seq"]), (&json!(79), &json!(1)), "{answer}");
    assert_eq!(event["pci_address"], answer["gpus"][1]["pci_address"]);
    let lines: Vec<&str> = text(&result).lines().collect();
    assert!(
        lines.iter().any(|line| line.starts_with("#1 ") && line.contains("Xid 79")),
        "{lines:?}"
    );
    // watch_gpu_events goes on from there.
    let more = json!({"since": answer["next_cursor"], "duration_s": 0});
    assert_eq!(session.ask("watch_gpu_events", &more)?["lost"]["journal"], 0);
    let other = session.ask("get_gpu_timeline", &json!({"gpu": 0}))?;
    assert_eq!(other["event_count"], 0, "of another GPU");
    Ok(())
}

#[test]
fn sixteen_gpus_stay_within_their_bound() -> Result<()> {
    let more = (8..16).map(|index| {
        format!(
            "[[gpu]]\nindex = {index}\npci.address = '0001:{index:02x}:00.0'\nidentity.module_id = {}\n",
            index + 1
        )
    });
    let most = MOVING.replace("profile = 'h100'", "profile = 'h100'\ngpus = 16");
    let recorder = recorder(&std::iter::once(most).chain(more).collect::<String>())?;
    let mut session = recorder.session()?;
    let result =
        until(&mut session, &json!({}), |answer| (0..16).all(|gpu| samples(answer, gpu) >= 3))?;
    let bytes = result["structuredContent"].to_string().len();
    // A sparkline of its full width has ninety bytes more than those of the first seconds.
    assert!(bytes + 16 * 5 * 90 < 32 << 10, "{bytes}");
    Ok(())
}

#[test]
fn what_cannot_be_asked_is_refused_with_what_can() -> Result<()> {
    let (_dir, mut agent) = alone("profile = 'h100'\n")?;
    for (arguments, words) in [
        (json!({"gpu": 9}), "no GPU"),
        (json!({"since": "yesterday"}), "since is"),
        (json!({"until": "1f-7"}), "until is"),
        (json!({"since": "1h", "until": "2h"}), "before until"),
        (json!({"points": 1}), "from 2 to 500"),
        (json!({"metrics": ["fan_percent"]}), "fan_percent"),
        (json!({"metric": "power_watts"}), "inputSchema"),
    ] {
        let result = agent.call("get_gpu_timeline", &arguments)?;
        assert_eq!(result["isError"], true, "{arguments}: {result}");
        assert!(text(&result).contains(words), "{arguments}: {}", text(&result));
    }
    Ok(())
}
