//! What the pod's log says of sessions: the recorder's of those that joined it, and PID 1's of those by themselves.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, pipe},
    os::fd::AsFd as _,
    process::{Child, Command, Stdio},
    thread::JoinHandle,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use e2e::{Agent, PATIENCE, Recorder, agent_path, simulator};
use rustix::{
    fs::{Gid, Uid, fchown},
    process::{Pid, Signal, kill_process},
};
use serde_json::{Value, json};

use crate::privileges::NOBODY;

/// The lines of the audit in a log that has others too.
fn audit(log: &[String]) -> Result<Vec<Value>> {
    let lines = log.iter().filter(|line| line.contains("\"audit\""));
    lines.map(|line| serde_json::from_str(line).with_context(|| line.clone())).collect()
}

fn lines(log: &str) -> Vec<String> {
    log.lines().map(ToOwned::to_owned).collect()
}

/// What is told of a call, without its figures.
fn told(line: &Value) -> String {
    let of = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
    format!("{} {} {}", of("audit"), of("tool"), of("outcome"))
}

#[test]
fn a_recorder_tells_what_its_sessions_ask_and_when_they_are_gone() -> Result<()> {
    let recorder = Recorder::start(&["--ebpf", "off"])?;
    let mut session = Agent::spawn(recorder.session_command().args(["--mode", "operator"]))?;
    session.initialize()?;
    session.ask("get_gpu_health", &json!({}))?;
    session.call("get_gpu_health", &json!({"gpu": 99}))?;
    session.request("tools/call", &json!({"name": "rm_rf", "arguments": {"path": "/\n"}}))?;
    session.request("resources/read", &json!({"uri": "gpu://xid/79"}))?;
    let watch = json!({"name": "watch_gpu_events", "arguments": {"duration_s": 600}});
    let id = session.start("tools/call", &watch)?;
    session.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}))?;
    session.ask("get_agent_status", &json!({}))?;
    kill(session.pid())?;
    let end = Instant::now() + PATIENCE;
    while !recorder.log()?.contains("session_ended") {
        assert!(Instant::now() < end, "{}", recorder.log()?);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let mut other = recorder.session()?;
    other.start("tools/call", &watch)?;
    other.ask("get_agent_status", &json!({}))?;
    let (_, dir) = recorder.end(Signal::TERM)?;
    let log = fs::read_to_string(dir.path().join("log"))?;
    let lines = audit(&lines(&log))?;
    let is = |line: &&Value| line["session"] == lines[0]["session"];
    let first: Vec<_> = lines.iter().filter(is).collect();
    let all: Vec<_> = first.iter().map(|line| told(line)).collect();
    let expected = [
        "session_started - -",
        "tool_call get_gpu_health ok",
        "tool_call get_gpu_health refused",
        "tool_call rm_rf error",
        "request - ok",
        "tool_call watch_gpu_events cancelled",
        "tool_call get_agent_status ok",
        "session_ended - -",
    ];
    assert_eq!(all, expected);
    let client = json!({"name": "e2e", "version": "1"});
    let begun =
        (&first[0]["client"], &first[0]["mode"], &first[0]["joined"], &first[0]["protocol"]);
    assert_eq!(begun, (&client, &json!("operator"), &json!(true), &json!("2025-11-25")));
    assert_eq!(first[3]["arguments"], json!({"path": "/\n"}));
    assert!(first[2]["error"].as_str().is_some_and(|why| why.contains("99")), "{}", first[2]);
    assert_eq!(
        (&first[4]["method"], &first[4]["arguments"]),
        (&json!("resources/read"), &json!({"uri": "gpu://xid/79"}))
    );
    assert_eq!(first[7]["calls"], 5);
    // The other ended with the recorder, which told that too.
    let rest: Vec<_> = lines.iter().filter(|line| !is(line)).map(told).collect();
    let expected = [
        "session_started - -",
        "tool_call get_agent_status ok",
        "tool_call get_agent_status ok",
        "tool_call watch_gpu_events unanswered",
        "session_ended - -",
    ];
    assert_eq!(rest, expected);
    Ok(())
}

/// A program as PID 1 of a PID namespace, and all that comes out of its stderr.
struct Pod {
    unshare: Child,
    first: u32,
    log: JoinHandle<String>,
}

/// The user and the rights of both, as options of setpriv.
type Rights = &'static [&'static str];

const ROOT: Rights = &["--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs"];
const TRACER: Rights =
    &["--bounding-set", "-all,+bpf,+perfmon", "--inh-caps", "-all", "--no-new-privs"];

impl Pod {
    /// `stdio`: whose the pipe is. A runtime gives it to the container's user.
    fn start(first: &[&str], rights: Rights, stdio: u32) -> Result<Self> {
        let (mut reader, stderr) = pipe()?;
        fchown(stderr.as_fd(), Some(Uid::from_raw(stdio)), Some(Gid::from_raw(stdio)))?;
        let mut unshare = Command::new("unshare")
            .args(["--pid", "--fork", "--mount-proc", "setpriv"])
            .args(rights)
            .args(first)
            .stdin(Stdio::null())
            .stderr(stderr)
            .spawn()?;
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            // What is no UTF-8 fails where the log is read.
            let _ = reader.read_to_string(&mut log);
            log
        });
        // Until then it is setpriv.
        let is_first = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.starts_with(first[0]))
        };
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(first) = child(unshare.id()).filter(is_first) {
                return Ok(Self { unshare, first, log });
            }
            if unshare.try_wait()?.is_some() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        bail!("no PID 1: {}", log.join().unwrap_or_default())
    }

    /// A session beside it.
    fn session(&self, rights: Rights) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--pid", "--mount", "--target", &self.first.to_string(), "setpriv"])
            .args(rights);
        command.arg(agent_path()).args([
            "--ebpf",
            "off",
            "--kernel-log",
            "off",
            "--nvml-mode",
            "simulated",
        ]);
        command.arg("--nvml-library").arg(simulator());
        command
    }

    /// Ends it with all that is in it; what came out of its stderr, but for what `unshare` says of its own end.
    fn end(mut self) -> Result<Vec<String>> {
        kill(self.first)?;
        self.unshare.wait()?;
        let log = self.log.join().ok().context("the log")?;
        Ok(lines(&log).into_iter().filter(|line| !line.starts_with("unshare: ")).collect())
    }
}

fn kill(pid: u32) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("a process has an id")?;
    Ok(kill_process(pid, Signal::KILL)?)
}

fn child(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn cannot(test: &str) -> bool {
    let made = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "setpriv", "true"])
        .status();
    let can = made.is_ok_and(|status| status.success());
    if !can {
        crate::skip(test, "needs unshare, setpriv and the right to make a PID namespace");
    }
    !can
}

fn pause() -> [String; 2] {
    [agent_path().to_string_lossy().into_owned(), "pause".to_owned()]
}

#[test]
fn sessions_by_themselves_write_to_the_log_of_pid_1_with_the_rights_of_each_mode() -> Result<()> {
    if cannot(
        "audit::sessions_by_themselves_write_to_the_log_of_pid_1_with_the_rights_of_each_mode",
    ) {
        return Ok(());
    }
    let [agent, pause] = pause();
    for (rights, user) in [(ROOT, 0), (TRACER, 0), (NOBODY, 65532)] {
        let pod = Pod::start(&[&agent, &pause], rights, user)?;
        // At once, with lines nearly as long as they get.
        let sessions = (0..4).map(|_| {
            let mut session = Agent::spawn(&mut pod.session(rights))?;
            session.initialize()?;
            let gpu = "x\u{9b}".repeat(2000);
            let calls = (0..20).map(|_| {
                session.start(
                    "tools/call",
                    &json!({"name": "get_gpu_health", "arguments": {"gpu": gpu}}),
                )
            });
            let calls = calls.collect::<Result<Vec<_>>>()?;
            Ok((session, calls))
        });
        for (mut session, calls) in sessions.collect::<Result<Vec<_>>>()? {
            for call in calls {
                session.answer(call)?;
            }
            session.close();
            session.wait()?;
        }
        // One that is killed has no end.
        let mut killed = Agent::spawn(&mut pod.session(rights))?;
        killed.initialize()?;
        killed.ask("get_agent_status", &json!({}))?;
        let pid = child(killed.pid()).context("nsenter's child")?;
        kill(pid)?;
        killed.wait()?;
        let log = pod.end()?;
        let lines = audit(&log)?;
        let mut counts = BTreeMap::new();
        for line in &lines {
            *counts.entry(told(line)).or_insert(0) += 1;
        }
        let expected = [
            ("session_ended - -", 4),
            ("session_started - -", 5),
            ("tool_call get_agent_status ok", 1),
            ("tool_call get_gpu_health refused", 80),
        ];
        let expected = expected.map(|(what, count)| (what.to_owned(), count));
        assert_eq!((counts, log.len()), (expected.into(), 90), "{rights:?}");
        assert!(lines.iter().all(|line| line["lost"] == Value::Null && line["joined"] != true));
    }
    Ok(())
}

#[test]
fn where_there_is_no_such_log_the_session_goes_on_without() -> Result<()> {
    if cannot("audit::where_there_is_no_such_log_the_session_goes_on_without") {
        return Ok(());
    }
    let [agent, pause] = pause();
    // PID 1 is another program, or another user's, or its stderr is: of the last the session says so.
    for (first, rights, stdio, said) in [
        (vec!["sleep", "1000"], ROOT, 0, 0),
        (vec![&*agent, &*pause], ROOT, 0, 0),
        (vec![&*agent, &*pause], NOBODY, 0, 1),
    ] {
        let pod = Pod::start(&first, rights, stdio)?;
        let stderr = tempfile::NamedTempFile::new()?;
        let mut session = Agent::spawn(pod.session(NOBODY).stderr(stderr.reopen()?))?;
        session.initialize()?;
        for _ in 0..3 {
            session.ask("get_gpu_health", &json!({}))?;
        }
        session.close();
        session.wait()?;
        assert_eq!(pod.end()?, [""; 0], "{first:?}");
        let warned = BufReader::new(fs::File::open(stderr.path())?).lines().map_while(Result::ok);
        let warned: Vec<_> = warned.filter(|line| line.contains("pod's log")).collect();
        assert_eq!(warned.len(), said, "{first:?}: {warned:?}");
    }
    Ok(())
}
