//! A process that opens, calls and closes, and one whose calls fail.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Actor, Stage, in_words, major, quiet, unavailable};

#[test]
fn a_process_that_opens_calls_and_closes_is_told_with_its_counts() -> Result<()> {
    const TEST: &str =
        "devices::calls::a_process_that_opens_calls_and_closes_is_told_with_its_counts";
    if let Some(why) = unavailable() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let _quiet = quiet();
    let stage = Stage::new()?;
    let mut session = stage.session()?;
    let mut actor = stage.actor()?;
    assert_eq!(session.process(actor.pid)?, Value::Null);
    actor.run("gpu = os.open(nvidia0, os.O_RDONLY)")?;
    let opened = session.process(actor.pid)?["kernel"]["calls"].as_u64().unwrap_or_default();
    assert_eq!(actor.run("ask(gpu, 1000)")?, json!([1000, 25]));
    actor.run("uvm = os.open(nvidia_uvm, os.O_RDONLY); again = os.open(nvidia0, os.O_RDONLY)")?;
    let process = session.process(actor.pid)?;
    let kernel = &process["kernel"];
    assert_eq!(kernel["devices"], json!(["/dev/nvidia0", "/dev/nvidia-uvm"]), "{process}");
    // By a path that says nothing an opening is counted where the kernel lets functions be followed.
    let openings = opened * 3;
    assert_eq!(kernel["calls"], 1000 + openings, "{process}");
    assert_eq!((&kernel["errors"], &kernel["inside"]), (&json!(1000), &json!([])));
    assert_eq!(process["known_by"], "ebpf");
    assert_eq!(process["name"], actor.run("open('/proc/self/comm').read().strip()")?);
    // The simulator's GPU 0 has minor number 0.
    let pci = session.agent.ask("get_gpu_inventory", &json!({}))?["gpus"][0]["pci_address"].take();
    assert_eq!(kernel["held"][0]["pci_address"], pci);
    assert!(kernel["held"][0]["since"].is_string() && kernel["started"].is_string(), "{process}");
    // One of two is not the last.
    actor.run("os.close(gpu); time.sleep(0.1); os.close(again); os.close(uvm)")?;
    let events = session.events(actor.pid)?;
    let words: Vec<String> = events.iter().map(in_words).collect();
    let call = words.get(1).cloned().unwrap_or_default();
    assert!(call.starts_with("call_failed nvidia0 ") && call.ends_with(" ENOTTY"), "{call}");
    let others = [&words[..1], &words[2..]].concat();
    assert_eq!(
        others,
        [
            "gpu_open nvidia0 opened",
            "gpu_open nvidia-uvm opened",
            "gpu_close nvidia0",
            "gpu_close nvidia-uvm"
        ]
    );
    let failed = &events[1]["call"];
    assert_eq!((&failed["errno"], &failed["request"]), (&json!(25), &json!("0xc020462a")));
    assert_eq!(
        (&events[1]["severity"], &events[0]["severity"]),
        (&json!("warning"), &json!("info"))
    );
    assert_eq!(events[0]["gpu"]["pci_address"], pci, "{}", events[0]);
    // At least for as long as it has slept.
    assert!(events[3]["held_ms"].as_u64() >= Some(100), "{}", events[3]);
    assert_eq!(session.process(actor.pid)?, Value::Null);
    assert_eq!(session.lost["device_events"], 0);
    Ok(())
}

#[test]
fn a_trace_has_every_call_by_its_name() -> Result<()> {
    const TEST: &str = "devices::calls::a_trace_has_every_call_by_its_name";
    if let Some(why) = unavailable() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let _quiet = quiet();
    let stage = Stage::new()?;
    let mut session = stage.session()?;
    let mut actor = stage.actor()?;
    actor.run("gpu = os.open(nvidia0, os.O_RDONLY); ask(gpu, 7)")?;
    let arguments = json!({"duration_s": 2, "pid": actor.pid});
    let call = json!({"name": "trace_driver_calls", "arguments": arguments});
    let asked = session.agent.start("tools/call", &call)?;
    // Answers come in the order of the questions where they take no time: the trace has begun.
    session.agent.ask("get_agent_status", &json!({}))?;
    actor.run("ask(gpu, 1000)")?;
    let traced = session.agent.answer(asked)?["result"]["structuredContent"].take();
    let (total, calls) = (&traced["total"], &traced["calls"]);
    assert_eq!((&total["calls"], &total["errors"]), (&json!(1000), &json!(1000)), "{traced}");
    assert_eq!((calls.as_array().map(Vec::len), &calls[0]["device"]), (Some(1), &json!("nvidia0")));
    let name = calls[0]["call"].as_str().unwrap_or_default();
    assert!(name.starts_with("NV_ESC_RM_CONTROL"), "{traced}");
    assert_eq!(traced["callers"][0]["process"]["pid"], actor.pid, "{traced}");
    let failure = &traced["failures"][0];
    assert_eq!((&failure["errors"], &failure["failure"]), (&json!(1000), &json!("ENOTTY")));
    let buckets = traced["histogram"].as_array().into_iter().flatten();
    let all: u64 = buckets.filter_map(|bucket| bucket["calls"].as_u64()).sum();
    assert_eq!(all, 1000, "{traced}");
    assert!(traced["slowest"][0]["took_us"].is_u64() && traced["complete"] == true, "{traced}");
    // All since the tracer came, of this process alone here: nobody else has such a device.
    let device = |name: &str| {
        let devices = traced["devices"].as_array().into_iter().flatten();
        devices.clone().find(|device| device["device"] == name).cloned()
    };
    let gpu = device("nvidia0").unwrap_or_default();
    assert!(gpu["ioctls"].as_u64() >= Some(1007) && gpu["opens"].as_u64() >= Some(1), "{traced}");
    Ok(())
}

#[test]
fn an_opening_that_fails_is_told_once_for_each_way_of_failing() -> Result<()> {
    const TEST: &str = "devices::calls::an_opening_that_fails_is_told_once_for_each_way_of_failing";
    if let Some(why) = unavailable() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let _quiet = quiet();
    let stage = Stage::new()?;
    let mut session = stage.session()?;
    let nvidia = major("cpu/cpuid").unwrap_or_default();
    // There is no processor 99; and two that are no device at all.
    let nodes =
        format!("mknod nvidia99 c {nvidia} 99 && mknod nvidia0 c {nvidia} 0 && touch nvidia1");
    let mut actor = Actor::with_own_dev(&stage, &nodes)?;
    let opening = |path: &str| {
        format!("[errno_of(os.open, '/dev/{path}', os.O_RDONLY) for _ in range(100)][-1]")
    };
    assert_eq!(actor.run(&opening("nvidia99"))?, 6);
    assert_eq!(actor.run(&opening("nvidia5"))?, 2);
    assert_eq!(actor.run("os.close(os.open('/dev/nvidia1', os.O_RDONLY))")?, Value::Null);
    let events = session.events(actor.pid)?;
    assert_eq!(
        events.iter().map(in_words).collect::<Vec<_>>(),
        ["call_failed nvidia99 open ENXIO"]
    );
    assert_eq!((&events[0]["severity"], &events[0]["call"]["errno"]), (&json!("error"), &json!(6)));
    // What is an error comes to who asks for no kind.
    let unasked = json!({"since": "0-0", "duration_s": 0});
    let told = session.agent.ask("watch_gpu_events", &unasked)?;
    assert!(told["events"].as_array().is_some_and(|told| told.contains(&events[0])), "{told}");
    // Its successful calls are counted by this path, and so are those before.
    actor.run("open_and_close('/dev/nvidia0', 10); gpu = os.open('/dev/nvidia0', os.O_RDONLY)")?;
    let kernel = session.process(actor.pid)?["kernel"].take();
    assert_eq!((&kernel["calls"], &kernel["errors"]), (&json!(121), &json!(100)));
    Ok(())
}

#[test]
fn a_call_that_does_not_come_back_is_told_while_it_is_inside() -> Result<()> {
    const TEST: &str = "devices::calls::a_call_that_does_not_come_back_is_told_while_it_is_inside";
    if let Some(why) = unavailable() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let _quiet = quiet();
    let stage = Stage::new()?;
    let mut session = stage.session()?;
    let status = session.agent.ask("get_agent_status", &json!({}))?.to_string();
    if !status.contains("raw tracepoints sys_enter") {
        crate::skip(TEST, "calls are followed by functions here, which no FIFO comes to");
        return Ok(());
    }
    // To open a FIFO takes as long as nobody writes, and by its path it might be the driver's.
    let mut actor = Actor::with_own_dev(&stage, "mkfifo nvidia3")?;
    actor.run("opener = threading.Thread(target=os.open, args=('/dev/nvidia3', os.O_RDONLY))")?;
    actor.run("opener.start()")?;
    session.until(|heard| heard.iter().any(|it| it["kind"] == "call_stalled"))?;
    let findings = |session: &mut super::Session| -> Result<usize> {
        let health = session.agent.ask("get_gpu_health", &json!({}))?.to_string();
        Ok(health.matches("\"id\":\"call_stalled\"").count())
    };
    assert_eq!(findings(&mut session)?, 1);
    actor.run("os.close(os.open('/dev/nvidia3', os.O_WRONLY)); opener.join()")?;
    // It has come back, and is history.
    assert_eq!(findings(&mut session)?, 0);
    let events = session.events(actor.pid)?;
    assert_eq!(events.iter().map(in_words).collect::<Vec<_>>(), ["call_stalled nvidia3 open "]);
    assert!(events[0]["call"]["inside_ms"].as_u64() >= Some(10_000), "{}", events[0]);
    assert_eq!(events[0]["severity"], "error");
    Ok(())
}
