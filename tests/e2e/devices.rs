//! What the agent tells of processes and the driver's devices, against what really happened.
//!
//! No driver is needed. Devices of other drivers stand in for its own: `proc/devices` below `AGENT_HOST_ROOT` calls
//! their major numbers `nvidia` (the processors' CPUID: it opens, answers every ioctl with `ENOTTY`, and with `ENXIO` where
//! there is no such processor) and `nvidia-uvm` (a virtual console's text). Processes that do what a test tells them are
//! [`actor`]s.

mod actor;
mod bad_input;
mod calls;
mod changes;
mod pods;
mod storms;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use e2e::{Agent, PATIENCE, python, simulated};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::{Value, json};
use tempfile::TempDir;

use actor::Actor;

/// Storms fill the ring buffers of every agent that listens: they are alone.
static QUIET: RwLock<()> = RwLock::new(());

/// For a test that minds its neighbours' storms.
fn quiet() -> RwLockReadGuard<'static, ()> {
    QUIET.read().unwrap_or_else(PoisonError::into_inner)
}

/// For a storm.
fn alone() -> RwLockWriteGuard<'static, ()> {
    QUIET.write().unwrap_or_else(PoisonError::into_inner)
}

/// A host's root with devices that stand in for the driver's, and where processes come to be told what to do.
struct Stage {
    dir: TempDir,
    tells: std::os::unix::net::UnixListener,
}

/// The major number of a driver of this machine.
fn major(driver: &str) -> Option<u32> {
    let devices = fs::read_to_string("/proc/devices").ok()?;
    devices.lines().find_map(|line| {
        let (major, name) = line.trim().split_once(' ')?;
        (name == driver).then(|| major.parse().ok())?
    })
}

impl Stage {
    fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let tells = std::os::unix::net::UnixListener::bind(dir.path().join("tells"))?;
        let stage = Self { dir, tells };
        fs::create_dir(stage.path("proc"))?;
        let [nvidia, uvm] = [major("cpu/cpuid"), major("vcs")];
        let (nvidia, uvm) = (nvidia.context("no cpu/cpuid")?, uvm.context("no vcs")?);
        stage.devices(&format!("Character devices:\n{nvidia} nvidia\n{uvm:3} nvidia-uvm\n"))?;
        stage.node("nvidia0", nvidia, 0)?;
        stage.node("nvidia-uvm", uvm, 0)?;
        fs::write(stage.path("actor.py"), actor::SOURCE)?;
        Ok(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes `proc/devices`.
    fn devices(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.path("proc/devices"), text)?)
    }

    /// Makes the file of a device.
    fn node(&self, name: &str, major: u32, minor: u32) -> Result<()> {
        let all = Mode::from_raw_mode(0o666);
        let made =
            mknodat(CWD, self.path(name), FileType::CharacterDevice, all, makedev(major, minor));
        made.with_context(|| format!("mknod {name}"))
    }

    /// An agent whose host is this.
    fn agent(&self) -> Command {
        let mut command = simulated();
        command.env("AGENT_HOST_ROOT", self.dir.path());
        command
    }

    /// A session whose agent follows the devices.
    fn session(&self) -> Result<Session> {
        self.session_of(&mut self.agent())
    }

    fn session_of(&self, command: &mut Command) -> Result<Session> {
        let mut agent = Agent::spawn(command)?;
        agent.initialize()?;
        let tracer = settled(&mut agent)?;
        if tracer["state"] != "live" {
            bail!("{tracer}");
        }
        let marker = self.actor()?;
        Ok(Session { agent, marker, cursor: json!("0-0"), heard: Vec::new(), lost: Value::Null })
    }

    /// A process that can open the devices, and does nothing yet.
    fn actor(&self) -> Result<Actor> {
        Actor::start(self, &mut Command::new(python()))
    }
}

/// How the source stands that follows devices, when it is set up.
fn settled(agent: &mut Agent) -> Result<Value> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let status = agent.ask("get_agent_status", &json!({}))?;
        let sources = status["sources"].as_array().into_iter().flatten();
        let mut tracer = sources.filter(|source| source["name"] == "device_tracer");
        if let Some(tracer) = tracer.next().filter(|tracer| tracer["state"] != "starting") {
            return Ok(tracer.clone());
        }
    }
    bail!("the devices' source is not set up")
}

/// Why no device is to be had here; `None` where they are.
fn unavailable() -> Option<String> {
    static WHY: OnceLock<Option<String>> = OnceLock::new();
    let why = || {
        if !rustix::process::geteuid().is_root() {
            return Some("needs root".to_owned());
        }
        if !python().exists() {
            return Some("no Python; `cargo xtask test` makes one".to_owned());
        }
        if major("cpu/cpuid").is_none() || major("vcs").is_none() {
            return Some("no device that could stand in: modprobe cpuid".to_owned());
        }
        let tried = Stage::new().and_then(|stage| {
            File::open(stage.path("nvidia0"))?;
            File::open(stage.path("nvidia-uvm"))?;
            stage.session()
        });
        tried.err().map(|error| format!("{error:#}"))
    };
    WHY.get_or_init(why).clone()
}

/// A session, and what was heard of it.
struct Session {
    agent: Agent,
    /// Opens and closes a device when everything before that is to have been heard.
    marker: Actor,
    cursor: Value,
    heard: Vec<Value>,
    lost: Value,
}

impl Session {
    /// Takes what is in the journal.
    fn listen(&mut self) -> Result<()> {
        let kinds = ["gpu_open", "gpu_close", "call_failed", "call_stalled"];
        loop {
            let arguments =
                json!({"kinds": kinds, "since": self.cursor, "duration_s": 0, "max_events": 1000});
            let mut page = self.agent.ask("watch_gpu_events", &arguments)?;
            assert_eq!(page["listening"], true, "{page}");
            self.cursor = page["next_cursor"].take();
            self.lost = page["lost"].take();
            if let Value::Array(events) = page["events"].take() {
                self.heard.extend(events);
            }
            if page["ended_by"] == "duration" {
                return Ok(());
            }
        }
    }

    /// Listens until this is so of what was heard.
    fn until(&mut self, so: impl Fn(&[Value]) -> bool) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            self.listen()?;
            if so(&self.heard) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let heard: Vec<String> = self.heard.iter().map(in_words).collect();
        bail!("not heard after {heard:?}; lost {}", self.lost)
    }

    /// Listens until everything that was done up to now must have been heard.
    fn catch_up(&mut self) -> Result<()> {
        let marker = self.marker.pid;
        let count = |heard: &[Value]| {
            heard
                .iter()
                .filter(|it| it["process"]["pid"] == marker && it["kind"] == "gpu_close")
                .count()
        };
        let before = count(&self.heard);
        self.marker.run("os.close(os.open(nvidia0, os.O_RDONLY))")?;
        self.until(|heard| count(heard) > before)
    }

    /// Everything that was told of a process up to now.
    fn events(&mut self, pid: u32) -> Result<Vec<Value>> {
        self.catch_up()?;
        Ok(self.heard.iter().filter(|it| it["process"]["pid"] == pid).cloned().collect())
    }

    /// The same in a few words each.
    fn told(&mut self, pid: u32) -> Result<Vec<String>> {
        Ok(self.events(pid)?.iter().map(in_words).collect())
    }

    /// What `get_gpu_processes` says of a process; null where it is not there.
    fn process(&mut self, pid: u32) -> Result<Value> {
        self.catch_up()?;
        self.process_now(pid)
    }

    /// The same without what is under way.
    fn process_now(&mut self, pid: u32) -> Result<Value> {
        let mut arguments = json!({"detail": "full"});
        loop {
            let mut page = self.agent.ask("get_gpu_processes", &arguments)?;
            assert_eq!(page["ebpf"]["live"], true, "{page}");
            let of = |it: &&mut Value| it["pid"] == pid && it["pid_namespace"] == "node";
            if let Some(found) = page["processes"].as_array_mut().into_iter().flatten().find(of) {
                return Ok(found.take());
            }
            match page["next_cursor"].take() {
                Value::Null => return Ok(Value::Null),
                cursor => arguments["cursor"] = cursor,
            }
        }
    }

    /// What the kernel knows of a process now; null where it holds nothing.
    fn kernel(&mut self, pid: u32) -> Result<Value> {
        Ok(self.process_now(pid)?["kernel"].take())
    }

    /// The same, once it is so: where events were lost it takes a while to be right again.
    fn process_in_time(&mut self, pid: u32, so: impl Fn(&Value) -> bool) -> Result<Value> {
        let end = Instant::now() + PATIENCE;
        loop {
            let kernel = self.kernel(pid)?;
            if so(&kernel) {
                return Ok(kernel);
            }
            if Instant::now() > end {
                bail!("process {pid} is still {kernel}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The devices that a process holds.
    fn holds(&mut self, pid: u32) -> Result<Value> {
        Ok(self.process(pid)?["kernel"]["devices"].take())
    }
}

/// An event without what differs from run to run.
fn in_words(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut words = vec![text(&event["kind"]), text(&event["device"])];
    match words[0].as_str() {
        "gpu_open" => words.push(text(&event["how"])),
        "gpu_close" if event["exited"] == true => words.push("exited".to_owned()),
        "gpu_close" => {}
        _ => words.extend([text(&event["call"]["name"]), text(&event["call"]["failure"])]),
    }
    words.join(" ")
}

/// As text for Python.
fn quoted(path: &Path) -> String {
    json!(path.to_string_lossy()).to_string()
}
