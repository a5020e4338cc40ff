//! What a source of events says about itself, so that silence can be told from deafness.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// How a source stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Being set up; wait a moment.
    Starting,
    /// Hearing. The text says by what means.
    Live(String),
    /// Not asked for.
    Off(String),
    /// Asked for or allowed, and not to be had.
    Unavailable {
        reason: String,
        /// What turns it on.
        remedy: String,
    },
}

impl State {
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Live(_) => "live",
            Self::Off(_) => "off",
            Self::Unavailable { .. } => "unavailable",
        }
    }
}

/// What a source has counted since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Driver lines the kernel printed.
    pub heard: u64,
    /// Of these, lost because the ring buffer was full.
    pub dropped: u64,
    /// Records that were not as the program writes them; always a bug.
    pub malformed: u64,
    /// Lines that another source had dropped and this one has told.
    pub recovered: u64,
}

/// Reads a source's counts when somebody asks: counting must not stand between an event and its reader.
pub type Counter = Arc<dyn Fn() -> Counts + Send + Sync>;

/// The counter of a source that counts what it hears and loses nothing.
#[must_use]
pub fn heard_counter() -> (Arc<AtomicU64>, Counter) {
    let heard = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&heard);
    (heard, Arc::new(move || Counts { heard: read.load(Ordering::Relaxed), ..Counts::default() }))
}
