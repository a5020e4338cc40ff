//! The kernel's log, read back: what was printed before the agent was there, and what several sources tell of one line.

use anyhow::Result;
use e2e::{Agent, Recorder, no_kernel, print_to_kernel};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Buses that no other test uses, and this run's process: this machine has one kernel log, and it remembers.
fn line(bus: u8, number: u32) -> String {
    let pid = std::process::id();
    format!("NVRM: Xid (PCI:0000:{bus:02x}:00): {number}, pid={pid}, name=\u{1b}[2J\\e2e, \u{e4}")
}

/// Number and sources of each event of the bus.
fn told(session: &mut Agent, bus: u8) -> Result<Vec<(u64, Value)>> {
    let gpu = format!("0000:{bus:02x}:00.0");
    let (mut since, mut told) = (json!("0-0"), Vec::new());
    loop {
        let arguments = json!({"gpu": gpu, "since": since, "duration_s": 0, "max_events": 1000});
        let page = session.ask("watch_gpu_events", &arguments)?;
        let events = page["events"].as_array().into_iter().flatten();
        let mine = events.filter(|event| event["process"]["pid"] == std::process::id());
        told.extend(
            mine.filter_map(|event| {
                Some((event["xid"]["code"].as_u64()?, event["sources"].clone()))
            }),
        );
        if page["ended_by"] == "duration" {
            return Ok(told);
        }
        since = page["next_cursor"].clone();
    }
}

fn numbers(told: &[(u64, Value)]) -> Vec<u64> {
    told.iter().map(|(number, _)| *number).collect()
}

const HEARS_ALL: &[&str] = &["--ebpf", "on", "--kernel-log", "auto"];

#[test]
fn the_past_is_told_and_what_two_sources_heard_is_one_event() -> Result<()> {
    const TEST: &str = "kernel_log::the_past_is_told_and_what_two_sources_heard_is_one_event";
    if let Some(why) = no_kernel() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    for number in [48, 63, 94] {
        print_to_kernel(&line(0xb1, number))?;
    }
    let recorder = Recorder::start(HEARS_ALL)?;
    let mut session = recorder.session()?;
    for number in [45, 45, 79] {
        print_to_kernel(&line(0xb1, number))?;
    }
    let both = json!(["ebpf", "kernel_log"]);
    loop {
        let told = told(&mut session, 0xb1)?;
        // The log is read again some seconds later.
        if told.len() == 6 && told[3..].iter().all(|(_, sources)| *sources == both) {
            assert_eq!(numbers(&told), [48, 63, 94, 45, 45, 79]);
            assert!(
                told[..3].iter().all(|(_, sources)| *sources == json!(["kernel_log"])),
                "{told:?}"
            );
            break;
        }
        assert!(told.len() <= 6, "{told:?}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let watched = session.ask(
        "watch_gpu_events",
        &json!({"gpu": "0000:b1:00.0", "since": "0-0", "max_events": 1}),
    )?;
    assert_eq!(watched["events"][0]["origin"], "user");
    assert_eq!(
        watched["events"][0]["raw"].as_str().map(|raw| raw.contains("\\u{1b}[2J")),
        Some(true)
    );
    Ok(())
}

#[test]
fn over_a_kill_and_a_restart_every_line_is_told_once() -> Result<()> {
    const TEST: &str = "kernel_log::over_a_kill_and_a_restart_every_line_is_told_once";
    if let Some(why) = no_kernel() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let mut recorder = Recorder::start(HEARS_ALL)?;
    let mut printed = Vec::new();
    for round in 0..4u32 {
        let mut session = recorder.session()?;
        for number in 1..=20 {
            print_to_kernel(&line(0xb2, round * 100 + number))?;
            printed.push(u64::from(round * 100 + number));
        }
        let mut now = Vec::new();
        while now.len() < printed.len() {
            now = told(&mut session, 0xb2)?;
        }
        assert_eq!(numbers(&now), printed, "round {round}");
        // Sooner than the log is read again, and sooner than everything is written down.
        let (_, dir) = recorder.end(Signal::KILL)?;
        for number in 50..=55 {
            print_to_kernel(&line(0xb2, round * 100 + number))?;
            printed.push(u64::from(round * 100 + number));
        }
        recorder = Recorder::start_in(dir, HEARS_ALL)?;
    }
    let mut session = recorder.session()?;
    assert_eq!(numbers(&told(&mut session, 0xb2)?), printed);
    Ok(())
}

#[test]
fn without_ebpf_the_log_tells_as_it_is_printed() -> Result<()> {
    const TEST: &str = "kernel_log::without_ebpf_the_log_tells_as_it_is_printed";
    if let Some(why) = no_kernel() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let mut agent = Agent::simulated(&["--ebpf", "off", "--kernel-log", "auto"])?;
    assert!(agent.source_is("kernel_log", "live")?);
    let arguments = json!({"gpu": "0000:b3:00.0", "max_events": 3, "duration_s": 30});
    let id =
        agent.start("tools/call", &json!({"name": "watch_gpu_events", "arguments": arguments}))?;
    agent.ask("get_agent_status", &json!({}))?;
    for number in [13, 31, 45] {
        print_to_kernel(&line(0xb3, number))?;
    }
    let watched = &agent.answer(id)?["result"]["structuredContent"];
    assert_eq!(watched["ended_by"], "max_events");
    let events = watched["events"].as_array().cloned().unwrap_or_default();
    assert!(events.iter().all(|event| event["sources"] == json!(["kernel_log"])), "{events:?}");
    assert!(events.iter().all(|event| event["origin"] == "user"), "{events:?}");
    Ok(())
}
