//! What people and programs send by mistake: the error that the protocol defines, and the session lives on.

use anyhow::Result;
use e2e::{Agent, agent, run, simulated, text};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Sends `line` in an open session; it must be answered with this code, and the session must go on.
#[track_caller]
fn check(session: &mut Agent, line: &[u8], code: i64) -> Result<Value> {
    session.send_bytes(line)?;
    session.send_bytes(b"\n")?;
    let (_, answer) = session.wait_for(|message| message.get("error").is_some())?;
    assert_eq!(answer["error"]["code"], code, "{answer}");
    assert_eq!(session.ask("get_gpu_inventory", &json!({}))?["gpu_count"], 8);
    Ok(answer)
}

#[test]
fn malformed_messages_are_answered_and_the_session_lives_on() -> Result<()> {
    let mut session = Agent::simulated(&[])?;
    check(&mut session, b"{\"jsonrpc\":", -32700)?;
    check(&mut session, b"\xff\xfe\x00", -32700)?;
    check(&mut session, b"[]", -32600)?;
    let answer = check(
        &mut session,
        br#"{"jsonrpc":"2.0","id":"mine","method":"tools/call","params":7}"#,
        -32602,
    )?;
    assert_eq!(answer["id"], "mine");
    check(&mut session, br#"{"jsonrpc":"2.0","id":1000,"method":"no/such"}"#, -32601)?;
    check(&mut session, br#"{"jsonrpc":"2.0","id":1001,"method":"resources/read","params":{"uri":"file:///etc/passwd"}}"#, -32002)?;
    Ok(())
}

#[test]
fn a_line_of_64_mib_is_refused_and_costs_no_memory() -> Result<()> {
    let mut session = Agent::simulated(&[])?;
    let mut line = vec![b'x'; 64 << 20];
    line.splice(0..0, *b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"");
    check(&mut session, &line, -32600)?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", session.pid()))?;
    let peak = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok()
    });
    assert!(peak.is_some_and(|kb: u64| kb < 32 << 10), "peak memory {peak:?} kB");
    Ok(())
}

#[test]
fn a_tool_that_does_not_exist_is_named_with_those_that_do() -> Result<()> {
    let mut session = Agent::simulated(&[])?;
    let answer = session.request("tools/call", &json!({"name": "reset_gpu\n", "arguments": {}}))?;
    assert_eq!(answer["error"]["code"], -32602);
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("get_gpu_health") && !message.contains('\n'), "{message}");
    Ok(())
}

#[test]
fn arguments_that_do_not_fit_are_refused_with_what_would() -> Result<()> {
    let mut session = Agent::simulated(&[])?;
    for (tool, arguments, said) in [
        ("get_gpu_inventory", json!({"detail": "everything"}), "everything"),
        ("get_gpu_inventory", json!({"gpus": 1}), "gpus"),
        ("get_gpu_health", json!({"gpu": {"index": 1}}), "PCI address or UUID"),
        ("get_gpu_health", json!({"gpu": 8}), "no GPU"),
        ("get_gpu_health", json!({"gpu": -1}), "PCI address or UUID"),
        ("get_gpu_health", json!({"gpu": ""}), "no GPU"),
        ("watch_gpu_events", json!({"duration_s": 3601}), "3600"),
        ("watch_gpu_events", json!({"duration_s": "soon"}), "duration_s"),
        ("watch_gpu_events", json!({"max_events": 0}), "1000"),
        ("watch_gpu_events", json!({"since": "yesterday"}), "cursor"),
        ("watch_gpu_events", json!({"kinds": ["segfault"]}), "segfault"),
        ("analyze_xid_errors", json!({"limit": 0}), "100"),
        ("analyze_xid_errors", json!({"codes": [-1]}), "-1"),
        ("analyze_xid_errors", json!({"codes": []}), "leave codes out"),
        ("analyze_xid_errors", json!({"kinds": []}), "leave kinds out"),
        ("watch_gpu_events", json!({"kinds": []}), "leave kinds out"),
        ("get_gpu_timeline", json!({"metrics": []}), "leave metrics out"),
        ("analyze_xid_errors", json!({"kinds": ["segfault"]}), "segfault"),
        ("analyze_xid_errors", json!({"kinds": ["gpu_open"]}), "gpu_open"),
        ("analyze_xid_errors", json!({"limit": 101}), "100"),
        ("analyze_xid_errors", json!({"grouping": "pod"}), "pod"),
        ("analyze_xid_errors", json!({"detail": "some"}), "some"),
        ("analyze_xid_errors", json!({"since": "yesterday\n"}), "15m"),
        ("analyze_xid_errors", json!({"since": "2026-11-21"}), "zone"),
        ("analyze_xid_errors", json!({"since": 15}), "since"),
        ("analyze_xid_errors", json!({"since": "2999-01-01T00:00:00Z"}), "clock"),
        ("analyze_xid_errors", json!({"until": "1-2"}), "how far back"),
        ("analyze_xid_errors", json!({"since": "1h", "until": "2h"}), "later than since"),
        ("analyze_xid_errors", json!({"window": "1h"}), "window"),
        ("get_agent_status", json!({"verbose": true}), "verbose"),
    ] {
        let result = session.call(tool, &arguments)?;
        assert_eq!(result["isError"], true, "{tool} {arguments}");
        let text = text(&result);
        assert!(text.contains(said) && text.contains("Next: "), "{tool} {arguments}: {text}");
    }
    Ok(())
}

#[test]
fn unknown_flags_and_values_exit_with_2_and_usage() -> Result<()> {
    for arguments in [
        &["--frobnicate"][..],
        &["--nvml-mode", "pretend"],
        &["--ebpf", "maybe"],
        &["--mode", "root"],
        &["--log-level", "loud"],
        &["no-such-command"],
    ] {
        let exit = run(agent().args(arguments))?;
        assert_eq!(exit.code, Some(2), "{arguments:?}");
        assert!(exit.stderr.contains("--help"), "{arguments:?}: {}", exit.stderr);
    }
    Ok(())
}

#[test]
fn a_replay_that_cannot_be_read_is_refused_with_its_name() -> Result<()> {
    let exit = run(simulated().args(["--replay", "/nonexistent/log"]))?;
    assert_eq!(exit.code, Some(3));
    assert!(exit.stderr.contains("/nonexistent/log"), "{}", exit.stderr);
    Ok(())
}

#[test]
fn a_closed_stdin_ends_the_process_with_0_whatever_runs() -> Result<()> {
    let mut idle = Agent::simulated(&[])?;
    idle.close();
    assert_eq!(idle.wait()?.code(), Some(0));
    let mut busy = Agent::simulated(&[])?;
    busy.start(
        "tools/call",
        &json!({"name": "watch_gpu_events", "arguments": {"duration_s": 3600}}),
    )?;
    busy.close();
    assert_eq!(busy.wait()?.code(), Some(0));
    let mut unopened = Agent::spawn(&mut simulated())?;
    unopened.close();
    assert_eq!(unopened.wait()?.code(), Some(0));
    Ok(())
}

#[test]
fn sigterm_and_sigint_end_it_with_0_even_when_nobody_reads() -> Result<()> {
    for signal in [Signal::TERM, Signal::INT] {
        let mut session = Agent::simulated(&[])?;
        session.start(
            "tools/call",
            &json!({"name": "watch_gpu_events", "arguments": {"duration_s": 3600}}),
        )?;
        let pid = Pid::from_raw(i32::try_from(session.pid())?).expect("a process has an id");
        kill_process(pid, signal)?;
        assert_eq!(session.wait()?.code(), Some(0), "{signal:?}");
    }
    Ok(())
}

#[test]
fn pause_waits_for_sigterm_and_ends_with_0() -> Result<()> {
    let mut pause = Agent::spawn(agent().arg("pause"))?;
    // Until its handlers are in place a signal would kill it, and the exit code say so.
    while !std::fs::read_to_string(format!("/proc/{}/status", pause.pid()))?
        .lines()
        .any(catches_sigterm)
    {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    kill_process(
        Pid::from_raw(i32::try_from(pause.pid())?).expect("a process has an id"),
        Signal::TERM,
    )?;
    assert_eq!(pause.wait()?.code(), Some(0));
    Ok(())
}

/// Whether this line of /proc/<pid>/status says that SIGTERM (15) is caught.
fn catches_sigterm(line: &str) -> bool {
    let caught =
        line.strip_prefix("SigCgt:").and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask & (1 << 14) != 0)
}
