//! A recorder in a directory of its own, and the sessions that join it.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Agent, PATIENCE, simulated};

/// `agent record` on simulated GPUs, and the directory with its socket and its journal.
#[derive(Debug)]
pub struct Recorder {
    child: Child,
    dir: TempDir,
}

impl Recorder {
    /// Starts one and waits until it listens.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, arguments)
    }

    /// Starts one on what another has left behind.
    pub fn start_in(dir: TempDir, arguments: &[&str]) -> Result<Self> {
        Self::start_with(dir, arguments, |_| ())
    }

    /// The same with something of its own, as a variable of the environment.
    pub fn start_with(
        dir: TempDir,
        arguments: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let mut command = command(&dir, arguments);
        change(&mut command);
        let child = command.stderr(File::create(dir.path().join("log"))?).spawn()?;
        let mut recorder = Self { child, dir };
        let end = Instant::now() + PATIENCE;
        while UnixStream::connect(recorder.socket()).is_err() {
            if let Some(status) = recorder.child.try_wait()? {
                bail!("the recorder ended with {status}: {}", recorder.log()?);
            }
            if Instant::now() > end {
                bail!("the recorder does not listen: {}", recorder.log()?);
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Ok(recorder)
    }

    /// One that hears what is written to a FIFO, and the FIFO's other end.
    pub fn replaying() -> Result<(Self, File)> {
        let dir = tempfile::tempdir()?;
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("lines"), 0o600.into())?;
        Self::replaying_in(dir)
    }

    /// The same on what such a one has left behind.
    pub fn replaying_in(dir: TempDir) -> Result<(Self, File)> {
        let fifo = dir.path().join("lines");
        let recorder =
            Self::start_in(dir, &["--ebpf", "off", "--replay", &fifo.to_string_lossy()])?;
        Ok((recorder, fs::OpenOptions::new().write(true).open(fifo)?))
    }

    /// A session, initialized. It fails where it is not this recorder's.
    pub fn session(&self) -> Result<Agent> {
        let mut session = Agent::spawn(&mut self.session_command())?;
        session.initialize()?;
        let status = session.ask("get_agent_status", &serde_json::json!({}))?;
        if status["recorder"]["socket"] != self.socket().to_string_lossy().as_ref() {
            bail!("the session did not join: {status}");
        }
        Ok(session)
    }

    /// The command of a session that finds this recorder.
    pub fn session_command(&self) -> Command {
        let mut command = simulated();
        command.arg("--socket").arg(self.socket());
        command
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("run/agent.sock")
    }

    /// A file of its directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn journal(&self) -> PathBuf {
        self.dir.path().join("run/journal.redb")
    }

    /// What it has said on stderr.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(self.dir.path().join("log")).context("the recorder's log")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal and waits for the end; what it leaves behind stays as long as the directory.
    pub fn end(mut self, signal: Signal) -> Result<(ExitStatus, TempDir)> {
        let pid = Pid::from_raw(i32::try_from(self.pid())?).context("a process has an id")?;
        kill_process(pid, signal)?;
        let status = crate::wait(&mut self.child)?;
        // The rest of this value is dropped with nothing left to kill.
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir()?);
        Ok((status, dir))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            // Where the test's own output goes.
            let _ = std::io::stderr().write_all(self.log().unwrap_or_default().as_bytes());
        }
    }
}

/// `agent record` with its files in `dir`.
pub fn command(dir: &TempDir, arguments: &[&str]) -> Command {
    let mut command = simulated();
    command.arg("record").args(arguments);
    if !arguments.contains(&"--socket") {
        command.arg("--socket").arg(dir.path().join("run/agent.sock"));
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}
