//! A session on simulated GPUs that change under it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::{Agent, agent, simulator};

/// The session, and the scenario file that its simulator looks at again.
#[derive(Debug)]
pub struct Changing {
    /// Has to outlive the session, which reads from it.
    dir: tempfile::TempDir,
    pub agent: Agent,
}

impl Changing {
    /// Opens a session on a node that is as `scenario` says, with every call that the simulator gets written down.
    pub fn start(scenario: &str) -> Result<Self> {
        Self::start_on(scenario, &simulator())
    }

    /// The same with a copy of the simulator.
    pub fn start_on(scenario: &str, library: &Path) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("scenario.toml");
        fs::write(&path, scenario)?;
        let mut agent = Agent::spawn(
            agent()
                .args(["--ebpf", "off", "--nvml-mode", "simulated", "--nvml-library"])
                .arg(library)
                .env("NVML_SIM_SCENARIO", path)
                .env("NVML_SIM_TRACE", dir.path().join("trace")),
        )?;
        agent.initialize()?;
        Ok(Self { dir, agent })
    }

    /// The node changes. The simulator sees it at a call some milliseconds later.
    pub fn becomes(&self, scenario: &str) -> Result<()> {
        let new = self.dir.path().join("new.toml");
        fs::write(&new, scenario)?;
        Ok(fs::rename(new, self.scenario())?)
    }

    /// How often the simulator was called by this name.
    pub fn calls(&self, symbol: &str) -> Result<usize> {
        let trace = fs::read_to_string(self.dir.path().join("trace"))?;
        Ok(trace.lines().filter(|line| *line == symbol).count())
    }

    fn scenario(&self) -> PathBuf {
        self.dir.path().join("scenario.toml")
    }
}
