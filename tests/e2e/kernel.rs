//! From the kernel's print to the client, and the replay that stands in for it.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{IoSlice, Write as _},
    os::unix::fs::FileExt as _,
    process::{Command, Stdio},
};

use anyhow::Result;
use e2e::{Agent, no_kernel, print_to_kernel};
use serde_json::{Value, json};

/// A bus that no other test uses, so that tests which share the kernel's log do not hear each other.
pub fn xid(bus: u8, code: u32, text: &str) -> String {
    format!("NVRM: Xid (PCI:0000:{bus:02x}:00): {code}, pid=4711, name=e2e, {text}")
}

pub fn gpu(bus: u8) -> String {
    format!("0000:{bus:02x}:00.0")
}

/// A session with a FIFO whose lines are replayed.
pub fn replaying() -> Result<(tempfile::TempDir, File, Agent)> {
    let dir = tempfile::tempdir()?;
    let fifo = dir.path().join("log");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into())?;
    let agent = Agent::simulated(&["--ebpf", "off", "--replay", &fifo.to_string_lossy()])?;
    let log = OpenOptions::new().write(true).open(&fifo)?;
    Ok((dir, log, agent))
}

#[test]
fn a_line_that_the_kernel_prints_reaches_a_client_as_a_decoded_xid() -> Result<()> {
    const TEST: &str = "kernel::a_line_that_the_kernel_prints_reaches_a_client_as_a_decoded_xid";
    if let Some(why) = no_kernel() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let mut agent = Agent::simulated(&["--ebpf", "on"])?;
    let arguments = json!({"gpu": gpu(0xa1), "max_events": 1, "duration_s": 30});
    let params = json!({"name": "watch_gpu_events", "arguments": arguments, "_meta": {"progressToken": "t"}});
    let id = agent.start("tools/call", &params)?;
    // The status answers after the watch has begun: both are taken in order.
    assert!(agent.source_is("ebpf", "live")?);
    print_to_kernel("not the driver's words: NVRM: Xid (PCI:0000:a1:00): 13, pid=1, name=x, no")?;
    print_to_kernel(&xid(0xa1, 79, "GPU has fallen off the bus."))?;
    let (_, told) = agent.wait_for(|message| message["method"] == "notifications/progress")?;
    let event: Value =
        serde_json::from_str(told["params"]["message"].as_str().unwrap_or_default())?;
    let answer = agent.answer(id)?;
    let watched = &answer["result"]["structuredContent"];
    assert_eq!(watched["events"], json!([event]));
    assert_eq!(
        (&event["kind"], &event["xid"]["code"], &event["severity"]),
        (&json!("xid"), &json!(79), &json!("fatal"))
    );
    assert_eq!(event["sources"], json!(["ebpf"]));
    assert_eq!(event["process"]["pid"], 4711);
    assert_eq!(event["printed_in"]["pid"], std::process::id());
    assert_eq!(event["raw"], xid(0xa1, 79, "GPU has fallen off the bus."));
    if no_origin(&mut agent)?.is_none() {
        assert_eq!(event["origin"], "user");
    }
    let lost = json!({"journal": 0, "ring_buffer": 0, "kernel_log": 0, "device_events": 0});
    assert_eq!(watched["lost"], lost);
    let analysis = agent.ask("analyze_xid_errors", &json!({"gpu": gpu(0xa1)}))?;
    assert_eq!(analysis["groups"][0]["first"]["xid"]["immediate_action"]["name"], "RESTART_BM");
    Ok(())
}

/// Why nobody can tell here who wrote a line; `None` where it is told.
fn no_origin(agent: &mut Agent) -> Result<Option<String>> {
    let status = agent.ask("get_agent_status", &json!({}))?;
    let sources = status["sources"].as_array().into_iter().flatten();
    let how = sources.filter(|source| source["name"] == "ebpf").map(|source| &source["detail"]);
    let how = how.filter_map(Value::as_str).find(|how| how.contains("who wrote a line"));
    Ok(how.map(str::to_owned))
}

#[test]
fn a_line_of_a_process_is_told_from_the_kernels_own() -> Result<()> {
    const TEST: &str = "kernel::a_line_of_a_process_is_told_from_the_kernels_own";
    if let Some(why) = no_kernel() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let mut agent = Agent::simulated(&["--ebpf", "on"])?;
    if let Some(why) = no_origin(&mut agent)? {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let mut log = OpenOptions::new().write(true).open("/dev/kmsg")?;
    let line = |how: &str| xid(0xa5, 79, how);
    let mut ways = vec!["write", "writev", "pwrite", "thread", "child"];
    log.write_all(line("write").as_bytes())?;
    let whole = line("writev");
    let (first, second) = whole.as_bytes().split_at(20);
    assert_eq!(log.write_vectored(&[IoSlice::new(first), IoSlice::new(second)])?, whole.len());
    log.write_all_at(line("pwrite").as_bytes(), 0)?;
    std::thread::scope(|scope| scope.spawn(|| (&log).write_all(line("thread").as_bytes())).join())
        .expect("no panic")?;
    child(&log, &line("child"))?;
    // While this process still has /dev/kmsg open.
    let kernel = match e2e::have_the_kernel_print(&line("mount")) {
        Ok(()) => Some("mount"),
        Err(why) => {
            crate::skip(TEST, &why);
            None
        }
    };
    ways.extend(kernel);
    let arguments =
        json!({"gpu": gpu(0xa5), "since": "0-0", "max_events": ways.len(), "duration_s": 30});
    let watched = agent.ask("watch_gpu_events", &arguments)?;
    let told = watched["events"].as_array().cloned().unwrap_or_default();
    assert_eq!(told.len(), ways.len());
    for (event, way) in told.iter().zip(ways) {
        let origin = if Some(way) == kernel { "kernel" } else { "user" };
        assert_eq!(event["origin"], origin, "{event}");
        assert!(event["raw"].as_str().unwrap_or_default().starts_with(&line(way)), "{event}");
    }
    // What processes wrote is shown, and is no ground for a verdict.
    let analysis = agent.ask("analyze_xid_errors", &json!({"gpu": gpu(0xa5)}))?;
    assert_eq!(analysis["worst"].is_null(), kernel.is_none(), "{analysis}");
    Ok(())
}

/// A process that has inherited the file writes `line` to it.
fn child(log: &File, line: &str) -> Result<()> {
    let mut child = Command::new("sh");
    child.args(["-c", "echo \"$0\"", line]).stdout(Stdio::from(log.try_clone()?));
    assert!(child.status()?.success());
    Ok(())
}

#[test]
fn the_drivers_own_tracepoint_is_off_where_no_driver_offers_it() -> Result<()> {
    const TEST: &str = "kernel::the_drivers_own_tracepoint_is_off_where_no_driver_offers_it";
    if let Some(why) = no_kernel() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    if std::path::Path::new("/sys/module/nvidia").exists() {
        crate::skip(TEST, "the driver is loaded here");
        return Ok(());
    }
    let mut agent = Agent::simulated(&["--ebpf", "on"])?;
    assert!(agent.source_is("ebpf", "live")?);
    assert!(agent.source_is("nvidia_dev_xid", "off")?);
    Ok(())
}

#[test]
fn lines_of_every_length_come_whole_until_the_kernel_itself_cuts_them() -> Result<()> {
    const TEST: &str = "kernel::lines_of_every_length_come_whole_until_the_kernel_itself_cuts_them";
    if let Some(why) = no_kernel() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let mut agent = Agent::simulated(&["--ebpf", "on"])?;
    // Around each slot's size, and near the longest that printk stores.
    let lines: Vec<String> = [0, 95, 96, 97, 160, 161, 224, 225, 900]
        .iter()
        .map(|length: &usize| {
            xid(0xa2, 13, &"x".repeat(length.saturating_sub(xid(0xa2, 13, "").len())))
        })
        .collect();
    for line in &lines {
        print_to_kernel(line)?;
    }
    let arguments =
        json!({"gpu": gpu(0xa2), "since": "0-0", "max_events": lines.len(), "duration_s": 30});
    let watched = agent.ask("watch_gpu_events", &arguments)?;
    let raws: Vec<_> = watched["events"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|event| event["raw"].clone())
        .collect();
    assert_eq!(raws, lines);
    Ok(())
}

#[test]
fn the_programs_own_diagnostics_reach_the_log_at_debug_level_only() -> Result<()> {
    const TEST: &str = "kernel::the_programs_own_diagnostics_reach_the_log_at_debug_level_only";
    if let Some(why) = no_kernel() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    for (level, expect) in [("info", false), ("info,agent::bpf=debug", true)] {
        let dir = tempfile::tempdir()?;
        let log = dir.path().join("log");
        let mut command = e2e::simulated();
        command.args(["--ebpf", "on", "--log-level", level]).stderr(File::create(&log)?);
        let mut agent = Agent::spawn(&mut command)?;
        agent.initialize()?;
        assert!(agent.source_is("ebpf", "live")?);
        print_to_kernel(&xid(0xa3, 31, "MMU Fault"))?;
        agent
            .ask("watch_gpu_events", &json!({"gpu": gpu(0xa3), "since": "0-0", "max_events": 1}))?;
        agent.close();
        agent.wait()?;
        let log = std::fs::read_to_string(log)?;
        assert_eq!(log.contains("driver line of"), expect, "{level}: {log}");
    }
    Ok(())
}

#[test]
fn a_replayed_line_says_that_it_is_one() -> Result<()> {
    let (_dir, mut log, mut agent) = replaying()?;
    writeln!(log, "[12345.678901] {}", xid(0x3b, 31, "Ch 00000008, intr 00000000. MMU Fault"))?;
    let watched = agent.ask("watch_gpu_events", &json!({"since": "0-0", "max_events": 1}))?;
    let event = &watched["events"][0];
    assert_eq!((&event["sources"], &event["printed_in"]), (&json!(["replay"]), &Value::Null));
    assert_eq!(event["xid"]["code"], 31);
    Ok(())
}

#[test]
fn a_cursor_continues_without_a_gap_and_filters_hold() -> Result<()> {
    let (_dir, mut log, mut agent) = replaying()?;
    for code in [13, 31, 43, 79, 13, 48] {
        writeln!(log, "{}", xid(0x3b, code, "x"))?;
    }
    let first = agent.ask("watch_gpu_events", &json!({"since": "0-0", "max_events": 4}))?;
    assert_eq!(first["ended_by"], "max_events");
    let since = &first["next_cursor"];
    let rest = agent.ask("watch_gpu_events", &json!({"since": since, "max_events": 2}))?;
    let codes = |answer: &Value| -> Vec<u64> {
        answer["events"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|event| event["xid"]["code"].as_u64())
            .collect()
    };
    assert_eq!((codes(&first), codes(&rest)), (vec![13, 31, 43, 79], vec![13, 48]));
    let severe = agent.ask(
        "watch_gpu_events",
        &json!({"since": "0-0", "min_severity": "critical", "duration_s": 0}),
    )?;
    assert_eq!(codes(&severe), [79, 48]);
    let none = agent
        .ask("watch_gpu_events", &json!({"since": "0-0", "kinds": ["sxid"], "duration_s": 0}))?;
    assert_eq!((codes(&none), &none["ended_by"]), (vec![], &json!("duration")));
    assert_eq!(none["listening"], true);
    // Whoever asks for what processes do is told where nobody listens to that.
    let opens = json!({"since": "0-0", "kinds": ["gpu_open", "xid"], "duration_s": 0});
    let watched = agent.ask("watch_gpu_events", &opens)?;
    assert_eq!((codes(&watched).len(), &watched["listening"]), (6, &json!(false)));
    let other =
        agent.ask("watch_gpu_events", &json!({"since": "0-0", "gpu": 0, "duration_s": 0}))?;
    assert_eq!(codes(&other), [] as [u64; 0]);
    Ok(())
}

#[test]
fn a_storm_folds_and_the_answers_stay_small() -> Result<()> {
    let (_dir, mut log, mut agent) = replaying()?;
    let tail = "y".repeat(700);
    for round in 0..2000 {
        writeln!(log, "{}", xid(0x3b, 45, &tail))?;
        if round % 100 == 0 {
            writeln!(log, "{}", xid(0x43, 100 + round / 100, &tail))?;
        }
    }
    drop(log);
    while !agent.source_is("replay", "off")? {}
    let analysis = agent.ask("analyze_xid_errors", &json!({"limit": 100}))?;
    assert_eq!(analysis["event_count"], 2020);
    assert!(analysis.to_string().len() < 32 << 10, "{}", analysis.to_string().len());
    let shown = analysis["groups"].as_array().map_or(0, Vec::len) as u64;
    assert_eq!(shown + analysis["groups_omitted"].as_u64().unwrap_or(0), 21);
    let watched = agent
        .ask("watch_gpu_events", &json!({"since": "0-0", "max_events": 1000, "duration_s": 0}))?;
    assert_eq!(watched["ended_by"], "max_bytes");
    assert!(watched.to_string().len() < 32 << 10);
    // Paging through all of them: every event once, none twice.
    let mut seen = BTreeSet::new();
    let mut since = json!("0-0");
    loop {
        let page = agent.ask(
            "watch_gpu_events",
            &json!({"since": since, "max_events": 1000, "duration_s": 0}),
        )?;
        let seqs: Vec<u64> = page["events"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|e| e["seq"].as_u64())
            .collect();
        assert!(seqs.iter().all(|seq| seen.insert(*seq)));
        since = page["next_cursor"].clone();
        if page["ended_by"] == "duration" {
            break;
        }
    }
    assert_eq!(seen.len(), 2020);
    Ok(())
}

#[test]
fn what_a_tenant_writes_is_data() -> Result<()> {
    let (_dir, mut log, mut agent) = replaying()?;
    let name = "\u{1b}[2Jx\u{7}";
    writeln!(log, "NVRM: Xid (PCI:0000:3b:00): 43, pid=7, name={name}, Ch 00000008")?;
    let result = agent.call("watch_gpu_events", &json!({"since": "0-0", "max_events": 1}))?;
    let all = result.to_string();
    assert!(!all.contains("\\u001b") && !all.contains("\\u0007"), "{all}");
    Ok(())
}

#[test]
fn what_a_process_wrote_into_the_log_is_shown_and_enters_no_verdict() -> Result<()> {
    let (_dir, mut log, mut agent) = replaying()?;
    // Raw records of /dev/kmsg: facility 1 is a process's, 0 the kernel's.
    writeln!(log, "12,1,1000,-;{}", xid(0x1b, 79, "GPU has fallen off the bus."))?;
    let arguments = json!({"since": "0-0", "max_events": 1});
    assert_eq!(agent.ask("watch_gpu_events", &arguments)?["events"][0]["origin"], "user");
    assert_eq!(agent.ask("get_gpu_health", &json!({}))?["verdict"], "healthy");
    let analysis = agent.ask("analyze_xid_errors", &json!({}))?;
    assert_eq!((&analysis["worst"], &analysis["event_count"]), (&Value::Null, &json!(1)));
    writeln!(log, "4,2,2000,-;{}", xid(0x1b, 79, "GPU has fallen off the bus."))?;
    let arguments = json!({"since": "0-0", "max_events": 2});
    assert_eq!(agent.ask("watch_gpu_events", &arguments)?["events"][1]["origin"], "kernel");
    assert_eq!(agent.ask("get_gpu_health", &json!({}))?["verdict"], "failed");
    Ok(())
}

#[test]
fn an_event_in_several_lines_is_one() -> Result<()> {
    let (_dir, mut log, mut agent) = replaying()?;
    writeln!(log, "NVRM: The NVIDIA GPU 0000:b3:00.0")?;
    writeln!(log, "NVRM: (PCI ID: 10de:26b5) installed in this system has")?;
    writeln!(log, "NVRM: fallen off the bus and is not responding to commands.")?;
    writeln!(
        log,
        "nvidia-nvswitch1: SXid (PCI:0000:06:00.0): 20034, Fatal, Link 48 LTSSM Fault Up"
    )?;
    writeln!(
        log,
        "nvidia-nvswitch1: SXid (PCI:0000:06:00.0): 20034, Severity 1 Engine instance 48 Sub-engine instance 00"
    )?;
    drop(log);
    while !agent.source_is("replay", "off")? {}
    let watched = agent.ask("watch_gpu_events", &json!({"since": "0-0", "duration_s": 0}))?;
    let told: Vec<_> = watched["events"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|e| (e["kind"].clone(), e["gpu"]["pci_address"].clone(), e["follows"].clone()))
        .collect();
    let bus_loss = (json!("bus_loss"), json!("0000:b3:00.0"), json!(false));
    let sxid = |follows: bool| (json!("sxid"), json!("0000:06:00.0"), json!(follows));
    assert_eq!(told, [bus_loss, sxid(false), sxid(true)]);
    assert_eq!(agent.ask("analyze_xid_errors", &json!({}))?["event_count"], 2);
    Ok(())
}

#[test]
fn silence_is_told_from_deafness() -> Result<()> {
    let mut deaf = Agent::spawn(e2e::agent().args([
        "--ebpf",
        "off",
        "--kernel-log",
        "off",
        "--nvml-library",
        "/nonexistent",
    ]))?;
    deaf.initialize()?;
    let watched = deaf.ask("watch_gpu_events", &json!({"duration_s": 0}))?;
    assert_eq!(watched["listening"], false);
    assert_eq!(deaf.ask("analyze_xid_errors", &json!({}))?["listening"], false);
    let (_dir, _log, mut hearing) = replaying()?;
    assert_eq!(hearing.ask("watch_gpu_events", &json!({"duration_s": 0}))?["listening"], true);
    Ok(())
}
