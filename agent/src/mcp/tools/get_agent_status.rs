//! `get_agent_status`: which sources are live, which are not, and what turns them on.
//!
//! No arguments. Answers without touching a GPU's figures, so it answers on the sickest node.
//!
//! ```text
//! k8s-gpu-mcp-server 0.1.0 on gpu-node-7, read-only, for 12 s, UID 0, CAP_BPF CAP_PERFMON, Linux 6.12.0
//! nvml  live  libnvidia-ml.so.1, driver 580.95.05, 8 GPUs
//! ebpf  live  raw tracepoint console, through a ring buffer; 3 heard, 0 lost
//! nvml_events  live  Xids of 8 of 8 GPUs, by number; 1 heard, 0 lost
//! ```

use std::{fmt::Write as _, sync::PoisonError, time::SystemTime};

use rmcp::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};

use crate::{
    kernel::{
        privileges,
        source::{Counts, State},
    },
    mcp::{
        render,
        tool::{Answer, Call, Refusal, Tool},
    },
    node::{Node, Recorder},
    store::keeper::Kept,
};

#[derive(Debug)]
pub struct GetAgentStatus;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Status {
    /// The GPUs are simulated and do not exist.
    simulated: bool,
    node: String,
    version: &'static str,
    /// `read-only`; `operator` allows what changes state, of which this version has nothing.
    mode: &'static str,
    started: String,
    uptime_s: u64,
    kernel_release: String,
    uid: u32,
    /// Effective capabilities of those that matter here.
    capabilities: Vec<&'static str>,
    sources: Vec<SourceAnswer>,
    events: EventsAnswer,
    /// The recorder that this session has joined; null for a session by itself, whose events end with it.
    recorder: Option<RecorderAnswer>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct RecorderAnswer {
    socket: String,
    /// Sessions that are open now, this one included.
    sessions: usize,
    /// The file that keeps the events over restarts.
    journal: String,
    /// GPUs whose timeline is kept, and the memory that this takes: 130 KiB each.
    timeline_gpus: usize,
    timeline_bytes: usize,
    /// Why the file cannot be written; the events are in memory until it can. Null when it is written.
    journal_failure: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct SourceAnswer {
    /// `nvml` for figures; `ebpf`, `nvidia_dev_xid`, `kernel_log`, `nvml_events`, `replay` for faults, `device_tracer` for what
    /// processes do.
    name: &'static str,
    /// `live`, `starting`, `off` or `unavailable`.
    state: &'static str,
    /// How it is live, or why it is not.
    detail: String,
    /// What turns it on; null where nothing has to.
    remedy: Option<String>,
    /// Driver lines or events heard; null for a source of figures.
    heard: Option<u64>,
    /// Driver lines lost before they reached the journal, of `kernel_log` records of anybody; null for a source of figures.
    dropped: Option<u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct EventsAnswer {
    /// Events since the journal began: with this session, or with a recorder's first run.
    total: u64,
    /// Faults evicted from the journal; their groups are kept.
    evicted: u64,
    /// Cursor behind the newest event, for watch_gpu_events.
    cursor: String,
}

impl Tool for GetAgentStatus {
    const NAME: &'static str = "get_agent_status";
    const TITLE: &'static str = "Agent status";
    const DESCRIPTION: &'static str = "What this agent can see and what it cannot: each source (NVML, eBPF) with its state, why it is not live and what turns it \
        on, the agent's version, mode and privileges. Call it when an answer is empty or refused.";
    type Input = Input;
    type Answer = Status;

    async fn call(node: &Node, _: Input, call: &Call) -> Result<Status, Refusal> {
        let mut sources = vec![SourceAnswer::of("nvml", node.nvml().await, None)];
        node.sources.settled().await;
        sources.extend(
            node.sources.read().into_iter().map(|(source, state, counts)| {
                SourceAnswer::of(source.name(), state, Some(counts))
            }),
        );
        let uname = rustix::system::uname();
        Ok(Status {
            simulated: node.gpu.simulated(),
            node: node.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            mode: call.access.name(),
            started: render::time(node.started),
            uptime_s: SystemTime::now().duration_since(node.started).unwrap_or_default().as_secs(),
            kernel_release: uname.release().to_string_lossy().into_owned(),
            uid: rustix::process::geteuid().as_raw(),
            capabilities: privileges::effective(),
            sources,
            events: EventsAnswer {
                total: node.journal.end().seq,
                evicted: node.journal.overflow().0,
                cursor: node.journal.end().to_string(),
            },
            recorder: node
                .recorder
                .as_ref()
                .map(|recorder| RecorderAnswer::of(recorder, node.timelines.size())),
        })
    }
}

impl RecorderAnswer {
    fn of(recorder: &Recorder, (timeline_gpus, timeline_bytes): (usize, usize)) -> Self {
        let kept = recorder.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (journal, journal_failure) = match kept {
            Kept::File(path) => (path, None),
            Kept::Failing(path, reason) => (path, Some(reason)),
        };
        Self {
            socket: recorder.socket.display().to_string(),
            sessions: recorder.sessions(),
            journal: journal.display().to_string(),
            timeline_gpus,
            timeline_bytes,
            journal_failure,
        }
    }
}

impl SourceAnswer {
    fn of(name: &'static str, state: State, counts: Option<Counts>) -> Self {
        let (state_name, remedy) = (
            state.name(),
            if let State::Unavailable { remedy, .. } = &state {
                Some(remedy.clone())
            } else {
                None
            },
        );
        let detail = match state {
            State::Starting => "being set up; ask again in a moment".to_owned(),
            State::Live(how) | State::Off(how) => how,
            State::Unavailable { reason, .. } => reason,
        };
        Self {
            name,
            state: state_name,
            detail,
            remedy,
            heard: counts.map(|counts| counts.heard),
            dropped: counts.map(|counts| counts.dropped + counts.malformed),
        }
    }
}

impl Answer for Status {
    fn text(&self) -> String {
        let capabilities = if self.capabilities.is_empty() {
            "no capability".to_owned()
        } else {
            self.capabilities.join(" ")
        };
        let mut text = format!(
            "k8s-gpu-mcp-server {} on {}, {}, for {} s, UID {}, {capabilities}, Linux {}",
            self.version, self.node, self.mode, self.uptime_s, self.uid, self.kernel_release
        );
        for source in &self.sources {
            let _ = write!(text, "\n{}  {}  {}", source.name, source.state, source.detail);
            if let (Some(heard), Some(dropped)) = (source.heard, source.dropped)
                && source.state == "live"
            {
                let _ = write!(text, "; {heard} heard, {dropped} lost");
            }
            if let Some(remedy) = &source.remedy {
                let _ = write!(text, "\n  {remedy}");
            }
        }
        let _ = write!(
            text,
            "\n{} events in the journal since it began, {} faults evicted",
            self.events.total, self.events.evicted
        );
        if let Some(recorder) = &self.recorder {
            let RecorderAnswer {
                socket,
                sessions,
                journal,
                timeline_gpus,
                timeline_bytes,
                journal_failure,
            } = recorder;
            let kept = match journal_failure {
                None => format!("journal in {journal}"),
                Some(reason) => format!("journal NOT WRITTEN: {reason}"),
            };
            let sessions = render::count(*sessions as u64, "session");
            let gpus = render::count(*timeline_gpus as u64, "GPU");
            let bytes = render::bytes(*timeline_bytes as u64);
            let _ = write!(
                text,
                "\nrecorder on {socket}, {sessions}, {kept}, timelines of {gpus} in {bytes}"
            );
        }
        text
    }
}
