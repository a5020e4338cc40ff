//! A device that stands in for a GPU's where there is no driver of NVIDIA's, and a recorder that takes it for one.
//!
//! The processors' CPUID opens for root, answers every ioctl with ENOTTY and is used by nobody else. `proc/devices` of a
//! host's root of our own gives its major number the driver's name.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Agent, PATIENCE, Recorder};

/// Stands in for `nvidia0`.
pub const DEVICE: &str = "/dev/cpu/0/cpuid";

/// The host's root that says so.
#[derive(Debug)]
pub struct Host(TempDir);

impl Host {
    pub fn new() -> Result<Self> {
        let devices = fs::read_to_string("/proc/devices")?;
        let major = devices.lines().find_map(|line| line.trim().strip_suffix(" cpu/cpuid"));
        let major = major.filter(|_| Path::new(DEVICE).exists());
        let major = major.with_context(|| format!("{DEVICE} is not there: modprobe cpuid"))?;
        let root = tempfile::tempdir()?;
        fs::create_dir(root.path().join("proc"))?;
        let devices = format!("Character devices:\n{major} nvidia\n");
        fs::write(root.path().join("proc/devices"), devices)?;
        Ok(Self(root))
    }

    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// A recorder that follows the device and nothing else, a session of it, and how it is followed.
    pub fn recorder(&self) -> Result<(Recorder, Agent, String)> {
        let root = self.root().to_string_lossy();
        let recorder = Recorder::start(&["--ebpf", "on", "--host-root", &root])?;
        let mut session = recorder.session()?;
        let end = Instant::now() + PATIENCE;
        loop {
            let tracer = tracer(&mut session)?;
            match tracer["state"].as_str() {
                Some("live") => {
                    let how = tracer["detail"].as_str().context("detail")?;
                    let how = how.split(';').next().unwrap_or_default().to_owned();
                    return Ok((recorder, session, how));
                }
                Some("starting") if Instant::now() < end => {}
                _ => bail!("the device is not followed: {tracer}"),
            }
        }
    }
}

/// How the source stands that follows devices.
pub fn tracer(session: &mut Agent) -> Result<Value> {
    let status = session.ask("get_agent_status", &json!({}))?;
    let mut sources = status["sources"].as_array().into_iter().flatten();
    let tracer = sources.find(|source| source["name"] == "device_tracer");
    Ok(tracer.context("no such source")?.clone())
}
