//! The audit: each session and what it asked, one JSON line each, in the pod's log (`kubectl logs <pod>`).
//!
//! ```text
//! {"audit":"session_started","time":"2026-11-22T10:19:37.572621Z","session":"d73e264797fa6142","client":{"name":"claude-code","version":"2.1.0"},"protocol":"2025-11-25","mode":"read-only","joined":false}
//! {"audit":"tool_call","time":"2026-11-22T10:19:37.806464Z","session":"d73e264797fa6142","tool":"get_gpu_health","arguments":{},"outcome":"ok","duration_ms":232.838,"answer_bytes":1873}
//! {"audit":"request","time":"2026-11-22T10:19:40.181866Z","session":"d73e264797fa6142","method":"resources/read","arguments":{"uri":"gpu://xid/79"},"outcome":"ok","duration_ms":1.643,"answer_bytes":775}
//! {"audit":"session_ended","time":"2026-11-22T10:19:41.228043Z","session":"d73e264797fa6142","calls":3,"duration_ms":3655.516}
//! ```
//!
//! | field | in | what |
//! | --- | --- | --- |
//! | `audit` | every line | `session_started`, `tool_call`, `request` (a resource that was read or subscribed to, or anything else but lists and pings), `session_ended` |
//! | `time` | every line | when it was written, which is when what it tells was over; the session's beginning is its first request |
//! | `session` | every line | the same in all lines of a session |
//! | `lost` | some | how many lines before this one could not be written |
//! | `client` | `session_started` | name and version as the client gives them; null where it gives none |
//! | `protocol` | `session_started` | the version of MCP that the client asked for |
//! | `mode` | `session_started` | `read-only` or `operator` |
//! | `joined` | `session_started` | whether it is a session of the recorder |
//! | `tool`, `method` | `tool_call`, `request` | what was asked for |
//! | `arguments` | both | as they came. What takes more than 2 KiB is cut, and a string then |
//! | `arguments_bytes` | both | how long they were, where they were cut |
//! | `outcome` | both | `ok`; `refused`: the tool says why it does not answer; `error`: the request could not be served; `cancelled` by the client; `unanswered` when the session ended |
//! | `error` | both | the beginning of what was answered, unless that was `ok` |
//! | `duration_ms` | all but `session_started` | since the request was read, or the session's first |
//! | `answer_bytes` | both | what went to the client as the answer |
//! | `calls` | `session_ended` | the tool calls of the session |
//!
//! Who asks is not known to a pod. The API server's own audit log has the user of each `exec` with pod and time.
//!
//! What a client sends is data here: bounded, in ASCII, never a second line. A line is shorter than what a pipe takes whole
//! ([`log`]), so that those of several sessions do not mix. A line is lost rather than that a session waits. What is no
//! request at all is not told. A session by itself that is killed tells nothing of what was under way, nor its end; of one
//! that has joined the recorder both are told.

mod bounded;
mod log;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rmcp::model::{
    ClientRequest, GetMeta as _, Implementation, RequestId, ServerJsonRpcMessage, ServerResult,
};
use serde::Serialize;
use serde_json::{Value, json};

use bounded::{arguments, cut};
pub use log::Log;

use crate::node::AccessMode;

/// Bytes in a line. With their names and the rest they stay below what a pipe takes whole.
const ARGUMENTS: usize = 2048;
const ERROR: usize = 512;
const NAME: usize = 128;

/// A session as the log tells it; it ends with this value.
#[derive(Debug)]
pub struct Session(Arc<Entries>);

/// What both directions of the session's transport tell of it.
#[derive(Debug)]
pub struct Entries {
    log: Log,
    id: String,
    access: AccessMode,
    joined: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The first request, or the session's making until there is one.
    since: Instant,
    begun: bool,
    over: bool,
    calls: u64,
    /// Asked and not answered, in the order they came; a client may give several the same id.
    under_way: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    id: RequestId,
    since: Instant,
    what: What,
    arguments: Value,
    arguments_bytes: Option<usize>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Tool(String),
    Method(String),
}

#[derive(Debug, Serialize)]
struct Done<'a> {
    #[serde(flatten)]
    what: &'a What,
    arguments: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments_bytes: Option<usize>,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer_bytes: Option<usize>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Ok,
    Refused,
    Error,
    Cancelled,
    Unanswered,
}

impl Session {
    pub fn new(log: Log, access: AccessMode, joined: bool) -> Self {
        let state = State {
            since: Instant::now(),
            begun: false,
            over: false,
            calls: 0,
            under_way: Vec::new(),
        };
        let id = log::random_id();
        Self(Arc::new(Entries { log, id, access, joined, state: Mutex::new(state) }))
    }

    pub fn entries(&self) -> Arc<Entries> {
        Arc::clone(&self.0)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.0.ended();
    }
}

impl Entries {
    /// A request has come.
    pub fn asked(&self, id: &RequestId, request: &ClientRequest) {
        if self.log.is_nowhere() {
            return;
        }
        let mut state = self.state();
        if state.over {
            return;
        }
        if !state.begun {
            state.since = Instant::now();
            self.begin(&mut state, Some(request));
        }
        let (what, (arguments, arguments_bytes)) = match request {
            ClientRequest::InitializeRequest(_)
            | ClientRequest::DiscoverRequest(_)
            | ClientRequest::PingRequest(_)
            | ClientRequest::ListToolsRequest(_)
            | ClientRequest::ListPromptsRequest(_)
            | ClientRequest::ListResourcesRequest(_)
            | ClientRequest::ListResourceTemplatesRequest(_)
            | ClientRequest::ListSkillsRequest(_) => return,
            ClientRequest::CallToolRequest(call) => {
                state.calls += 1;
                let name = cut(&call.params.name, NAME);
                (What::Tool(name), arguments(&json!(call.params.arguments), ARGUMENTS))
            }
            other => {
                let mut params = json!(other)["params"].take();
                if let Some(params) = params.as_object_mut() {
                    params.remove("_meta");
                }
                (What::Method(cut(other.method(), NAME)), arguments(&params, ARGUMENTS))
            }
        };
        let since = Instant::now();
        state.under_way.push(Asked { id: id.clone(), since, what, arguments, arguments_bytes });
    }

    /// An answer is about to go out, in this many bytes.
    pub fn answered(&self, id: &RequestId, answer: &ServerJsonRpcMessage, bytes: usize) {
        let (outcome, error) = match answer {
            ServerJsonRpcMessage::Error(error) => {
                (Outcome::Error, Some(error.error.message.as_ref()))
            }
            ServerJsonRpcMessage::Response(response) => match &response.result {
                ServerResult::CallToolResult(result) if result.is_error == Some(true) => {
                    let text = result.content.first().and_then(|content| content.as_text());
                    (Outcome::Refused, text.map(|text| text.text.as_str()))
                }
                _ => (Outcome::Ok, None),
            },
            _ => return,
        };
        self.done(&mut self.state(), id, outcome, error, Some(bytes));
    }

    /// The client wants no answer any more.
    pub fn cancelled(&self, id: &RequestId) {
        self.done(&mut self.state(), id, Outcome::Cancelled, None, None);
    }

    fn ended(&self) {
        let mut state = self.state();
        if !state.begun {
            self.begin(&mut state, None);
        }
        for asked in std::mem::take(&mut state.under_way) {
            self.tell(&asked, Outcome::Unanswered, None, None);
        }
        state.over = true;
        let (calls, duration_ms) = (state.calls, milliseconds(state.since.elapsed()));
        self.log.write(
            "session_ended",
            &self.id,
            &json!({"calls": calls, "duration_ms": duration_ms}),
        );
    }

    fn begin(&self, state: &mut State, first: Option<&ClientRequest>) {
        state.begun = true;
        let (client, protocol) = match first {
            Some(ClientRequest::InitializeRequest(request)) => {
                let params = &request.params;
                (Some(params.client_info.clone()), Some(params.protocol_version.clone()))
            }
            Some(other) => (other.get_meta().client_info(), other.get_meta().protocol_version()),
            None => (None, None),
        };
        let client = client.map(|Implementation { name, version, .. }| {
            json!({"name": cut(&name, NAME), "version": cut(&version, NAME)})
        });
        let protocol = protocol.map(|version| cut(version.as_str(), NAME));
        self.log.write("session_started", &self.id, &json!({"client": client, "protocol": protocol, "mode": self.access.name(), "joined": self.joined}));
    }

    fn done(
        &self,
        state: &mut State,
        id: &RequestId,
        outcome: Outcome,
        error: Option<&str>,
        bytes: Option<usize>,
    ) {
        if let Some(at) = state.under_way.iter().position(|asked| asked.id == *id) {
            self.tell(&state.under_way.remove(at), outcome, error, bytes);
        }
    }

    fn tell(&self, asked: &Asked, outcome: Outcome, error: Option<&str>, bytes: Option<usize>) {
        let Asked { id: _, since, what, arguments, arguments_bytes } = asked;
        let line = Done {
            what,
            arguments,
            arguments_bytes: *arguments_bytes,
            outcome,
            error: error.map(|error| cut(error, ERROR)),
            duration_ms: milliseconds(since.elapsed()),
            answer_bytes: bytes,
        };
        let audit = if matches!(what, What::Tool(_)) { "tool_call" } else { "request" };
        self.log.write(audit, &self.id, &line);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// To the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
#[path = "../audit_test.rs"]
mod tests;
