//! A person at a terminal: `kubectl exec -it <pod> -- /agent`.
//!
//! ```text
//! what is this
//! agent: that is neither the name of a tool nor JSON; `help` says what can be typed
//! get_gpu_helth {"gpu": 0}
//! {"jsonrpc":"2.0","id":"typed-1","error":{"code":-32602,"message":"no tool \"get_gpu_helth\"; there are get_gpu_health, …"}}
//! ```
//!
//! Where stdin is a terminal it is put into another mode for as long as the session lasts, and the session gets pipes, so
//! that nothing else has to know: what is typed goes through [`line`], which edits it and has no longest line (the
//! terminal's own editing cuts at 4095 bytes), and what is answered comes out between the lines that are typed and never
//! within one. What is no JSON is not sent: a tool's name becomes a call of it, and for anything else there is a hint. Where
//! only stdin is a terminal, stdout is left as it is.
//!
//! It needs `-i` as well as `-t`: with `-t` alone kubectl gives neither a terminal nor an input, and the session ends at once.

mod line;

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _, pipe},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use rustix::{
    stdio::{dup2_stdin, dup2_stdout, stdin, stdout},
    termios::{
        InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr,
        tcsetattr,
    },
};
use serde_json::{Map, Value, json};

use super::output::say;
use line::{Line, Step};

const HELP: &str = r#"This is an MCP session on the GPUs of this node. A client starts it without a terminal, by -i and not -it:
  {"mcpServers": {"gpu": {"command": "kubectl", "args": ["-n", "<namespace>", "exec", "-i", "<pod>", "--", "/agent"]}}}
Here you can type the name of a tool, with arguments as JSON behind it or without, and any JSON-RPC message on one line:
  get_gpu_health
  watch_gpu_events {"duration_s": 10}
Answers are JSON, one a line. `help` says this again; `quit`, Ctrl-D or Ctrl-C ends.
"#;

/// How long the last answers may take to the screen.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The terminal in the session's mode; it is as it was before when this value is gone.
#[derive(Debug)]
pub struct Terminal {
    input: OwnedFd,
    /// Where stdout is a terminal too.
    output: Option<OwnedFd>,
    before: Termios,
    screen: Arc<Mutex<Screen>>,
    /// Ends with the thread that shows what the session writes.
    shown: Receiver<()>,
}

/// What is typed, and where it is seen. Written by the thread that reads the keys, read by the one that writes answers.
#[derive(Debug)]
struct Screen {
    terminal: File,
    line: Line,
}

/// Takes the terminal, where stdin is one. The two threads that this starts open no file.
pub fn open() -> Option<Terminal> {
    if !isatty(stdin()) {
        return None;
    }
    take().inspect_err(|error| tracing::warn!(%error, "The terminal is left as it is.")).ok()
}

fn take() -> io::Result<Terminal> {
    let input = stdin().try_clone_to_owned()?;
    let output = isatty(stdout()).then(|| stdout().try_clone_to_owned()).transpose()?;
    let before = tcgetattr(&input)?;
    let line = Line::new(before.special_codes[SpecialCodeIndex::VERASE]);
    let screen = Arc::new(Mutex::new(Screen { terminal: input.try_clone()?.into(), line }));
    let (typed, from_typed) = (pipe()?, input.try_clone()?);
    let (alive, shown) = channel();
    let answers = match &output {
        Some(output) => Some((pipe()?, output.try_clone()?)),
        None => None,
    };
    tcsetattr(&input, OptionalActions::Now, &mode(&before))?;
    let terminal = Terminal { input, output, before, screen, shown };
    // From here on whatever fails puts things back.
    dup2_stdin(&typed.0)?;
    let screen = Arc::clone(&terminal.screen);
    thread::spawn(move || read_keys(from_typed.into(), &screen, typed.1));
    if let Some(((reader, writer), output)) = answers {
        dup2_stdout(&writer)?;
        let screen = Arc::clone(&terminal.screen);
        thread::spawn(move || show(reader, output.into(), &screen, alive));
    }
    tell(HELP);
    Ok(terminal)
}

/// Keys come as they are pressed and are not echoed; Ctrl-C still ends. The output's modes stay.
fn mode(before: &Termios) -> Termios {
    const NONE: u8 = 0;
    let mut mode = before.clone();
    mode.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN;
    mode.input_modes -= InputModes::IXON;
    mode.input_modes |= InputModes::ICRNL;
    // Neither is caught, and both would leave the terminal in this mode.
    mode.special_codes[SpecialCodeIndex::VQUIT] = NONE;
    mode.special_codes[SpecialCodeIndex::VSUSP] = NONE;
    mode.special_codes[SpecialCodeIndex::VMIN] = 1;
    mode.special_codes[SpecialCodeIndex::VTIME] = 0;
    mode
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Where any of this fails the terminal is gone, and with it everybody who could be told.
        let _ = dup2_stdin(&self.input);
        if let Some(output) = &self.output {
            // That was the pipe's last writing end, unless a recorder still has one.
            let _ = dup2_stdout(output);
            let _ = self.shown.recv_timeout(LAST_LINES);
        }
        let mut screen = lock(&self.screen);
        if !screen.line.typed().is_empty() {
            let _ = screen.terminal.write_all(b"\n");
        }
        let _ = tcsetattr(&self.input, OptionalActions::Now, &self.before);
    }
}

/// Carries what is typed to the session, until its end or the terminal's.
fn read_keys(mut terminal: File, screen: &Mutex<Screen>, mut session: impl io::Write) {
    let mut bytes = [0; 4096];
    // In the middle of a line of which a part has gone already.
    let (mut calls, mut parted) = (0, false);
    while let Ok(read @ 1..) = terminal.read(&mut bytes) {
        let mut rest = &bytes[..read];
        while !rest.is_empty() {
            let mut echo = Vec::new();
            let mut guard = lock(screen);
            let step = guard.line.take(&mut rest, &mut echo);
            let _ = guard.terminal.write_all(&echo);
            // Whoever shows an answer meanwhile needs it, and the session may take its next line only then.
            drop(guard);
            let message = match step {
                Step::More => continue,
                Step::End => return,
                Step::Part(part) => {
                    parted = true;
                    part
                }
                Step::Line(line) if std::mem::take(&mut parted) => [line, b"\n".to_vec()].concat(),
                Step::Line(line) => match Typed::of(&line) {
                    Typed::Nothing => continue,
                    Typed::Quit => return,
                    Typed::Message => [line, b"\n".to_vec()].concat(),
                    Typed::Call(tool, arguments) => {
                        calls += 1;
                        call(calls, &tool, &arguments)
                    }
                    Typed::Help => {
                        tell(HELP);
                        continue;
                    }
                    Typed::Other => {
                        say(
                            "that is neither the name of a tool nor JSON; `help` says what can be typed",
                        );
                        continue;
                    }
                },
            };
            if session.write_all(&message).is_err() {
                return;
            }
        }
    }
}

/// Shows each message that the session writes as a line of its own, whatever is being typed.
fn show(session: impl io::Read, mut terminal: File, screen: &Mutex<Screen>, _alive: Sender<()>) {
    let mut session = BufReader::new(session);
    let mut message = Vec::new();
    while let Ok(1..) = session.read_until(b'\n', &mut message) {
        let screen = lock(screen);
        let typed = screen.line.typed();
        let before: &[u8] = if typed.is_empty() { b"" } else { b"\n" };
        if terminal.write_all(&[before, &message, typed].concat()).is_err() {
            return;
        }
        message.clear();
    }
}

/// What a line is that a person has typed.
#[derive(Debug, PartialEq)]
enum Typed {
    Nothing,
    /// It is for the session, which says what is wrong with it.
    Message,
    /// A tool and its arguments. Whether there is one of that name the session says, with the names of all.
    Call(String, Map<String, Value>),
    Help,
    Quit,
    Other,
}

impl Typed {
    fn of(line: &[u8]) -> Self {
        let line = line.trim_ascii();
        let word = line.iter().take_while(|c| c.is_ascii_alphanumeric() || **c == b'_').count();
        let (word, behind) = line.split_at(word);
        let behind = behind.trim_ascii();
        match (word, behind.first()) {
            (b"", None) => Self::Nothing,
            (b"", Some(b'{' | b'[')) => Self::Message,
            (b"help", None) | (b"", Some(b'?')) => Self::Help,
            (b"quit" | b"exit", None) => Self::Quit,
            (b"", _) => Self::Other,
            (tool, None) => Self::Call(String::from_utf8_lossy(tool).into_owned(), Map::new()),
            (tool, Some(_)) => serde_json::from_slice(behind).map_or(Self::Other, |arguments| {
                Self::Call(String::from_utf8_lossy(tool).into_owned(), arguments)
            }),
        }
    }
}

/// A call as clients of 2026-07-28 make it, whom it takes no handshake.
fn call(number: u64, tool: &str, arguments: &Map<String, Value>) -> Vec<u8> {
    let client = json!({"name": "terminal", "version": env!("CARGO_PKG_VERSION")});
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": client,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({"name": tool, "arguments": arguments, "_meta": meta});
    let id = format!("typed-{number}");
    let request = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
    format!("{request}\n").into_bytes()
}

fn tell(text: &str) {
    // Where stderr is gone there is nobody to tell.
    let _ = io::stderr().write_all(text.as_bytes());
}

fn lock(screen: &Mutex<Screen>) -> MutexGuard<'_, Screen> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_a_message_a_tool_or_a_word() {
        let call = |tool: &str, arguments: Value| {
            Typed::Call(tool.to_owned(), arguments.as_object().unwrap().clone())
        };
        for (line, is) in [
            ("", Typed::Nothing),
            (" \t ", Typed::Nothing),
            ("help", Typed::Help),
            ("?", Typed::Help),
            (" quit ", Typed::Quit),
            ("exit", Typed::Quit),
            ("{\"id\":", Typed::Message),
            (" [", Typed::Message),
            ("get_gpu_health", call("get_gpu_health", json!({}))),
            ("get_gpu_health {\"gpu\": 0}", call("get_gpu_health", json!({"gpu": 0}))),
            ("get_gpu_health{}", call("get_gpu_health", json!({}))),
            ("get_gpu_health 0", Typed::Other),
            ("help me", Typed::Other),
            ("what is this", Typed::Other),
            ("\"x\"", Typed::Other),
            ("ä", Typed::Other),
        ] {
            assert_eq!(Typed::of(line.as_bytes()), is, "{line:?}");
        }
    }
}
