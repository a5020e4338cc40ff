//! `cargo xtask demo`: a short MCP session as an engineer's assistant would have it.
//!
//! The GPUs are simulated, a node of eight of which one is sick; the kernel is this machine's own.
//! What is shown are the agent's answers, and times that were measured while they came. An answer
//! that does not come ends the demo with an error.

mod client;
mod fault;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::build::{self, Built};
use crate::{paths, ui};
use client::{Answer, Client};
use fault::{Fault, Fifo};

/// How long any answer may take. Far beyond what is normal: this is about hanging.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    build: build::Args,
    /// Replay a recorded Xid even where one could be written to this machine's kernel log.
    #[arg(long)]
    replay: bool,
}

/// The task.
pub(crate) fn run(args: &Args) -> Result<()> {
    let stage = Stage { built: build::run(&args.build)? };
    stage.open();
    let mut session = stage.session(&[])?;
    let ebpf = session.diagnose()?;
    match live_fault(args, &ebpf, session.healthy_gpu.as_deref()) {
        Ok(mut fault) => {
            ui::line(format!(
                "\nNow a fault, heard live. As root this writes ONE line to the kernel log of this \
                 machine, where dmesg and\nany log shipper will show it too:\n\n    {}",
                fault.line
            ));
            session.hear(&mut fault, "written to /dev/kmsg")?;
            session.ask(
                "A process wrote that line and not the driver. Does it count against the GPU?",
                "get_gpu_health",
                &json!({ "gpu": fault.gpu }),
            )?;
            session.end()?;
        }
        Err(why) => {
            session.end()?;
            let fifo = Fifo::new()?;
            let path = fifo.path.to_str().context("the target directory is not UTF-8")?;
            let mut session = stage.session(&["--replay", path])?;
            let mut fault = Fault::replayed(&fifo)?;
            ui::line(format!(
                "\nNow a fault. It is a REPLAY, not this kernel's: {why}.\nA line that was recorded \
                 on a real machine goes to a new session through a pipe:\n\n    {}",
                fault.line
            ));
            session.hear(&mut fault, "written to the pipe")?;
            session.end()?;
        }
    }
    stage.close()
}

/// The fault for the kernel's log, or why there is to be none.
fn live_fault(args: &Args, ebpf: &Ebpf, gpu: Option<&str>) -> Result<Fault, String> {
    if args.replay {
        return Err("that was asked for".to_owned());
    }
    if !ebpf.live {
        return Err(format!("eBPF is not live here ({})", ebpf.detail));
    }
    if let Some(why) = fault::why_not_live() {
        return Err(why);
    }
    let gpu = gpu.ok_or("no GPU of the simulated node is healthy enough to fall off the bus")?;
    Fault::live(gpu).map_err(|error| format!("{error:#}"))
}

/// What the demo plays on.
#[derive(Debug)]
struct Stage {
    built: Built,
}

/// What the agent says of its eBPF source.
#[derive(Debug)]
struct Ebpf {
    live: bool,
    detail: String,
}

impl Stage {
    fn scenario() -> PathBuf {
        paths::root().join("tests/nvml-sim/scenarios/one-sick-gpu.toml")
    }

    fn library(&self) -> PathBuf {
        self.built.sim_dir.join("libnvidia-ml.so.1")
    }

    /// The agent's arguments for the simulated node.
    fn arguments(&self) -> Result<[String; 5]> {
        let library = self.library();
        let library = library.to_str().context("the target directory is not UTF-8")?;
        Ok(["--nvml-mode", "simulated", "--nvml-library", library, "--ebpf=auto"]
            .map(str::to_owned))
    }

    fn session(&self, more: &[&str]) -> Result<Session> {
        let mut agent = Command::new(&self.built.agent);
        agent.args(self.arguments()?).args(more).env("NVML_SIM_SCENARIO", Self::scenario());
        // What this machine's driver said in the past is of GPUs that are not in the demo.
        agent.args(["--kernel-log", "off"]);
        let client = Client::start(&mut agent, PATIENCE)?;
        Ok(Session { client, healthy_gpu: None })
    }

    fn open(&self) {
        ui::line("");
        ui::step("the demo");
        ui::line(format!(
            "The GPUs are SIMULATED: {} answers for NVML, with eight H100 of which one is sick.\n\
             The agent, its MCP session and this machine's kernel are real. Times are from the \
             client's request to the answer.",
            self.library().display()
        ));
    }

    /// How to go on from here.
    fn close(&self) -> Result<()> {
        let (simulated, pod) = ("gpus-simulated", "gpus-of-a-node");
        let config = json!({
            "mcpServers": {
                simulated: {
                    "command": self.built.agent,
                    "args": self.arguments()?,
                    "env": { "NVML_SIM_SCENARIO": Self::scenario() },
                },
                pod: {
                    "command": "kubectl",
                    "args": ["exec", "-i", "-n", "gpu-diagnostics", "POD", "--", "/agent"],
                },
            }
        });
        ui::line("");
        ui::step("your own MCP client");
        ui::line(format!(
            "{config:#}\n\n\"{simulated}\" is what was shown here; without its `args` and `env` it reads the GPUs \
             of the machine it runs on.\n\"{pod}\" opens a session into the agent's pod on a node of a \
             cluster; put the pod's name in place of POD."
        ));
        Ok(())
    }
}

/// A session in which each question is shown with its answer.
#[derive(Debug)]
struct Session {
    client: Client,
    /// The PCI address of a GPU without findings.
    healthy_gpu: Option<String>,
}

impl Session {
    /// What one asks at 3 a.m. about a job that died.
    fn diagnose(&mut self) -> Result<Ebpf> {
        let status =
            self.ask("What can you see from where you are?", "get_agent_status", &json!({}))?;
        let ebpf = ebpf_state(&status.data);
        self.ask("What is in this node?", "get_gpu_inventory", &json!({}))?;
        let health = self.ask(
            "The training job died. Is it the GPUs, and which?",
            "get_gpu_health",
            &json!({}),
        )?;
        let gpus = health.data["gpus"].as_array().cloned().unwrap_or_default();
        let is_healthy = |gpu: &&Value| gpu["verdict"] == "healthy";
        let healthy = gpus.iter().rfind(is_healthy);
        self.healthy_gpu = healthy.and_then(|gpu| gpu["pci_address"].as_str()).map(str::to_owned);
        if gpus.iter().all(|gpu| is_healthy(&gpu)) {
            bail!("the sick GPU of the scenario was not found sick");
        }
        self.ask("Has the driver reported anything?", "analyze_xid_errors", &json!({}))?;
        if !ebpf.live {
            ui::line(format!("\nNo eBPF here ({}); NVML answers all the same.", ebpf.detail));
        }
        Ok(ebpf)
    }

    /// Watches, lets the fault happen, and shows when and how it arrived.
    fn hear(&mut self, fault: &mut Fault, how: &str) -> Result<()> {
        let question = "Tell me of the next fault as it happens.";
        let arguments = json!({ "duration_s": 10, "max_events": 1, "gpu": fault.gpu });
        let call = self.client.start_call("watch_gpu_events", &arguments)?;
        // So that the time below is that of an event and not of a session that just gets going.
        std::thread::sleep(Duration::from_millis(500));
        let struck = fault.strike()?;
        let progress = self.client.progress(call, PATIENCE);
        let progress = progress.with_context(|| format!("the fault {how} was not heard"))?;
        let answer = self.client.answer(call, PATIENCE).context(question)?;
        let took = progress.at.saturating_duration_since(struck);
        let event: Value = serde_json::from_str(&progress.message)
            .with_context(|| format!("the notification is no event: {}", progress.message))?;
        if event["xid"]["code"] != 79 || event["raw"] != fault.line {
            bail!("the fault {how} was heard as something else: {event}");
        }
        show(question, "watch_gpu_events", &arguments, &answer, None);
        let sources = event["sources"].as_array().into_iter().flatten().filter_map(Value::as_str);
        ui::line(format!(
            "   | Measured here: {how}, heard by {}, read by the client as a notification after {}.",
            sources.collect::<Vec<_>>().join(" and "),
            milliseconds(took)
        ));
        self.ask("What was that, and what do I do?", "analyze_xid_errors", &json!({}))?;
        Ok(())
    }

    fn ask(&mut self, question: &str, tool: &str, arguments: &Value) -> Result<Answer> {
        let asked = Instant::now();
        let answer = self.client.call(tool, arguments, PATIENCE);
        let waited = asked.elapsed();
        let answer = answer.with_context(|| format!("no answer to {question:?} ({tool})"))?;
        show(question, tool, arguments, &answer, Some(waited));
        Ok(answer)
    }

    fn end(self) -> Result<()> {
        let status = self.client.close(PATIENCE)?;
        if !status.success() {
            bail!("the client closed the session and the agent ended with {status}");
        }
        Ok(())
    }
}

/// What get_agent_status says of eBPF.
fn ebpf_state(status: &Value) -> Ebpf {
    let sources = status["sources"].as_array();
    let source = sources.into_iter().flatten().find(|source| source["name"] == "ebpf");
    let text = |field: &str| source.and_then(|source| source[field].as_str());
    Ebpf {
        live: text("state") == Some("live"),
        detail: text("detail").unwrap_or("get_agent_status does not name it").to_owned(),
    }
}

fn show(question: &str, tool: &str, arguments: &Value, answer: &Answer, waited: Option<Duration>) {
    let time = waited.map(|time| format!("  ({})", milliseconds(time))).unwrap_or_default();
    ui::line(format!("\n > {question}\n   {tool} {arguments}{time}"));
    for line in answer.text.lines() {
        ui::line(format!("   | {line}"));
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_ebpf_is_read_from_the_status() {
        let live = ebpf_state(&json!({ "sources": [
            { "name": "nvml", "state": "live", "detail": "" },
            { "name": "ebpf", "state": "live", "detail": "raw tracepoint" },
        ] }));
        assert!(live.live && live.detail == "raw tracepoint");
        let off = ebpf_state(&json!({ "sources": [
            { "name": "ebpf", "state": "unavailable", "detail": "no CAP_BPF" },
        ] }));
        assert!(!off.live && off.detail == "no CAP_BPF");
        assert!(!ebpf_state(&json!({})).live);
    }
}
