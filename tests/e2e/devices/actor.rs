//! Processes that do what a test tells them, in Python: open, fork, become another program.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use e2e::{PATIENCE, python};
use serde_json::Value;

use super::{Stage, quoted};

pub const SOURCE: &str = include_str!("actor.py");

/// A process, or a thread of one. It ends with this value.
pub struct Actor {
    pub pid: u32,
    connection: BufReader<UnixStream>,
    /// `None` of one that another has forked.
    child: Option<Child>,
}

impl Actor {
    /// Starts one with `command`, which runs Python or what runs Python in the end.
    pub fn start(stage: &Stage, command: &mut Command) -> Result<Self> {
        let [tells, source] = [stage.path("tells"), stage.path("actor.py")];
        command.args(["-c", SOURCE]).args([tells, source]).stdin(Stdio::null());
        let child = command.spawn()?;
        let mut actor = Self::come(stage)?;
        actor.child = Some(child);
        Ok(actor)
    }

    /// The same with a `/dev` of its own that has nothing but what `script` makes there, beside the agent's eyes.
    pub fn with_own_dev(stage: &Stage, script: &str) -> Result<Self> {
        let script =
            format!("mount -t tmpfs none /dev && cd /dev && {script} && exec \"$0\" \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).arg(python());
        Self::start(stage, &mut command)
    }

    /// The one that connects next.
    pub fn come(stage: &Stage) -> Result<Self> {
        stage.tells.set_nonblocking(true)?;
        let end = std::time::Instant::now() + PATIENCE;
        let stream = loop {
            match stage.tells.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if std::time::Instant::now() > end {
                bail!("no process has come");
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        };
        stream.set_nonblocking(false)?;
        let mut actor = Self { pid: 0, connection: BufReader::new(stream), child: None };
        actor.pid = u32::try_from(actor.answer()?.as_u64().context("a number")?)?;
        for name in ["nvidia0", "nvidia-uvm"] {
            actor.run(&format!("{} = {}", name.replace('-', "_"), quoted(&stage.path(name))))?;
        }
        Ok(actor)
    }

    /// Has it run Python: what an expression comes to, null of a statement.
    pub fn run(&mut self, python: &str) -> Result<Value> {
        self.tell(python)?;
        let mut answer = self.answer()?;
        if answer.get("error").is_some() {
            bail!("{python}: {}", answer["error"]);
        }
        Ok(answer["is"].take())
    }

    /// The same where no answer comes, as it is somebody else then or nobody.
    pub fn tell(&mut self, python: &str) -> Result<()> {
        Ok(writeln!(self.connection.get_mut(), "{}", Value::from(python))?)
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.connection.get_ref().set_read_timeout(Some(PATIENCE))?;
        if self.connection.read_line(&mut line)? == 0 {
            bail!("process {} is gone", self.pid);
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Has it fork.
    pub fn fork(&mut self, stage: &Stage) -> Result<Self> {
        self.tell("fork()")?;
        let child = Self::come(stage)?;
        self.answer()?;
        Ok(child)
    }

    /// Ends it and waits until it is gone.
    pub fn end(mut self) -> Result<()> {
        self.tell("os._exit(0)")?;
        let mut rest = String::new();
        // Closed by its end, if it did not answer.
        assert_eq!(self.connection.read_line(&mut rest)?, 0, "{rest}");
        if let Some(mut child) = self.child.take() {
            e2e::wait(&mut child)?;
        }
        Ok(())
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // Already gone is as good.
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
