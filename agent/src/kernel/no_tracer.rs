//! In the place of the tracer where the agent is built without the feature `ebpf`: says so.

use std::{convert::Infallible, io};

use super::{
    Buffer, Heard,
    source::{Counter, State},
};

/// Cannot be made.
#[derive(Debug)]
pub struct Tracer(Infallible);

/// There is nothing to load.
#[derive(Debug, Default)]
pub struct Loader;

impl Loader {
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

/// This agent has no eBPF.
#[derive(Debug, thiserror::Error)]
#[error("this agent was built without eBPF (--no-default-features)")]
pub struct TracerError;

impl TracerError {
    /// This error as the state of the source.
    #[must_use]
    pub fn state(&self) -> State {
        let remedy = "Build it with `cargo xtask build`, or use the project's image.".to_owned();
        State::Unavailable { reason: self.to_string(), remedy }
    }
}

impl Tracer {
    pub fn load(_: Loader, _: Buffer) -> Result<Self, TracerError> {
        Err(TracerError)
    }

    #[must_use]
    pub fn how(&self) -> String {
        match self.0 {}
    }

    #[must_use]
    pub fn driver(&self) -> &State {
        match self.0 {}
    }

    #[must_use]
    pub fn counter(&self) -> Counter {
        match self.0 {}
    }

    #[must_use]
    pub fn driver_counter(&self) -> Counter {
        match self.0 {}
    }

    #[expect(clippy::unused_async, reason = "the same signature as the tracer's")]
    pub async fn run(&mut self, _: impl FnMut(Heard)) -> io::Result<()> {
        match self.0 {}
    }
}
