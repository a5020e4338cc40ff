//! What the agent tells of processes that work with the driver's devices ([`load`](crate::load)).

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use e2e::{Agent, PATIENCE};
use serde_json::{Value, json};

use crate::{Outcome, Session, machine, standin};

/// Each function that is followed takes the kernel a wait for every task, and an emulated machine takes its time for that.
const ATTACHING: Duration = Duration::from_mins(2);

/// A load that has done its work and still has its devices, until this is dropped.
struct Load {
    /// Who has them: its own number, or its child's.
    pid: u32,
    /// Its end is the load's.
    stdin: Option<ChildStdin>,
    child: Child,
}

impl Load {
    fn start(what: &str, groups: &[PathBuf]) -> Result<Self> {
        let mut command = Command::new("/init");
        command.args(["load", what]).args(groups);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().context("no stdout")?);
        let mut said = String::new();
        BufReader::new(stdout).read_line(&mut said)?;
        let pid = said
            .trim()
            .strip_prefix("ready ")
            .with_context(|| format!("load {what} said {said:?}"))?;
        Ok(Self { pid: pid.parse()?, stdin, child })
    }

    fn end(mut self) -> Result<()> {
        self.stdin = None;
        let status = self.child.wait()?;
        ensure!(status.success(), "the load ended with {status}");
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stdin = None;
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every load does what it is there for, before anybody watches.
pub fn standin(_: &mut Session) -> Result<Outcome> {
    for what in ["open", "ioctl", "failed", "fork"] {
        Load::start(what, &[])?.end().with_context(|| format!("load {what}"))?;
    }
    let mut blocked = Load::start("block", &[])?;
    standin::wait_until_blocked(blocked.pid)?;
    ensure!(blocked.child.try_wait()?.is_none(), "the call that is to block came back");
    standin::wake()?;
    blocked.end()?;
    let majors = std::fs::read_to_string("/proc/devices")?;
    let majors = majors.lines().filter(|line| line.contains("nvidia"));
    Ok(Outcome("works".to_owned(), majors.collect::<Vec<_>>().join(",")))
}

/// The session, once its agent traces devices.
fn tracing(session: &mut Session) -> Result<&mut Agent> {
    let agent = session.agent()?;
    let end = Instant::now() + ATTACHING;
    loop {
        let tracer = tracer(agent)?;
        match tracer["state"].as_str() {
            Some("live") => return Ok(agent),
            Some("starting") if Instant::now() < end => sleep(Duration::from_millis(500)),
            _ => bail!("devices are not traced: {tracer}"),
        }
    }
}

/// How the source stands that traces devices.
fn tracer(agent: &mut Agent) -> Result<Value> {
    let sources = agent.ask("get_agent_status", &json!({}))?["sources"].clone();
    let mut sources = sources.as_array().into_iter().flatten();
    let tracer = sources.find(|source| source["name"] == "device_tracer");
    tracer.cloned().context("no source device_tracer")
}

/// The first event of the kind that `wanted` accepts.
fn event(agent: &mut Agent, kind: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut since = json!("0-0");
    let end = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while Instant::now() < end {
        let arguments = json!({"kinds": [kind], "since": since, "max_events": 1, "duration_s": 5});
        let watched = agent.ask("watch_gpu_events", &arguments)?;
        for event in watched["events"].as_array().into_iter().flatten() {
            if wanted(event) {
                return Ok(event.clone());
            }
            seen.push(event.clone());
        }
        since = watched["next_cursor"].clone();
    }
    bail!("no such {kind} in {PATIENCE:?}; there came {}", Value::Array(seen))
}

/// Whether the event is that process's.
fn of(pid: u32) -> impl Fn(&Value) -> bool {
    move |event| event["process"]["pid"] == pid
}

/// By what means the agent hears of calls, as its sources say.
pub fn attach(session: &mut Session) -> Result<Outcome> {
    let agent = tracing(session)?;
    let detail = tracer(agent)?["detail"].to_string();
    let word = if detail.contains("fentry and fexit") { "fentry" } else { "tracepoints" };
    Ok(Outcome(word.to_owned(), detail))
}

pub fn open(session: &mut Session) -> Result<Outcome> {
    let agent = tracing(session)?;
    let load = Load::start("open", &[])?;
    let pid = load.pid;
    let opened = event(agent, "gpu_open", of(pid))?;
    let processes = agent.ask("get_gpu_processes", &json!({}))?;
    ensure!(has_pid(&processes, pid), "get_gpu_processes lacks {pid}: {processes}");
    load.end()?;
    event(agent, "gpu_close", of(pid))?;
    let processes = agent.ask("get_gpu_processes", &json!({}))?;
    ensure!(!has_pid(&processes, pid), "get_gpu_processes still has {pid}: {processes}");
    Ok(Outcome("told".to_owned(), opened["gpu"].to_string()))
}

/// Whether the answer has a process of that number anywhere.
fn has_pid(answer: &Value, pid: u32) -> bool {
    match answer {
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| (name == "pid" && *value == pid) || has_pid(value, pid)),
        Value::Array(items) => items.iter().any(|item| has_pid(item, pid)),
        _ => false,
    }
}

pub fn ioctl(session: &mut Session) -> Result<Outcome> {
    let agent = tracing(session)?;
    let params = json!({"name": "trace_driver_calls", "arguments": {"duration_s": 3}});
    let asked = agent.start("tools/call", &params)?;
    // Its answer comes after the trace has begun: both are taken in order.
    agent.ask("get_agent_status", &json!({}))?;
    let load = Load::start("ioctl", &[])?;
    let answer = agent.answer(asked)?;
    let traced = &answer["result"]["structuredContent"];
    ensure!(has_pid(traced, load.pid), "no call of {}: {answer}", load.pid);
    ensure!(traced.to_string().contains("NV_ESC_RM_CONTROL"), "without the call's name: {traced}");
    load.end()?;
    Ok(Outcome("told".to_owned(), String::new()))
}

pub fn failed(session: &mut Session) -> Result<Outcome> {
    let agent = tracing(session)?;
    let load = Load::start("failed", &[])?;
    let pid = load.pid;
    for sign in ["EIO", "EINVAL", "NV_ERR_GPU_IS_LOST"] {
        event(agent, "call_failed", |event| of(pid)(event) && event.to_string().contains(sign))
            .with_context(|| format!("the call that failed with {sign}"))?;
    }
    load.end()?;
    Ok(Outcome("told".to_owned(), "an open, an errno, a status".to_owned()))
}

pub fn stall(session: &mut Session) -> Result<Outcome> {
    let agent = tracing(session)?;
    let load = Load::start("block", &[])?;
    let stalled = event(agent, "call_stalled", of(load.pid));
    standin::wait_until_blocked(load.pid)?;
    standin::wake()?;
    load.end()?;
    Ok(Outcome("told".to_owned(), stalled?["gpu"].to_string()))
}

/// A process that was given the device by its parent has it as much as one that opened it.
pub fn fork(session: &mut Session) -> Result<Outcome> {
    let agent = tracing(session)?;
    let load = Load::start("fork", &[])?;
    event(agent, "gpu_open", of(load.pid))?;
    let processes = agent.ask("get_gpu_processes", &json!({}))?;
    ensure!(has_pid(&processes, load.pid), "get_gpu_processes lacks {}: {processes}", load.pid);
    load.end()?;
    Ok(Outcome("told".to_owned(), String::new()))
}

pub fn attribution_v2(session: &mut Session) -> Result<Outcome> {
    attribution(session, &[machine::container_v2()?])
}

pub fn attribution_v1(session: &mut Session) -> Result<Outcome> {
    attribution(session, &machine::container_v1()?)
}

fn attribution(session: &mut Session, groups: &[PathBuf]) -> Result<Outcome> {
    let agent = tracing(session)?;
    let load = Load::start("open", groups)?;
    let opened = event(agent, "gpu_open", of(load.pid))?;
    load.end()?;
    let told = opened.to_string();
    ensure!(told.contains(machine::POD), "without the pod's uid: {told}");
    ensure!(told.contains(machine::CONTAINER), "without the container's id: {told}");
    Ok(Outcome("named".to_owned(), String::new()))
}
