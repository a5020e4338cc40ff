//! The recorder: what joins it, what it keeps, and how each of them ends.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    process::{Command, Stdio},
};

use anyhow::Result;
use e2e::{Agent, Recorder, recorder, run};
use rustix::process::Signal;
use serde_json::{Value, json};

fn xid(code: u32, text: &str) -> String {
    format!("4,1,{code},-;NVRM: Xid (PCI:0000:3b:00): {code}, pid={code}, name=e2e, {text}")
}

fn codes(answer: &Value) -> Vec<u64> {
    let events = answer["events"].as_array().into_iter().flatten();
    events.filter_map(|event| event["xid"]["code"].as_u64()).collect()
}

fn watch(session: &mut Agent, since: &Value, count: usize) -> Result<Value> {
    session.ask("watch_gpu_events", &json!({"since": since, "max_events": count, "duration_s": 20}))
}

#[test]
fn sessions_see_what_happened_before_them_and_a_cursor_outlives_the_session() -> Result<()> {
    let (recorder, mut lines) = Recorder::replaying()?;
    for code in [48, 63, 94] {
        writeln!(lines, "{}", xid(code, "x"))?;
    }
    let mut first = recorder.session()?;
    let seen = watch(&mut first, &json!("0-0"), 3)?;
    assert_eq!(codes(&seen), [48, 63, 94]);
    first.close();
    assert_eq!(first.wait()?.code(), Some(0));
    writeln!(lines, "{}", xid(45, "x"))?;
    let mut second = recorder.session()?;
    assert_eq!(codes(&watch(&mut second, &seen["next_cursor"], 1)?), [45]);
    let status = second.ask("get_agent_status", &json!({}))?;
    assert_eq!(status["recorder"]["sessions"], 1);
    assert_eq!(status["recorder"]["journal"], recorder.journal().to_string_lossy().as_ref());
    assert_eq!(status["recorder"]["journal_failure"], Value::Null);
    Ok(())
}

#[test]
fn a_recorder_that_was_killed_goes_on_with_what_it_had_written() -> Result<()> {
    let (recorder, mut lines) = Recorder::replaying()?;
    for code in 1..=3 {
        writeln!(lines, "{}", xid(code, "x"))?;
    }
    let mut since = watch(&mut recorder.session()?, &json!("0-0"), 3)?["next_cursor"].clone();
    // These are written down for certain.
    let (_, dir) = recorder.end(Signal::TERM)?;
    let (recorder, mut lines) = Recorder::replaying_in(dir)?;
    let mut session = recorder.session()?;
    let mut told = vec![1, 2, 3];
    for code in 4..=40 {
        writeln!(lines, "{}", xid(code, &"y".repeat(400)))?;
        let seen = watch(&mut session, &since, 1)?;
        told.extend(codes(&seen));
        since = seen["next_cursor"].clone();
    }
    assert_eq!(told, (1..=40).collect::<Vec<_>>());
    // In the middle of its writing, as likely as not.
    let (status, dir) = recorder.end(Signal::KILL)?;
    assert_eq!(status.code(), None);
    let recorder = Recorder::start_in(dir, &["--ebpf", "off"])?;
    let mut session = recorder.session()?;
    let kept = session
        .ask("watch_gpu_events", &json!({"since": "0-0", "max_events": 100, "duration_s": 0}))?;
    // Some of the last may be missing, and nothing before or in between.
    let kept = codes(&kept);
    assert!(kept.len() >= 3, "{kept:?}");
    assert_eq!(kept, (1..=kept.len() as u64).collect::<Vec<_>>());
    assert_eq!(fs::metadata(recorder.journal())?.permissions().mode() & 0o777, 0o600);
    Ok(())
}

#[test]
fn sigterm_ends_it_and_everything_it_had_heard_is_there_the_next_time() -> Result<()> {
    let (recorder, mut lines) = Recorder::replaying()?;
    let mut session = recorder.session()?;
    for code in [13, 31, 79] {
        writeln!(lines, "{}", xid(code, "x"))?;
    }
    let seen = watch(&mut session, &json!("0-0"), 3)?;
    let socket = recorder.socket();
    let (status, dir) = recorder.end(Signal::TERM)?;
    assert_eq!(status.code(), Some(0));
    assert!(!socket.exists());
    // Its sessions have ended with it, which was not their clients' wish.
    assert_eq!(session.wait()?.code(), Some(1));
    let recorder = Recorder::start_in(dir, &["--ebpf", "off"])?;
    let mut session = recorder.session()?;
    let again = session
        .ask("watch_gpu_events", &json!({"since": "0-0", "max_events": 100, "duration_s": 0}))?;
    assert_eq!(again["events"], seen["events"]);
    let analysis = session.ask("analyze_xid_errors", &json!({}))?;
    assert_eq!(analysis["event_count"], 3);
    // The cursor of the run before this one.
    let rest = json!({"since": seen["next_cursor"], "duration_s": 0});
    assert_eq!(codes(&session.ask("watch_gpu_events", &rest)?), [] as [u64; 0]);
    Ok(())
}

#[test]
fn a_hundred_sessions_hear_the_same_and_one_that_does_not_read_is_cut_off() -> Result<()> {
    let (recorder, mut lines) = Recorder::replaying()?;
    // Asks for more than its pipe holds, and reads none of it.
    let mut stalled = recorder
        .session_command()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params":
        {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "e2e", "version": "1"}}});
    let mut input = stalled.stdin.take().expect("piped");
    writeln!(input, "{initialize}")?;
    for id in 1..40 {
        writeln!(input, "{}", json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"}))?;
    }
    let mut sessions = (0..100).map(|_| recorder.session()).collect::<Result<Vec<_>>>()?;
    let arguments = json!({"max_events": 5, "duration_s": 30});
    let params = json!({"name": "watch_gpu_events", "arguments": arguments, "_meta": {"progressToken": "t"}});
    let ids = sessions
        .iter_mut()
        .map(|session| {
            let id = session.start("tools/call", &params)?;
            // Answered after the watch has begun.
            session.ask("get_agent_status", &json!({}))?;
            Ok(id)
        })
        .collect::<Result<Vec<_>>>()?;
    for code in 1..=5 {
        writeln!(lines, "{}", xid(code, "x"))?;
    }
    for (session, id) in sessions.iter_mut().zip(ids) {
        assert_eq!(codes(&session.answer(id)?["result"]["structuredContent"]), [1, 2, 3, 4, 5]);
    }
    assert_eq!(e2e::wait(&mut stalled)?.code(), Some(1));
    let mut why = String::new();
    stalled.stderr.take().expect("piped").read_to_string(&mut why)?;
    assert!(why.contains("cut off") && why.contains("read nothing"), "{why}");
    drop(input);
    let mut first = sessions.swap_remove(0);
    while first.ask("get_agent_status", &json!({}))?["recorder"]["sessions"] != 100 {}
    Ok(())
}

#[test]
fn a_client_that_never_reads_the_socket_itself_is_cut_off_with_a_word_in_the_log() -> Result<()> {
    let (recorder, _lines) = Recorder::replaying()?;
    let mut client = UnixStream::connect(recorder.socket())?;
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params":
        {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {}}}});
    // Until nothing more fits into either direction, or the recorder has had enough.
    client.set_write_timeout(Some(e2e::PATIENCE))?;
    for _ in 0..100_000 {
        if writeln!(client, "{list}").is_err() {
            break;
        }
    }
    while !recorder.log()?.contains("cut off") {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    recorder.session()?;
    Ok(())
}

#[test]
fn mcp_on_the_socket_itself_is_served() -> Result<()> {
    let (recorder, _lines) = Recorder::replaying()?;
    // One that connects and says nothing is in nobody's way.
    let _silent = UnixStream::connect(recorder.socket())?;
    let mut client = UnixStream::connect(recorder.socket())?;
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params":
        {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "e2e", "version": "1"}}});
    writeln!(client, "{initialize}")?;
    let mut answer = String::new();
    BufReader::new(client.try_clone()?).read_line(&mut answer)?;
    let answer: Value = serde_json::from_str(&answer)?;
    assert_eq!(answer["result"]["serverInfo"]["name"], "k8s-gpu-mcp-server");
    for garbage in ["\n", "{}\n", "{\"join\":{}}\n", "\u{0}\u{1}\n", "[[[[\n"] {
        let mut client = UnixStream::connect(recorder.socket())?;
        client.write_all(garbage.as_bytes())?;
    }
    recorder.session()?;
    Ok(())
}

#[test]
fn the_socket_is_for_one_user_and_one_recorder() -> Result<()> {
    let (first, _lines) = Recorder::replaying()?;
    let there = fs::symlink_metadata(first.socket())?;
    assert!(there.file_type().is_socket());
    assert_eq!(there.permissions().mode() & 0o777, 0o600);
    let socket = first.socket().to_string_lossy().into_owned();
    let journal = first.journal().to_string_lossy().into_owned();
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("a file").to_string_lossy().into_owned();
    fs::write(&file, "of somebody")?;
    let below = format!("{file}/agent.sock");
    let long = format!("{}/{}/agent.sock", dir.path().display(), "x".repeat(120));
    for (arguments, why) in [
        (vec!["--socket", &socket], "another recorder listens"),
        (vec!["--socket", &file], "no socket"),
        (vec!["--socket", &below], "--socket"),
        (vec!["--socket", &long], "--socket"),
        (vec!["--journal", &journal], "another agent keeps its journal"),
        (vec!["--journal", "/proc/journal.redb"], "--journal"),
    ] {
        let exit =
            run(&mut recorder::command(&dir, &[&["--ebpf", "off"], &arguments[..]].concat()))?;
        assert_eq!(exit.code, Some(3), "{arguments:?}: {}", exit.stderr);
        assert!(exit.stderr.contains(why), "{arguments:?}: {}", exit.stderr);
    }
    assert_eq!(fs::read_to_string(&file)?, "of somebody");
    first.session()?;
    Ok(())
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_in_nobody_s_way() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::create_dir(dir.path().join("run"))?;
    let socket = dir.path().join("run/agent.sock");
    drop(UnixListener::bind(&socket)?);
    // A session finds that nobody listens, and is complete by itself.
    let mut alone = e2e::simulated();
    let mut alone = Agent::spawn(alone.args(["--ebpf", "off", "--socket"]).arg(&socket))?;
    alone.initialize()?;
    assert_eq!(alone.ask("get_agent_status", &json!({}))?["recorder"], Value::Null);
    Recorder::start_in(dir, &["--ebpf", "off"])?.session()?;
    Ok(())
}

#[test]
fn what_a_session_demands_it_gets_or_is_told() -> Result<()> {
    let (recorder, _lines) = Recorder::replaying()?;
    let exit = run(recorder.session_command().args(["--ebpf", "on"]))?;
    assert_eq!(exit.code, Some(3), "{}", exit.stderr);
    assert!(exit.stderr.contains("--ebpf on"), "{}", exit.stderr);
    // Another library than the recorder's: by itself.
    let mut other = e2e::agent();
    other
        .args(["--ebpf", "off", "--nvml-library", "/nonexistent", "--socket"])
        .arg(recorder.socket());
    let mut other = Agent::spawn(&mut other)?;
    other.initialize()?;
    assert_eq!(other.ask("get_agent_status", &json!({}))?["recorder"], Value::Null);
    let mut operator = Agent::spawn(recorder.session_command().args(["--mode", "operator"]))?;
    operator.initialize()?;
    let mut reader = recorder.session()?;
    for (session, mode) in [(&mut operator, "operator"), (&mut reader, "read-only")] {
        assert_eq!(session.ask("get_agent_status", &json!({}))?["mode"], mode);
    }
    Ok(())
}

#[test]
fn a_journal_that_cannot_be_read_is_set_aside_and_told() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::create_dir(dir.path().join("run"))?;
    let journal = dir.path().join("run/journal.redb");
    fs::write(&journal, "no journal at all")?;
    let recorder = Recorder::start_in(dir, &["--ebpf", "off"])?;
    recorder.session()?;
    assert_eq!(
        fs::read_to_string(recorder.journal().with_extension("redb.unreadable"))?,
        "no journal at all"
    );
    assert!(recorder.log()?.contains("cannot be read"), "{}", recorder.log()?);
    Ok(())
}

#[test]
fn on_a_full_disk_it_goes_on_in_memory_and_says_so() -> Result<()> {
    const TEST: &str = "record::on_a_full_disk_it_goes_on_in_memory_and_says_so";
    let dir = tempfile::tempdir()?;
    let run = dir.path().join("run");
    fs::create_dir(&run)?;
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1600k", "tmpfs"])
        .arg(&run)
        .stderr(Stdio::null())
        .status();
    if !mount.is_ok_and(|status| status.success()) {
        crate::skip(TEST, "needs the right to mount a tmpfs");
        return Ok(());
    }
    let unmount = Unmount(run.clone());
    let fifo = dir.path().join("lines");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into())?;
    let recorder =
        Recorder::start_in(dir, &["--ebpf", "off", "--replay", &fifo.to_string_lossy()])?;
    let mut lines = fs::OpenOptions::new().write(true).open(&fifo)?;
    let mut session = recorder.session()?;
    // Somebody takes what is left of the disk.
    let hog = run.join("hog");
    let mut file = fs::File::create(&hog)?;
    while file.write_all(&[1; 4096]).is_ok() {}
    for code in 1..=3000 {
        writeln!(lines, "{}", xid(code % 50, &"z".repeat(500)))?;
    }
    let failure = |session: &mut Agent| -> Result<Value> {
        Ok(session.ask("get_agent_status", &json!({}))?["recorder"]["journal_failure"].clone())
    };
    while failure(&mut session)? == Value::Null {}
    assert!(failure(&mut session)?.as_str().is_some_and(|why| why.contains("journal.redb")));
    while session.ask("analyze_xid_errors", &json!({"limit": 1}))?["event_count"] != 3000 {}
    fs::remove_file(&hog)?;
    drop((session, recorder, unmount));
    Ok(())
}

/// Takes a mount away again.
struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there keeps it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn as_pid_1_both_end_at_once_and_reap() -> Result<()> {
    const TEST: &str = "record::as_pid_1_both_end_at_once_and_reap";
    for role in ["record", "pause"] {
        let dir = tempfile::tempdir()?;
        let agent = e2e::agent_path();
        // PID 1 of a namespace is the agent; beside it a shell leaves an orphan, waits for it to be reaped, and ends the
        // agent, which as PID 1 hears no signal before it has asked for it.
        let script = format!(
            "mount -t proc proc /proc; (sh -c 'sleep 0.1 & exit' ; n=0; while grep -l Z /proc/[0-9]*/stat >/dev/null 2>&1 || \
             grep -q sleep /proc/[0-9]*/comm 2>/dev/null; do n=$((n+1)); [ $n -gt 500 ] && echo zombie && break; sleep 0.01; done; \
             echo reaped; while :; do kill -TERM 1; sleep 0.05; done) & exec {} {role} {}",
            agent.display(),
            if role == "record" {
                format!("--ebpf off --socket {}/run/agent.sock", dir.path().display())
            } else {
                String::new()
            },
        );
        let output = Command::new("unshare")
            .args(["--pid", "--fork", "--mount", "sh", "-c", &script])
            .stdin(Stdio::null())
            .output()?;
        if String::from_utf8_lossy(&output.stderr).contains("unshare failed") {
            crate::skip(TEST, "needs the right to make a PID namespace");
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!((output.status.code(), said.trim()), (Some(0), "reaped"), "{role}: {output:?}");
    }
    Ok(())
}
