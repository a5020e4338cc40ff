//! A session at a terminal, by itself and joined: `kubectl exec -it`.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
};

use anyhow::{Context as _, Result, bail};
use e2e::{PATIENCE, Recorder, simulated};
use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Termios, tcgetattr},
};
use serde_json::{Value, json};

/// A terminal with an agent on it, and a person's hands and eyes.
struct Screen {
    hands: File,
    eyes: Receiver<Vec<u8>>,
    seen: String,
    terminal: OwnedFd,
    before: Termios,
    agent: Child,
}

const WITH_HELP: &str = "Ctrl-C ends.";

impl Screen {
    /// Starts the agent as the leader of the terminal's session, and waits for its help.
    fn start(agent: &Command) -> Result<Self> {
        let mut screen = Self::start_with(agent, |_| ())?;
        screen.wait_for(WITH_HELP)?;
        Ok(screen)
    }

    fn start_with(agent: &Command, change: impl FnOnce(&mut Command)) -> Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let hands = openpt(flags)?;
        grantpt(&hands)?;
        unlockpt(&hands)?;
        let terminal = ioctl_tiocgptpeer(&hands, flags)?;
        let before = tcgetattr(&terminal)?;
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(agent.get_program()).args(agent.get_args());
        for (name, value) in agent.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let stdio = || terminal.try_clone().map(Stdio::from);
        command.stdin(stdio()?).stdout(stdio()?).stderr(stdio()?);
        change(&mut command);
        let agent = command.spawn().context("setsid")?;
        let (sender, eyes) = channel();
        let mut watched = File::from(hands.try_clone()?);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = watched.read(&mut bytes) {
                if sender.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { hands: hands.into(), eyes, seen: String::new(), terminal, before, agent })
    }

    fn type_in(&mut self, keys: &str) -> Result<()> {
        Ok(self.hands.write_all(keys.as_bytes())?)
    }

    /// Waits for a text; what was seen up to its end.
    fn wait_for(&mut self, text: &str) -> Result<String> {
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return Ok(std::mem::replace(&mut self.seen, rest));
            }
            match self.eyes.recv_timeout(PATIENCE) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    bail!("no {text:?} in {:?}", self.seen)
                }
            }
        }
    }

    /// Waits for a line that is a message, and is it whole.
    fn message(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        loop {
            let line = self.wait_for("\r\n")?;
            if let Ok(message) = serde_json::from_str::<Value>(&line)
                && wanted(&message)
            {
                return Ok(message);
            }
        }
    }

    fn answer(&mut self, id: impl Into<Value>) -> Result<Value> {
        let id = id.into();
        self.message(|message| message["id"] == id && message.get("method").is_none())
    }

    /// Waits for the agent's end; the terminal must be as it was.
    fn end(mut self) -> Result<Option<i32>> {
        let status = e2e::wait(&mut self.agent)?;
        let after = tcgetattr(self.terminal.as_fd())?;
        assert_eq!(format!("{after:?}"), format!("{:?}", self.before));
        Ok(status.code())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

fn by_itself() -> Command {
    let mut command = simulated();
    command.args(["--ebpf", "off"]);
    command
}

/// Both kinds of session, each with what it says of its recorder.
fn both(test: impl Fn(&Command) -> Result<()>) -> Result<()> {
    let recorder = Recorder::start(&["--ebpf", "off"])?;
    test(&by_itself()).context("by itself")?;
    test(&recorder.session_command()).context("joined")?;
    assert!(recorder.log()?.contains("session_ended"), "no session has joined");
    Ok(())
}

#[test]
fn what_is_typed_and_pasted_is_answered_in_lines_that_are_whole() -> Result<()> {
    both(|agent| {
        let mut screen = Screen::start(agent)?;
        // Ten times what the terminal's own editing would take.
        let client = json!({"name": "x".repeat(40_000), "version": "1"});
        let params =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
        screen.type_in(&format!(
            "{}\r",
            json!({"jsonrpc": "2.0", "id": 3, "method": "initialize", "params": params})
        ))?;
        assert_eq!(screen.answer(3)?["result"]["protocolVersion"], "2025-11-25");
        screen.type_in("get_gpu_health\r")?;
        let answer = screen.answer("typed-1")?;
        assert_eq!(answer["result"]["structuredContent"]["simulated"], true, "{answer}");
        screen.type_in("get_gpu_inventory {\"gpu\": 0}\r")?;
        let answer = screen.answer("typed-2")?;
        assert_eq!(
            answer["result"]["structuredContent"]["gpus"].as_array().map(Vec::len),
            Some(1),
            "{answer}"
        );
        // Slips: a character, one of two bytes, a key that is no text, a whole line.
        screen.type_in(
            "nonsense\x15{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"piä\x7f\x1b[Dngg\x7f\"}\r",
        )?;
        assert_eq!(screen.answer(4)?["result"], json!({}));
        screen.type_in("{\"jsonrpc\":\"2.0\",\r")?;
        assert_eq!(screen.answer(Value::Null)?["error"]["code"], -32700);
        screen.type_in("\x04")?;
        assert_eq!(screen.end()?, Some(0));
        Ok(())
    })
}

#[test]
fn a_word_gets_a_hint_and_no_error_of_the_protocol() -> Result<()> {
    both(|agent| {
        let mut screen = Screen::start(agent)?;
        screen.type_in("\r\r  \rwhat is this\r")?;
        assert!(!screen.wait_for("`help` says")?.contains("jsonrpc"));
        screen.type_in("help\r")?;
        assert!(!screen.wait_for(WITH_HELP)?.contains("jsonrpc"));
        screen.type_in("get_gpu_helth\r")?;
        let answer = screen.answer("typed-1")?;
        let why = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(why.contains("get_gpu_helth") && why.contains("get_gpu_health"), "{answer}");
        screen.type_in("quit\r")?;
        assert_eq!(screen.end()?, Some(0));
        Ok(())
    })
}

#[test]
fn however_it_ends_the_terminal_is_as_before() -> Result<()> {
    both(|agent| {
        for ending in ["\x04", "\x03", "half a line\x03", "exit\r", "SIGTERM"] {
            let mut screen = Screen::start(agent)?;
            screen.type_in("watch_gpu_events\r")?;
            if ending == "SIGTERM" {
                let pid = Pid::from_raw(i32::try_from(screen.agent.id())?).context("an id")?;
                kill_process(pid, Signal::TERM)?;
            } else {
                screen.type_in(ending)?;
            }
            assert_eq!(screen.end()?, Some(0), "{ending:?}");
        }
        Ok(())
    })
}

#[test]
fn what_comes_while_a_line_is_typed_does_not_break_into_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fifo = dir.path().join("log");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into())?;
    let mut agent = by_itself();
    let mut screen = Screen::start(agent.arg("--replay").arg(&fifo))?;
    let mut log = fs::OpenOptions::new().write(true).open(&fifo)?;
    let client = json!({"name": "e2e", "version": "1"});
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
    for (id, method, params) in
        [(1, "initialize", params), (2, "resources/subscribe", json!({"uri": "gpu://events"}))]
    {
        screen.type_in(&format!(
            "{}\r",
            json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        ))?;
        screen.answer(id)?;
    }
    screen.type_in("get_gpu_inv")?;
    screen.wait_for("get_gpu_inv")?;
    writeln!(log, "NVRM: Xid (PCI:0000:1b:00): 79, GPU has fallen off the bus.")?;
    screen.message(|message| message["method"] == "notifications/resources/updated")?;
    // It is there again, and goes on.
    screen.wait_for("get_gpu_inv")?;
    screen.type_in("entory\r")?;
    screen.answer("typed-1")?;
    Ok(())
}

#[test]
fn with_stdout_elsewhere_the_messages_alone_go_there() -> Result<()> {
    both(|agent| {
        let (reader, writer) = std::io::pipe()?;
        let mut screen = Screen::start_with(agent, |command| {
            command.stdout(writer);
        })?;
        screen.wait_for(WITH_HELP)?;
        screen.type_in("get_gpu_health\rnot a tool\rget_gpu_health\r")?;
        let mut lines = BufReader::new(reader).lines();
        // Both are under way at once, and whichever is done first is answered first.
        let mut answered = Vec::new();
        for line in lines.by_ref().take(2) {
            answered.push(serde_json::from_str::<Value>(&line?)?["id"].clone());
        }
        answered.sort_by_key(Value::to_string);
        assert_eq!(answered, ["typed-1", "typed-2"]);
        screen.type_in("\x04")?;
        assert_eq!(screen.end()?, Some(0));
        assert!(lines.next().is_none());
        Ok(())
    })
}
