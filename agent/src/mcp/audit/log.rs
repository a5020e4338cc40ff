//! Where the lines go: one write(2) each, of fewer bytes than a pipe takes whole, whoever else writes to it.
//!
//! Nobody waits for a reader that has gone to sleep: a full pipe is given [`PATIENCE`] once, and until it has taken
//! something again the lines are counted instead. The next that can be written says how many.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use serde::Serialize;

use crate::mcp::{ascii, render};

/// A reader that is there takes what lies in the pipe within this, however busy the node is.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The log; clones write to the same.
#[derive(Debug, Clone)]
pub struct Log(Option<Arc<Mutex<Sink>>>);

#[derive(Debug)]
struct Sink {
    file: OwnedFd,
    /// Lines that could not be written since the last that could.
    lost: u64,
    /// It has been said why they cannot.
    said: bool,
}

#[derive(Serialize)]
struct Line<'a, T> {
    audit: &'static str,
    time: String,
    session: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
    #[serde(flatten)]
    what: &'a T,
}

impl Log {
    pub const NOWHERE: Self = Self(None);

    /// Writes to `file`. Where others write to it too it is a pipe, or is appended to.
    pub fn to(file: OwnedFd) -> Self {
        Self(Some(Arc::new(Mutex::new(Sink { file, lost: 0, said: false }))))
    }

    pub fn is_nowhere(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn write(&self, audit: &'static str, session: &str, what: &impl Serialize) {
        let Some(sink) = &self.0 else { return };
        let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
        let time = render::time(SystemTime::now());
        let lost = (sink.lost > 0).then_some(sink.lost);
        let line = Line { audit, time, session, lost, what };
        match line.bytes().and_then(|bytes| sink.write(&bytes)) {
            Ok(()) => sink.lost = 0,
            Err(error) => {
                sink.lost += 1;
                // A pipe that is full may be the one that the warning would go to.
                if error.kind() != ErrorKind::WouldBlock && !std::mem::replace(&mut sink.said, true)
                {
                    tracing::warn!(%error, "The audit's lines cannot be written; the session goes on without.");
                }
            }
        }
    }
}

impl<T: Serialize> Line<'_, T> {
    fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(512);
        ascii::json(&mut bytes, self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

impl Sink {
    fn write(&self, line: &[u8]) -> io::Result<()> {
        let mut written = rustix::io::write(&self.file, line);
        if written == Err(Errno::AGAIN) && self.lost == 0 {
            let mut room = [PollFd::new(&self.file, PollFlags::OUT)];
            poll(&mut room, Some(&PATIENCE))?;
            written = rustix::io::write(&self.file, line);
        }
        if written? < line.len() { Err(ErrorKind::WriteZero.into()) } else { Ok(()) }
    }
}

/// A name that no other session of this pod has: the hasher's keys are the system's random numbers.
pub fn random_id() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}
