//! What the agent hears of the kernel: lines from every context, a process's own, the driver's tracepoint, the log.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use e2e::{Agent, PATIENCE, print_to_kernel};
use serde_json::{Value, json};

use crate::{
    Outcome, Session,
    standin::{self, Context},
};

/// A line of a real log (`tests/kernel-lines/xid.log`), each of a GPU of its own, and where it is printed.
pub struct Printed {
    from: Context,
    gpu: &'static str,
    code: u32,
    line: &'static str,
}

pub const PROCESS: Printed = Printed {
    from: Context::Process,
    gpu: "0000:ed:00.0",
    code: 45,
    line: "NVRM: Xid (PCI:0000:ed:00): 45, pid=1818992, name=python3, Ch 0000000c caused by previous Xid 145",
};
pub const INTERRUPT: Printed = Printed {
    from: Context::Interrupt,
    gpu: "0000:91:00.0",
    code: 79,
    line: "NVRM: Xid (PCI:0000:91:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
};
pub const SOFTIRQ: Printed = Printed {
    from: Context::Softirq,
    gpu: "0000:0a:00.0",
    code: 62,
    line: "NVRM: Xid (PCI:0000:0a:00): 62, pid='<unknown>', name=<unknown>, 2023b230 20238a3a 2023e8b6 2023eac4 2023ec3c 2023ea86 00000000 00000000",
};
pub const WORKQUEUE: Printed = Printed {
    from: Context::Workqueue,
    gpu: "0000:38:00.0",
    code: 43,
    line: "NVRM: Xid (PCI:0000:38:00): 43, pid=2924364, name=pt_main_thread, Ch 00000008",
};
/// What a process writes.
const FORGED: Printed = Printed {
    from: Context::Process,
    gpu: "0000:a1:00.0",
    code: 79,
    line: "NVRM: Xid (PCI:0000:a1:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
};

/// How a source of `get_agent_status` stands, once it is settled.
fn source(agent: &mut Agent, name: &str) -> Result<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let status = agent.ask("get_agent_status", &json!({}))?;
        let mut sources = status["sources"].as_array().into_iter().flatten();
        let source = sources
            .find(|source| source["name"] == name)
            .with_context(|| format!("no source {name}: {status}"))?;
        if source["state"] != "starting" || Instant::now() > end {
            return Ok(source.clone());
        }
    }
}

/// The first event of that GPU.
fn event_of(agent: &mut Agent, gpu: &str) -> Result<Value> {
    let arguments = json!({"gpu": gpu, "since": "0-0", "max_events": 1, "duration_s": 20});
    let watched = agent.ask("watch_gpu_events", &arguments)?;
    let event = &watched["events"][0];
    ensure!(!event.is_null(), "no event of {gpu} in 20 s: {watched}");
    Ok(event.clone())
}

fn origin(event: &Value) -> String {
    event["origin"].as_str().unwrap_or("unknown").to_owned()
}

pub fn load(session: &mut Session) -> Result<Outcome> {
    let ebpf = source(session.agent()?, "ebpf")?;
    ensure!(ebpf["state"] == "live", "{ebpf}");
    Ok(Outcome("live".to_owned(), ebpf["detail"].to_string()))
}

/// The session once it hears: it loads its programs while it answers already.
fn hearing(session: &mut Session) -> Result<&mut Agent> {
    let agent = session.agent()?;
    source(agent, "ebpf")?;
    Ok(agent)
}

/// The kernel prints a line, and it is an event; the word is who is said to have written it.
pub fn printed(session: &mut Session, printed: &Printed) -> Result<Outcome> {
    let agent = hearing(session)?;
    standin::print(printed.from, printed.line).context("the stand-in does not print")?;
    heard(agent, printed)
}

/// The same of a process.
pub fn forged(session: &mut Session) -> Result<Outcome> {
    let agent = hearing(session)?;
    print_to_kernel(FORGED.line)?;
    heard(agent, &FORGED)
}

fn heard(agent: &mut Agent, printed: &Printed) -> Result<Outcome> {
    let event = event_of(agent, printed.gpu)?;
    // Before 6.0 with the console's prefix.
    let same = event["raw"].as_str().is_some_and(|raw| raw.ends_with(printed.line));
    ensure!(same, "another line: {event}");
    ensure!(event["xid"]["code"] == printed.code, "another Xid: {event}");
    ensure!(event["sources"] == json!(["ebpf"]), "from elsewhere: {event}");
    Ok(Outcome(origin(&event), format!("while {} ran", event["printed_in"]["name"])))
}

/// The driver's tracepoint fires as it prints the line: one event of two sources.
pub fn tracepoint(session: &mut Session) -> Result<Outcome> {
    let agent = session.agent()?;
    let offered = source(agent, "nvidia_dev_xid")?;
    ensure!(offered["state"] == "live", "{offered}");
    let message = "pid='<unknown>', name=<unknown>, GPU has fallen off the bus.";
    standin::fire(79, message)?;
    let alone = event_of(agent, standin::PCI)?;
    ensure!(alone["sources"] == json!(["nvidia_dev_xid"]), "by the tracepoint alone: {alone}");
    standin::print(
        Context::Process,
        &format!("NVRM: Xid (PCI:{}): 79, {message}", standin::PCI_IN_LINES),
    )?;
    // The line is heard once the next one is.
    standin::print(Context::Process, "NVRM: Xid (PCI:0000:00:1f): 13, pid=1, name=next, x")?;
    event_of(agent, "0000:00:1f.0")?;
    let arguments = json!({"gpu": standin::PCI, "since": "0-0", "duration_s": 0});
    let events = agent.ask("watch_gpu_events", &arguments)?["events"].clone();
    let one = events.as_array().is_some_and(|events| events.len() == 1);
    let both = events[0]["sources"].as_array().is_some_and(|sources| sources.len() == 2);
    ensure!(one && both, "not one event of two sources: {events}");
    Ok(Outcome("confirms".to_owned(), events[0]["sources"].to_string()))
}

/// What the checks before this one had printed is in the kernel's log, with who wrote it, on any kernel.
pub fn kernel_log(_: &mut Session) -> Result<Outcome> {
    let mut agent = Agent::simulated(&["--ebpf", "off", "--kernel-log", "auto"])?;
    for (printed, writer) in [
        (&PROCESS, "kernel"),
        (&INTERRUPT, "kernel"),
        (&SOFTIRQ, "kernel"),
        (&WORKQUEUE, "kernel"),
        (&FORGED, "user"),
    ] {
        let event = event_of(&mut agent, printed.gpu)?;
        ensure!(
            event["raw"] == printed.line && origin(&event) == writer,
            "not {writer}'s: {event}"
        );
        ensure!(event["sources"] == json!(["kernel_log"]), "from elsewhere: {event}");
    }
    let how = source(&mut agent, "kernel_log")?["detail"].to_string();
    Ok(Outcome("read".to_owned(), how))
}
