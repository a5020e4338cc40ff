//! MCP's stdio transport: one JSON-RPC message a line, in and out.
//!
//! rmcp has a transport of its own; this one differs where a diagnostic session must: a line that is not JSON is
//! answered with a parse error and not with silence, a request of the wrong shape with its own id, a line beyond
//! [`LONGEST_LINE`] with an error that names the limit, and at the end of the input the requests that are under way
//! are given a moment to answer, so that `printf '…' | agent` works.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rmcp::{
    RoleServer,
    model::{
        CallToolRequestMethod, ClientJsonRpcMessage, ClientNotification, ClientRequest,
        ConstString as _, ErrorCode, ErrorData, GetMeta as _, RequestId, ServerJsonRpcMessage,
    },
    transport::Transport,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    sync::{Mutex as AsyncMutex, watch},
    task::JoinHandle,
    time::Instant,
};

use super::audit;

/// A request is some hundred bytes; more than this is a mistake and would only cost the pod its memory.
const LONGEST_LINE: usize = 1 << 20;
/// How long requests under way may still answer after the input has ended. The process is gone within a second.
const LAST_WORDS: Duration = Duration::from_millis(700);

/// The server's end of a session over a pair of streams.
#[derive(Debug)]
pub struct Stdio<R, W> {
    input: BufReader<R>,
    /// The line that is being read. Kept here because `receive` may be dropped halfway.
    line: Vec<u8>,
    /// In the middle of a line that was too long.
    skipping: bool,
    /// The session has a lifecycle: it was initialized, or a request has named its protocol version.
    opened: bool,
    /// An error answer on its way out; the next line waits for it, so that garbage cannot pile up answers.
    answering: Option<JoinHandle<()>>,
    /// When the input ended, the moment at which the session does.
    end: Option<Instant>,
    output: Output<W>,
    /// Turns true when the input has ended; long-running tools watch it and come to their end.
    closing: watch::Sender<bool>,
}

/// Tells long-running tools that the client has closed its end.
#[derive(Debug, Clone)]
pub struct Closing(watch::Receiver<bool>);

impl Closing {
    /// Completes when the input has ended.
    pub async fn closed(&mut self) {
        // An error means that the transport itself is gone, which is the same.
        let _ = self.0.wait_for(|closing| *closing).await;
    }
}

#[derive(Debug)]
struct Output<W> {
    stream: Arc<AsyncMutex<W>>,
    /// Requests received and not answered. Written by both directions, read at the end.
    pending: Arc<Mutex<HashSet<RequestId>>>,
    /// Turns true when the client no longer reads.
    gone: watch::Sender<bool>,
    /// How long it may leave a message unread.
    patience: Option<Duration>,
    /// It did for longer.
    cut_off: Arc<AtomicBool>,
    /// Told of every request and of what became of it.
    audit: Arc<audit::Entries>,
}

/// What one line is.
enum Incoming {
    Message(Box<ClientJsonRpcMessage>),
    Error(Box<ServerJsonRpcMessage>),
    Nothing,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Send + Unpin + 'static> Stdio<R, W> {
    pub fn new(
        input: R,
        output: W,
        patience: Option<Duration>,
        audit: Arc<audit::Entries>,
    ) -> Self {
        let output = Output {
            stream: Arc::new(AsyncMutex::new(output)),
            pending: Arc::default(),
            gone: watch::Sender::new(false),
            patience,
            cut_off: Arc::default(),
            audit,
        };
        let input = BufReader::with_capacity(8 << 10, input);
        Self {
            input,
            line: Vec::new(),
            skipping: false,
            opened: false,
            answering: None,
            end: None,
            output,
            closing: watch::Sender::new(false),
        }
    }

    /// Turns true when the client is cut off because it does not read.
    pub fn cut_off(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.output.cut_off)
    }

    pub fn closing(&self) -> Closing {
        Closing(self.closing.subscribe())
    }

    /// Reads up to the next newline; `None` at the end of the input. Safe to drop and to call again.
    async fn next_line(&mut self) -> io::Result<Option<Incoming>> {
        loop {
            let available = self.input.fill_buf().await?;
            if available.is_empty() {
                // A last line without its newline is a message all the same.
                let last = std::mem::take(&mut self.line);
                return Ok((!last.is_empty() && !self.skipping).then(|| parse(&last)));
            }
            let newline = available.iter().position(|byte| *byte == b'\n');
            let taken = newline.map_or(available.len(), |at| at + 1);
            let fits = self.line.len() + taken <= LONGEST_LINE;
            if !self.skipping && fits {
                self.line.extend_from_slice(&available[..taken]);
            }
            self.input.consume(taken);
            if self.skipping {
                self.skipping = newline.is_none();
            } else if !fits {
                self.line = Vec::new();
                self.skipping = newline.is_none();
                let text = format!(
                    "the line is longer than {LONGEST_LINE} bytes, the most that a request may have"
                );
                return Ok(Some(Incoming::Error(refusal(ErrorCode::INVALID_REQUEST, text, None))));
            } else if newline.is_some() {
                let incoming = parse(&self.line);
                self.line.clear();
                return Ok(Some(incoming));
            }
        }
    }

    /// Whether a message may go to rmcp, which ends a session that opens with anything but a request.
    fn admits(&mut self, message: &ClientJsonRpcMessage) -> bool {
        if let ClientJsonRpcMessage::Request(request) = message {
            self.opened |= match &request.request {
                ClientRequest::InitializeRequest(_) => true,
                ClientRequest::DiscoverRequest(_) => false,
                other => other.get_meta().protocol_version().is_some(),
            };
            return true;
        }
        self.opened
    }
}

impl<R, W> Transport<RoleServer> for Stdio<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        self.output.clone().write(message)
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        let mut gone = self.output.gone.subscribe();
        loop {
            if let Some(answering) = &mut self.answering {
                let _ = answering.await;
                self.answering = None;
            }
            if let Some(end) = self.end {
                // Polled and not signalled: it happens once in the life of a process.
                while !self.output.pending().is_empty() && Instant::now() < end && !*gone.borrow() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                return None;
            }
            let line = tokio::select! {
                line = self.next_line() => line,
                _ = gone.wait_for(|gone| *gone) => return None,
            };
            match line {
                Ok(Some(Incoming::Message(message))) if self.admits(&message) => {
                    self.output.note(&message);
                    return Some(*message);
                }
                Ok(Some(Incoming::Message(message))) => {
                    tracing::debug!(?message, "Before the session was opened: ignored.");
                }
                Ok(Some(Incoming::Error(error))) => {
                    self.answering = Some(tokio::spawn(self.output.clone().answer(*error)));
                }
                Ok(Some(Incoming::Nothing)) => {}
                end @ (Ok(None) | Err(_)) => {
                    if let Err(error) = end {
                        tracing::warn!(%error, "Cannot read the client any more.");
                    }
                    self.closing.send_replace(true);
                    self.end = Some(Instant::now() + LAST_WORDS);
                }
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.output.stream.lock().await.flush().await
    }
}

impl<W: AsyncWrite + Send + Unpin + 'static> Output<W> {
    async fn write(self, message: ServerJsonRpcMessage) -> io::Result<()> {
        let mut line = serde_json::to_vec(&message)?;
        line.push(b'\n');
        if let Some(id) = answered(&message) {
            self.audit.answered(id, &message, line.len());
        }
        let mut stream = self.stream.lock().await;
        if *self.gone.borrow() {
            // Those who have queued up behind the write that failed.
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let write = async {
            stream.write_all(&line).await?;
            stream.flush().await
        };
        let written = match self.patience {
            None => write.await,
            Some(patience) => tokio::time::timeout(patience, write).await.unwrap_or_else(|_| {
                tracing::warn!(
                    "A session is cut off: its client has read nothing for {} s.",
                    patience.as_secs()
                );
                self.cut_off.store(true, Ordering::Relaxed);
                Err(io::ErrorKind::TimedOut.into())
            }),
        };
        if let Some(id) = answered(&message) {
            self.pending().remove(id);
        }
        if written.is_err() {
            self.gone.send_replace(true);
        }
        written
    }

    async fn answer(self, error: ServerJsonRpcMessage) {
        // The client has gone away: `gone` says so to the one who reads.
        let _ = self.write(error).await;
    }

    /// Keeps count of what is under way.
    fn note(&self, message: &ClientJsonRpcMessage) {
        match message {
            ClientJsonRpcMessage::Request(request) => {
                self.audit.asked(&request.id, &request.request);
                self.pending().insert(request.id.clone());
            }
            // A cancelled request is not answered.
            ClientJsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) =
                    &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    self.audit.cancelled(id);
                    self.pending().remove(id);
                }
            }
            ClientJsonRpcMessage::Response(_) | ClientJsonRpcMessage::Error(_) => {}
        }
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, HashSet<RequestId>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W> Clone for Output<W> {
    fn clone(&self) -> Self {
        Self {
            stream: Arc::clone(&self.stream),
            pending: Arc::clone(&self.pending),
            gone: self.gone.clone(),
            patience: self.patience,
            cut_off: Arc::clone(&self.cut_off),
            audit: Arc::clone(&self.audit),
        }
    }
}

fn answered(message: &ServerJsonRpcMessage) -> Option<&RequestId> {
    match message {
        ServerJsonRpcMessage::Response(response) => Some(&response.id),
        ServerJsonRpcMessage::Error(error) => error.id.as_ref(),
        _ => None,
    }
}

fn parse(line: &[u8]) -> Incoming {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Incoming::Nothing;
    }
    match serde_json::from_slice::<ClientJsonRpcMessage>(line) {
        Ok(message) => {
            misread(&message).map_or_else(|| Incoming::Message(Box::new(message)), Incoming::Error)
        }
        Err(_) => match serde_json::from_slice::<Value>(line) {
            Ok(value) => wrong_shape(&value),
            Err(error) => {
                Incoming::Error(refusal(ErrorCode::PARSE_ERROR, format!("not JSON: {error}"), None))
            }
        },
    }
}

/// rmcp takes a request whose parameters do not fit for one of a method it does not know. `tools/call` is the one
/// that people write by hand: say what is wrong with it.
fn misread(message: &ClientJsonRpcMessage) -> Option<Box<ServerJsonRpcMessage>> {
    let ClientJsonRpcMessage::Request(request) = message else { return None };
    let ClientRequest::CustomRequest(custom) = &request.request else { return None };
    (custom.method == CallToolRequestMethod::VALUE).then(|| {
        let text = "tools/call takes params {\"name\": string, \"arguments\": object}".to_owned();
        refusal(ErrorCode::INVALID_PARAMS, text, Some(request.id.clone()))
    })
}

/// JSON, and not a message: a request is told so under its own id, a notification is never answered.
fn wrong_shape(value: &Value) -> Incoming {
    let id = value.get("id").and_then(|id| serde_json::from_value::<RequestId>(id.clone()).ok());
    let called = value.get("jsonrpc") == Some(&Value::from("2.0"))
        && value.get("method").is_some_and(Value::is_string);
    if called && value.get("id").is_none() {
        return Incoming::Nothing;
    }
    Incoming::Error(if called && id.is_some() {
        refusal(ErrorCode::INVALID_PARAMS, "params must be an object".to_owned(), id)
    } else {
        let shape =
            r#"{"jsonrpc": "2.0", "id": string or number, "method": string, "params": object}"#;
        refusal(ErrorCode::INVALID_REQUEST, format!("not a JSON-RPC 2.0 request: {shape}"), id)
    })
}

fn refusal(code: ErrorCode, text: String, id: Option<RequestId>) -> Box<ServerJsonRpcMessage> {
    Box::new(ServerJsonRpcMessage::error(ErrorData::new(code, text, None), id))
}

#[cfg(test)]
#[path = "stdio_test.rs"]
mod tests;
