//! The harness of the end-to-end tests and the benchmarks: a client of the built agent that speaks MCP's lines and nothing
//! cleverer, so that what it sees is what is on the wire.
//!
//! Where things are comes from `cargo xtask test`: `E2E_AGENT`, `E2E_SIM_DIR`, `E2E_PYTHON`; without them the places where
//! `cargo xtask build` leaves its outputs are tried.

mod changing;
pub mod measure;
pub mod recorder;
pub mod stand_in;

use std::{
    collections::VecDeque,
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
pub use changing::Changing;
pub use recorder::Recorder;
use serde_json::{Value, json};

/// How long anything may take before a test gives up on it. Not a measure: only a hang meets it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One agent process and the client's end of its session.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<(Instant, String)>,
    /// Messages that came while another was waited for.
    early: VecDeque<(Instant, Value)>,
    next_id: u64,
}

/// What stderr and the exit code say of an agent that was not meant to stay.
#[derive(Debug)]
pub struct Exit {
    pub code: Option<i32>,
    pub stderr: String,
}

impl Agent {
    /// Starts `command`; its stderr goes to the test's.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the agent")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("no stdout")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(std::result::Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, stdin, lines, early: VecDeque::new(), next_id: 1 })
    }

    /// Starts an agent on simulated GPUs and opens a session of the initialize era.
    pub fn simulated(arguments: &[&str]) -> Result<Self> {
        let mut agent = Self::spawn(simulated().args(arguments))?;
        agent.initialize()?;
        Ok(agent)
    }

    /// The handshake of 2025-11-25; returns the result.
    pub fn initialize(&mut self) -> Result<Value> {
        let client = json!({"name": "e2e", "version": "1"});
        let params =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
        let answer = self.request("initialize", &params)?;
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        Ok(answer["result"].clone())
    }

    /// Sends one message.
    pub fn send(&mut self, message: &Value) -> Result<()> {
        self.send_bytes(format!("{message}\n").as_bytes())
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let stdin = self.stdin.as_mut().context("stdin is closed")?;
        stdin.write_all(bytes)?;
        Ok(stdin.flush()?)
    }

    /// Starts a request and returns its id.
    pub fn start(&mut self, method: &str, params: &Value) -> Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))?;
        Ok(id)
    }

    /// Makes a request and returns the whole answer, result or error.
    pub fn request(&mut self, method: &str, params: &Value) -> Result<Value> {
        let id = self.start(method, params)?;
        self.answer(id)
    }

    /// Waits for the answer to request `id`.
    pub fn answer(&mut self, id: u64) -> Result<Value> {
        Ok(self.wait_for(|message| message["id"] == id)?.1)
    }

    /// Calls a tool and returns its result.
    pub fn call(&mut self, tool: &str, arguments: &Value) -> Result<Value> {
        let answer = self.request("tools/call", &json!({"name": tool, "arguments": arguments}))?;
        if answer.get("error").is_some() {
            bail!("{tool}: {}", answer["error"]);
        }
        Ok(answer["result"].clone())
    }

    /// Calls a tool that must not refuse and returns its structured content.
    pub fn ask(&mut self, tool: &str, arguments: &Value) -> Result<Value> {
        let result = self.call(tool, arguments)?;
        if result["isError"] == true {
            bail!("{tool}: {}", text(&result));
        }
        Ok(result["structuredContent"].clone())
    }

    /// Waits for the first message that `wanted` accepts, with the time at which it was read.
    pub fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<(Instant, Value)> {
        if let Some(at) = self.early.iter().position(|(_, message)| wanted(message)) {
            return self.early.remove(at).context("it was there a moment ago");
        }
        let end = Instant::now() + PATIENCE;
        loop {
            let (at, line) =
                match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                    Ok(line) => line,
                    Err(RecvTimeoutError::Timeout) => {
                        bail!("no such message after {PATIENCE:?}; there came {:?}", self.early)
                    }
                    Err(RecvTimeoutError::Disconnected) => {
                        bail!("the agent closed its end; there came {:?}", self.early)
                    }
                };
            let message: Value = serde_json::from_str(&line)
                .with_context(|| format!("not JSON on stdout: {line}"))?;
            if wanted(&message) {
                return Ok((at, message));
            }
            self.early.push_back((at, message));
        }
    }

    /// Waits until `get_agent_status` has `source` in `state`; false when it settles elsewhere.
    pub fn source_is(&mut self, source: &str, state: &str) -> Result<bool> {
        let status = self.ask("get_agent_status", &json!({}))?;
        let sources = status["sources"].as_array().context("sources")?;
        Ok(sources.iter().any(|s| s["name"] == source && s["state"] == state))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes stdin, as a client that is done does.
    pub fn close(&mut self) {
        self.stdin = None;
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        wait(&mut self.child)
    }
}

/// Waits for the end of a process.
pub fn wait(child: &mut Child) -> Result<ExitStatus> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    bail!("the agent still runs {PATIENCE:?} after it should have ended")
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The built agent, with the machine's own environment variables for it removed, and deaf to the kernel's log.
pub fn agent() -> Command {
    let mut command = Command::new(agent_path());
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AGENT_"))
    {
        command.env_remove(name);
    }
    // What other tests print into the kernel's log is not this one's past; `--kernel-log auto` says otherwise.
    command.env("AGENT_KERNEL_LOG", "off");
    command
}

/// The built agent on the simulator.
pub fn simulated() -> Command {
    let mut command = agent();
    command.args(["--nvml-mode", "simulated", "--nvml-library"]).arg(simulator());
    command
}

/// Where the agent is.
pub fn agent_path() -> PathBuf {
    env::var_os("E2E_AGENT").map_or_else(|| target().join("release/agent"), PathBuf::from)
}

/// The simulator.
pub fn simulator() -> PathBuf {
    env::var_os("E2E_SIM_DIR")
        .map_or_else(|| target().join("sim"), PathBuf::from)
        .join("libnvidia-ml.so.1")
}

/// A Python with the clients that others wrote.
pub fn python() -> PathBuf {
    env::var_os("E2E_PYTHON").map_or_else(|| target().join("venv/bin/python"), PathBuf::from)
}

/// A scenario of the simulator, by its file's name.
pub fn scenario(name: &str) -> PathBuf {
    repository().join("tests/nvml-sim/scenarios").join(name)
}

/// The top of the checkout.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

/// The text of a tool's result.
pub fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

/// Runs an agent that is expected to end by itself.
pub fn run(command: &mut Command) -> Result<Exit> {
    let output = command.stdin(Stdio::null()).output().context("cannot start the agent")?;
    Ok(Exit {
        code: output.status.code(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Prints one line into the kernel's log through /dev/kmsg. It passes the same tracepoint as a driver's own.
pub fn print_to_kernel(line: &str) -> std::io::Result<()> {
    std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/kmsg")?
        .write_all(format!("{line}\n").as_bytes())
}

/// Has the kernel itself print `line`: a mount from a device of that name fails, and the kernel says which.
pub fn have_the_kernel_print(line: &str) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    for kind in ["squashfs", "xfs", "ext4"] {
        let flags = rustix::mount::MountFlags::RDONLY;
        match rustix::mount::mount(line, dir.path(), kind, flags, None) {
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(rustix::io::Errno::NODEV) => {}
            other => return Err(format!("mount: {other:?}")),
        }
    }
    Err("this kernel has none of the file systems that are tried".to_owned())
}

/// Why this machine cannot run what needs eBPF and the kernel's log; `None` when it can.
pub fn no_kernel() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    if let Err(error) = std::fs::OpenOptions::new().write(true).open("/dev/kmsg") {
        return Some(format!("cannot write to /dev/kmsg: {error}"));
    }
    match Agent::simulated(&[]).and_then(|mut agent| agent.source_is("ebpf", "live")) {
        Ok(true) => None,
        Ok(false) => Some("this kernel does not let the BPF program load".to_owned()),
        Err(error) => Some(format!("{error:#}")),
    }
}
