//! Health through the real binary: no finding on any healthy board, idle or under full load, and of sick ones just what they have.

mod growth;

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use e2e::{Agent, repository, simulated};
use serde_json::{Value, json};

fn with(content: &str) -> Result<(tempfile::TempDir, Agent)> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("scenario.toml");
    fs::write(&path, content)?;
    let mut agent =
        Agent::spawn(simulated().args(["--ebpf", "off"]).env("NVML_SIM_SCENARIO", path))?;
    agent.initialize()?;
    Ok((dir, agent))
}

/// Each finding as GPU, rule, severity.
fn findings(health: &Value) -> Vec<(u64, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let gpus = list(&health["gpus"]);
    let of = |gpu: &Value| {
        let index = gpu["index"].as_u64().unwrap_or(99);
        let told = |it: &Value| (index, text(&it["id"]), text(&it["severity"]));
        list(&gpu["findings"]).iter().map(told).collect::<Vec<_>>()
    };
    gpus.iter().flat_map(of).collect()
}

/// The boards that the simulator knows, with the bytes that fill their memory.
fn boards() -> Result<Vec<(String, u64)>> {
    let profiles = repository().join("tests/nvml-sim/profiles");
    let mut boards = Vec::new();
    for entry in fs::read_dir(&profiles).with_context(|| profiles.display().to_string())? {
        let path = entry?.path();
        let own = fs::read_to_string(&path)?;
        // What a profile does not say is as its base has it.
        let base = own.lines().find_map(|line| line.strip_prefix("base = ")).map(|base| {
            fs::read_to_string(profiles.join(format!("{}.toml", base.trim_matches('"'))))
        });
        let text = [own.as_str(), base.transpose()?.as_deref().unwrap_or_default()].concat();
        let bytes = |key: &str| -> Option<u64> {
            let line = text.lines().find(|line| line.starts_with(key))?;
            line.split(['=', '#']).nth(1)?.trim().replace('_', "").parse().ok()
        };
        let (total, reserved) =
            bytes("total_bytes").zip(bytes("reserved_bytes")).context("bytes")?;
        let name = path.file_stem().and_then(|name| name.to_str()).context("a profile's name")?;
        boards.push((name.to_owned(), total - reserved));
    }
    Ok(boards)
}

/// The figures that are null and have no reason for it.
fn unexplained(figures: &Value) -> Vec<&str> {
    let reasons = figures["absent"].as_array().into_iter().flatten();
    let reasons: Vec<_> = reasons.filter_map(|reason| reason["field"].as_str()).collect();
    let nulls = figures.as_object().into_iter().flatten().filter(|(_, value)| value.is_null());
    let explained = |name: &str| {
        let begins = |field: &&str| name.strip_prefix(*field).is_some_and(|it| it.starts_with('_'));
        reasons.iter().any(|field| *field == name || begins(field))
    };
    nulls.map(|(name, _)| name.as_str()).filter(|name| !explained(name)).collect()
}

#[test]
fn every_board_is_healthy_idle_and_under_full_load() -> Result<()> {
    let boards = boards()?;
    assert!(boards.len() >= 3, "{boards:?}");
    for (board, memory) in boards {
        let idle = format!("profile = {board:?}\n");
        let load = format!(
            "{idle}[all]\nmemory.used_bytes = {memory}\nthrottle.reasons = [\"sw_power_cap\"]\n\
             throttle.time_ns.power = 1209600000000000\n[all.utilization]\ngpu_percent = 100\n\
             memory_percent = 100\nencoder_percent = 100\ndecoder_percent = 100\n"
        );
        for content in [idle, load] {
            let (_dir, mut agent) = with(&content)?;
            for _ in 0..2 {
                let health = agent.ask("get_gpu_health", &json!({"detail": "full"}))?;
                assert_eq!(findings(&health), [], "{content}");
                assert_eq!(health["verdict"], "healthy", "{content}");
                for gpu in health["gpus"].as_array().into_iter().flatten() {
                    assert_eq!(unexplained(&gpu["figures"]), Vec::<&str>::new(), "{content}");
                }
                // But for where Xids are heard, nothing is left unjudged.
                let limits = health["limits"].as_array().cloned().unwrap_or_default();
                let about_gpus =
                    |limit: &&Value| limit.as_str().is_some_and(|it| it.starts_with("GPU "));
                assert_eq!(limits.iter().find(about_gpus), None, "{content}");
            }
        }
    }
    Ok(())
}

/// Rules and what they make of the GPU.
type Found = &'static [(&'static str, &'static str)];

/// What GPU 1 of a board has that its neighbours do not, and what is found.
const SICK: &[(&str, &str, Found)] = &[
    ("h100", "recovery_action = \"node_reboot\"", &[("recovery_action", "failed")]),
    ("h100", "row_remap.failure = true", &[("row_remap_failed", "failed")]),
    ("a100", "row_remap.banks = { max = 639, none = 1 }", &[("spare_rows_spent", "attention")]),
    ("a100", "row_remap.banks = { max = 639, low = 1 }", &[]),
    (
        "h100",
        "ecc.volatile.sram_uncorrected_parity = 2\necc.sram_threshold_exceeded = true",
        &[("sram_threshold", "failed"), ("ecc_uncorrected", "degraded")],
    ),
    ("h100", "ecc = { enabled = false, pending = false }", &[("ecc_off", "attention")]),
    ("h100", "ecc.pending = false", &[("ecc_mode_pending", "attention")]),
    ("t4", "retired_pages.pending = true", &[("retired_pages_pending", "degraded")]),
    ("h100", "repair.channel_pending = true", &[("repair_pending", "degraded")]),
    (
        "h100",
        "throttle.reasons = [\"hw_slowdown\", \"hw_thermal_slowdown\"]\nthermal.margin_celsius = -3",
        &[("hw_thermal_slowdown", "degraded")],
    ),
    (
        "a100",
        "throttle.reasons = [\"hw_slowdown\", \"hw_power_brake_slowdown\"]",
        &[("hw_power_brake", "degraded")],
    ),
    (
        "a100",
        "thermal = { gpu_celsius = 87, memory_celsius = 93 }",
        &[("thermal_margin_thin", "attention"), ("memory_margin_thin", "attention")],
    ),
    // Boards that say 0 where they have no threshold.
    ("a100", "thermal.thresholds_celsius = { slowdown = 0, memory_max = 0 }", &[]),
    (
        "t4",
        "thermal.fans = [{ speed_percent = 40, speed_rpm = 0 }]",
        &[("fan_stopped", "degraded")],
    ),
    ("h100", "pcie.width = 8", &[("pcie_width", "degraded")]),
    // The slot is older than the board, and an idle link is slow on purpose.
    ("h100", "utilization.gpu_percent = 100\npcie = { gen = 4, max_gen = 4 }", &[]),
    ("h100", "pcie.gen = 1", &[]),
    ("h100", "utilization.gpu_percent = 100\npcie.gen = 1", &[("pcie_generation", "attention")]),
    ("h100", "nvlink.links.4.state = \"inactive\"", &[("nvlink_down", "degraded")]),
    ("a100", "nvlink.links.0.state = \"inactive\"", &[("nvlink_down", "degraded")]),
    // All of them, while its neighbours have theirs up.
    ("h100", "nvlink.link.state = \"inactive\"", &[("nvlink_down", "degraded")]),
    ("h100", "fabric.state = \"in_progress\"", &[("fabric_not_ready", "attention")]),
    ("h100", "fabric.status = \"UNKNOWN\"", &[("fabric_failed", "degraded")]),
    (
        "h100",
        "fabric.health = { summary = \"unhealthy\", incorrect_configuration = \"no_partition\" }",
        &[("fabric_misconfigured", "degraded")],
    ),
    (
        "h100",
        "fabric.health = { summary = \"limited_capacity\", degraded_bandwidth = \"true\" }",
        &[("fabric_unhealthy", "degraded")],
    ),
    (
        "h100",
        "faults.nvmlDeviceGetTemperature = \"RESET_REQUIRED\"",
        &[("reset_required", "failed")],
    ),
    (
        "t4",
        "faults.nvmlDeviceValidateInforom = \"CORRUPTED_INFOROM\"",
        &[("inforom_corrupted", "degraded")],
    ),
    (
        "h100",
        "faults.nvmlDeviceGetHandleByIndex_v2 = \"INSUFFICIENT_POWER\"",
        &[("nothing_read", "unreachable"), ("power_cable", "failed")],
    ),
    ("h100", "lost = true", &[("gpu_lost", "unreachable")]),
];

#[test]
fn a_sick_gpu_has_what_it_has_and_its_neighbours_nothing() -> Result<()> {
    for (board, sickness, expected) in SICK {
        let (_dir, mut agent) =
            with(&format!("profile = {board:?}\ngpus = 3\n[[gpu]]\nindex = 1\n{sickness}\n"))?;
        let health = agent.ask("get_gpu_health", &json!({}))?;
        let expected: Vec<_> = expected
            .iter()
            .map(|(id, severity)| (1, (*id).to_owned(), (*severity).to_owned()))
            .collect();
        assert_eq!(findings(&health), expected, "{board}: {sickness}");
    }
    Ok(())
}

#[test]
fn a_list_is_empty_where_nvml_says_so_and_null_where_it_refuses() -> Result<()> {
    let lists = ["fan_percent", "fan_rpm", "nvlink_up", "nvlink_down"];
    let refused = "faults.nvmlDeviceGetFieldValues = \"RESET_REQUIRED\"\n\
                   faults.nvmlDeviceGetNumFans = \"RESET_REQUIRED\"\n";
    let null = [json!(null), json!(null), json!(null), json!(null)];
    let all: Vec<u32> = (0..18).collect();
    for (board, more, expected) in [
        // It has no NVLink.
        ("t4", "faults.nvmlDeviceGetNumFans = \"NOT_SUPPORTED\"", null.clone()),
        ("h100", refused, null),
        ("h100", "thermal.fans = []", [json!([]), json!([]), json!(all), json!([])]),
    ] {
        let (_dir, mut agent) = with(&format!("profile = {board:?}\ngpus = 1\n[all]\n{more}\n"))?;
        let health = agent.ask("get_gpu_health", &json!({"detail": "full"}))?;
        let figures = &health["gpus"][0]["figures"];
        for (list, expected) in lists.into_iter().zip(expected) {
            assert_eq!(figures[list], expected, "{board}: {more}: {list}");
        }
        assert_eq!(unexplained(figures), Vec::<&str>::new(), "{board}: {more}");
    }
    Ok(())
}

#[test]
fn what_is_no_temperature_is_none() -> Result<()> {
    let (_dir, mut agent) = with(
        "profile = \"a100\"\ngpus = 1\n[all.thermal]\nmemory_celsius = 0\nthresholds_celsius = { slowdown = 255, memory_max = 0 }\n",
    )?;
    let health = agent.ask("get_gpu_health", &json!({"detail": "full"}))?;
    assert_eq!(health["verdict"], "healthy", "{health}");
    let figures = &health["gpus"][0]["figures"];
    for figure in [
        "memory_temperature_celsius",
        "slowdown_temperature_celsius",
        "memory_max_temperature_celsius",
    ] {
        assert_eq!(figures[figure], Value::Null, "{figure} in {figures}");
    }
    assert_eq!(unexplained(figures), Vec::<&str>::new());
    Ok(())
}

#[test]
fn figures_that_are_refused_in_one_call_are_not_those_that_the_board_does_not_have() -> Result<()> {
    let (_dir, mut agent) = with(
        "profile = \"h100\"\ngpus = 1\n[all.faults]\nnvmlDeviceGetFieldValues = \"INVALID_ARGUMENT\"\n",
    )?;
    let health = agent.ask("get_gpu_health", &json!({}))?;
    let limits = health["limits"].to_string();
    for figure in ["ecc_uncorrected_volatile", "remapping_failed", "recovery_action"] {
        assert!(limits.contains(figure), "{figure}: {health}");
    }
    Ok(())
}

#[test]
fn one_call_tells_of_all_that_one_call_can() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let trace = dir.path().join("trace");
    let mut agent =
        Agent::spawn(simulated().args(["--ebpf", "off"]).env("NVML_SIM_TRACE", &trace))?;
    agent.initialize()?;
    let calls = |agent: &mut Agent| -> Result<Vec<String>> {
        fs::write(&trace, "")?;
        agent.ask("get_gpu_health", &json!({"gpu": 5, "detail": "full"}))?;
        Ok(fs::read_to_string(&trace)?.lines().map(ToOwned::to_owned).collect())
    };
    calls(&mut agent)?;
    let calls = calls(&mut agent)?;
    let of = |symbol: &str| calls.iter().filter(|call| *call == symbol).count();
    // What there is of the GPU and of its link 0, and the counters of its other links.
    assert_eq!(of("nvmlDeviceGetFieldValues"), 2, "{calls:?}");
    // But for the names of all GPUs nothing is asked twice.
    let names = ["nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetFieldValues"];
    let once = calls.iter().filter(|call| !names.contains(&call.as_str()));
    let of_names = ["nvmlDeviceGetUUID", "nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetMinorNumber"];
    for call in once.filter(|call| !of_names.contains(&call.as_str())) {
        assert!(of(call) == 1 || call.starts_with("nvmlEvent"), "{call} in {calls:?}");
    }
    Ok(())
}

#[test]
fn what_needs_root_is_said_once_for_all_gpus_and_lowers_no_verdict() -> Result<()> {
    let (_dir, mut agent) = with(
        "profile = \"h100\"\n[all.faults]\nnvmlDeviceGetSramEccErrorStatus = \"NO_PERMISSION\"\n",
    )?;
    let health = agent.ask("get_gpu_health", &json!({}))?;
    assert_eq!(health["verdict"], "healthy");
    let limits: Vec<_> =
        health["limits"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let about_gpus: Vec<_> = limits.iter().filter(|limit| limit.starts_with("GPU ")).collect();
    assert_eq!(about_gpus.len(), 1, "{limits:?}");
    assert!(
        about_gpus[0].starts_with("GPU 0, 1, 2, 3, 4, 5, 6, 7: ")
            && about_gpus[0].contains("sram (nvmlDeviceGetSramEccErrorStatus")
            && about_gpus[0].contains("needs UID 0"),
        "{limits:?}"
    );
    Ok(())
}

#[test]
fn a_gpu_of_which_every_figure_fails_is_not_healthy() -> Result<()> {
    let simulator = repository().join("tests/nvml-sim/src/abi");
    let symbols = exported(&simulator)?;
    let faults: Vec<_> = symbols.iter().map(|it| format!("{it} = \"UNKNOWN\"")).collect();
    let faults = faults.join("\n");
    let (_dir, mut agent) =
        with(&format!("profile = \"h100\"\n[[gpu]]\nindex = 1\n[gpu.faults]\n{faults}"))?;
    let health = agent.ask("get_gpu_health", &json!({}))?;
    assert_eq!(
        findings(&health),
        [(1, "nothing_read".to_owned(), "unreachable".to_owned())],
        "{health}"
    );
    Ok(())
}

/// The functions about a device that the simulator exports.
fn exported(abi: &Path) -> Result<Vec<String>> {
    let mut symbols = Vec::new();
    for entry in fs::read_dir(abi)? {
        let path = entry?.path();
        if !path.is_file() {
            continue;
        }
        let text = fs::read_to_string(path)?;
        let names = text.lines().filter_map(|line| {
            let line = line.trim().strip_prefix("device fn ")?;
            Some(line.split('(').next()?.to_owned())
        });
        symbols.extend(names);
    }
    Ok(symbols)
}
