//! A small MCP client over stdio, as plain as the protocol allows: one JSON-RPC message a line, the
//! initialize handshake of 2025-11-25, `tools/call` and its progress notifications.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::cmd;

/// The protocol version this client speaks.
const PROTOCOL: &str = "2025-11-25";

/// A session with an agent that this client has started.
#[derive(Debug)]
pub(super) struct Client {
    agent: Child,
    /// `None` once the session is closed.
    to_agent: Option<ChildStdin>,
    from_agent: Receiver<Message>,
    last_id: u64,
}

/// A line of the agent, with the moment at which it had been read.
#[derive(Debug)]
struct Message {
    at: Instant,
    body: Value,
}

/// What a tool answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// For people.
    pub(super) text: String,
    /// For programs.
    pub(super) data: Value,
}

/// A progress notification.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) at: Instant,
    pub(super) message: String,
}

impl Client {
    /// Starts the agent and opens a session.
    pub(super) fn start(command: &mut Command, patience: Duration) -> Result<Self> {
        let shown = cmd::display(command);
        let mut agent = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{shown}`"))?;
        let to_agent = agent.stdin.take();
        let out = agent.stdout.take().with_context(|| format!("`{shown}` has no stdout"))?;
        let (lines, from_agent) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let at = Instant::now();
                let Ok(line) = line else { return };
                let body = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if lines.send(Message { at, body }).is_err() {
                    return;
                }
            }
        });
        let mut client = Self { agent, to_agent, from_agent, last_id: 0 };
        client.initialize(patience).with_context(|| format!("no MCP session with `{shown}`"))?;
        Ok(client)
    }

    fn initialize(&mut self, patience: Duration) -> Result<()> {
        let id = self.request(
            "initialize",
            &json!({
                "protocolVersion": PROTOCOL,
                "capabilities": {},
                "clientInfo": { "name": "xtask-demo", "version": env!("CARGO_PKG_VERSION") },
            }),
        )?;
        let result = self.result(id, patience)?;
        if result["protocolVersion"] != PROTOCOL {
            bail!(
                "asked for protocol {PROTOCOL}, the agent answered {}",
                result["protocolVersion"]
            );
        }
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
    }

    /// Calls a tool and waits for its answer.
    pub(super) fn call(
        &mut self,
        tool: &str,
        arguments: &Value,
        patience: Duration,
    ) -> Result<Answer> {
        let id = self.request("tools/call", &json!({ "name": tool, "arguments": arguments }))?;
        self.answer(id, patience)
    }

    /// Calls a tool with a progress token and returns the request's id, which is the token too.
    pub(super) fn start_call(&mut self, tool: &str, arguments: &Value) -> Result<u64> {
        let token = self.last_id + 1;
        let params =
            json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": token } });
        self.request("tools/call", &params)
    }

    /// Waits for the next progress notification of a call.
    pub(super) fn progress(&mut self, token: u64, patience: Duration) -> Result<Progress> {
        let deadline = Instant::now() + patience;
        loop {
            let Message { at, body } = self.receive(deadline)?;
            if body["id"] == token {
                bail!("the call ended without a notification: {body}");
            }
            let params = &body["params"];
            if body["method"] == "notifications/progress" && params["progressToken"] == token {
                let message = params["message"].as_str().unwrap_or_default().to_owned();
                return Ok(Progress { at, message });
            }
        }
    }

    /// Waits for the answer to a tool call.
    pub(super) fn answer(&mut self, id: u64, patience: Duration) -> Result<Answer> {
        let result = self.result(id, patience)?;
        let text = result["content"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|part| part["text"].as_str())
            .collect::<Vec<_>>()
            .join("\n");
        if result["isError"] == true {
            bail!("the tool refused: {text}");
        }
        if text.is_empty() {
            bail!("the tool's answer has no text");
        }
        Ok(Answer { text, data: result["structuredContent"].clone() })
    }

    /// Ends the session as clients do, by closing the agent's stdin, and sees the agent out.
    pub(super) fn close(mut self, patience: Duration) -> Result<ExitStatus> {
        self.to_agent = None;
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.agent.try_wait().context("waiting for the agent")? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("the agent still runs {} s after its client closed the session", patience.as_secs())
    }

    fn request(&mut self, method: &str, params: &Value) -> Result<u64> {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))?;
        Ok(id)
    }

    fn send(&mut self, message: &Value) -> Result<()> {
        let to_agent = self.to_agent.as_mut().context("the session is closed")?;
        to_agent
            .write_all(format!("{message}\n").as_bytes())
            .context("the agent does not read what its client sends")
    }

    fn result(&mut self, id: u64, patience: Duration) -> Result<Value> {
        let deadline = Instant::now() + patience;
        loop {
            let mut body = self.receive(deadline)?.body;
            if body["id"] == id {
                if let Some(error) = body.get("error") {
                    bail!("the agent answered with an error: {error}");
                }
                return Ok(body["result"].take());
            }
        }
    }

    fn receive(&mut self, deadline: Instant) -> Result<Message> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.from_agent.recv_timeout(left) {
            Ok(message) if message.body.is_object() => Ok(message),
            Ok(message) => {
                bail!("stdout must carry MCP alone, and the agent wrote {}", message.body)
            }
            Err(RecvTimeoutError::Timeout) => bail!("the agent did not answer in time"),
            Err(RecvTimeoutError::Disconnected) => {
                bail!("the agent ended; what it said on stderr stands above")
            }
        }
    }
}

impl Drop for Client {
    /// A demo that failed halfway leaves no agent behind.
    fn drop(&mut self) {
        self.to_agent = None;
        if matches!(self.agent.try_wait(), Ok(None)) {
            let _ = self.agent.kill();
            let _ = self.agent.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// An "agent" that answers each line it reads with the next of these.
    fn scripted(answers: &[&str]) -> Command {
        let mut sh = Command::new("sh");
        sh.args(["-c", r#"for answer; do read -r line; echo "$answer"; done"#, "sh"]).args(answers);
        sh
    }

    const HELLO: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25"}}"#;
    /// What comes while the client says that it is initialized; it must not disturb.
    const NOTICE: &str = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;

    #[test]
    fn a_call_returns_what_the_tool_answered() {
        let answer = r#"{"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"8 GPUs"}],"structuredContent":{"gpu_count":8}}}"#;
        let mut client = Client::start(&mut scripted(&[HELLO, NOTICE, answer]), PATIENCE).unwrap();
        let answer = client.call("get_gpu_inventory", &json!({}), PATIENCE).unwrap();
        assert_eq!(answer.text, "8 GPUs");
        assert_eq!(answer.data["gpu_count"], 8);
        assert!(client.close(PATIENCE).unwrap().success());
    }

    #[test]
    fn a_refusal_is_no_answer() {
        let refusal = r#"{"jsonrpc":"2.0","id":2,"result":{"isError":true,"content":[{"type":"text","text":"no driver"}]}}"#;
        let mut client = Client::start(&mut scripted(&[HELLO, NOTICE, refusal]), PATIENCE).unwrap();
        let error = client.call("get_gpu_health", &json!({}), PATIENCE).unwrap_err();
        assert!(error.to_string().contains("no driver"), "{error:#}");
    }

    #[test]
    fn an_agent_that_dies_is_reported_as_dead() {
        let error = Client::start(&mut scripted(&[]), PATIENCE).unwrap_err();
        assert!(format!("{error:#}").contains("the agent"), "{error:#}");
    }

    #[test]
    fn something_else_than_mcp_on_stdout_is_an_error() {
        let error = Client::start(&mut scripted(&["hello"]), PATIENCE).unwrap_err();
        assert!(format!("{error:#}").contains("MCP alone"), "{error:#}");
    }
}
