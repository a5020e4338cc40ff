//! How a session joins the recorder: one line each way on its socket, and MCP from then on.
//!
//! ```text
//! → {"join":{"operator":false,"simulated":null,"nvml_library":null,"ebpf":false,"replay":null}}
//! ← {"joined":{"direct":true}}
//! ```
//!
//! With its line the session may hand over its stdout ([`super::handing`]). Where the recorder takes it, the answers go
//! there, and what still comes on the socket is why the session ends before its client has closed it.
//!
//! A client that begins with MCP itself is served as a session that demands nothing.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// A client that takes nothing for this long, with an answer waiting for it, is cut off.
pub const STALLED: Duration = Duration::from_secs(10);

/// What the session was started with, where it was written out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// `--mode operator`.
    pub operator: bool,
    /// `--nvml-mode`; null when it was left at its default.
    pub simulated: Option<bool>,
    pub nvml_library: Option<PathBuf>,
    /// `--ebpf on`.
    pub ebpf: bool,
    pub replay: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    join: Join,
}

/// What the recorder says to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Joined {
        /// The recorder writes to the session's stdout itself.
        direct: bool,
    },
    /// The session was asked for another library or another log than the recorder has: it has to be by itself.
    Elsewhere { reason: String },
    /// What was demanded cannot be had.
    Refused { what: String, remedy: String },
}

impl Join {
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        line(&Line { join: self.clone() })
    }

    /// `None` for anything else, which is a client's first message.
    #[must_use]
    pub fn read(line: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Line>(line).ok().map(|line| line.join)
    }
}

impl Answer {
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        line(self)
    }

    #[must_use]
    pub fn read(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

fn line(value: &impl Serialize) -> Vec<u8> {
    // Fails only for maps whose keys are no strings, and here is none.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}
