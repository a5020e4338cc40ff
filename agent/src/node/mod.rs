//! What one agent holds about its node, and how the sources feed it. Shared by every session of the process.

mod board;
pub mod devices;
pub mod holders;
mod kernel_log;
mod sources;
pub mod timeline;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

pub use board::Board;
pub use devices::Devices;
pub use timeline::Timelines;

use crate::{
    event::{Journal, Origin, Report, Source, What},
    gpu::{GpuError, Worker, health::Readings, inventory},
    kernel::{Line, source::State},
    store::keeper::Kept,
    xid::{self, Combiner, Kind},
};

/// What the command line decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessMode {
    ReadOnly,
    Operator,
}

impl AccessMode {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Operator => "operator",
        }
    }
}

/// What a recorder is besides.
#[derive(Debug)]
pub struct Recorder {
    pub socket: PathBuf,
    /// How the journal is kept. Written by the keeper, read by `get_agent_status`.
    pub kept: Arc<Mutex<Kept>>,
    /// Sessions that are open now.
    sessions: Arc<AtomicUsize>,
}

/// A session that is open; dropping it is its end.
#[derive(Debug)]
pub struct Session(Arc<AtomicUsize>);

impl Recorder {
    #[must_use]
    pub fn new(socket: PathBuf, kept: Arc<Mutex<Kept>>) -> Self {
        Self { socket, kept, sessions: Arc::default() }
    }

    /// Counts a session in, unless there are `most` already.
    #[must_use]
    pub fn enter(&self, most: usize) -> Option<Session> {
        let room = |open| (open < most).then_some(open + 1);
        self.sessions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(Session(Arc::clone(&self.sessions)))
    }

    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Everything that a session's tools ask.
#[derive(Debug)]
pub struct Node {
    /// NVML, on its own thread.
    pub gpu: Worker,
    /// Written by the sources, read by every session.
    pub journal: Journal,
    /// What each source's lines have begun and not ended. Written as lines are heard.
    pub combiners: Mutex<BTreeMap<Source, Combiner>>,
    /// Written by the sources, read by `get_agent_status` and by tools that wait for a source to come up.
    pub sources: Board,
    /// Who has the driver's devices open. Written by the source that follows them.
    pub devices: Devices,
    /// What health is compared with. `get_gpu_health` writes and reads it.
    pub readings: Readings,
    /// What the GPUs measured. Written by the recorder's sampler, empty in a session by itself.
    pub timelines: Timelines,
    /// Set where this process is the node's recorder and not a session by itself.
    pub recorder: Option<Recorder>,
    pub started: SystemTime,
    /// The Kubernetes node's name, from `NODE_NAME`, else the host's name.
    pub name: String,
}

impl Node {
    /// Whether NVML, demanded, can be had: what is wrong and what to do where its library is not there or not of the kind
    /// asked for. One that is there and sick is what a session is for.
    pub async fn demand_nvml(&self) -> Result<(), (String, String)> {
        match self.gpu.ask(|_| Ok(())).await {
            Err(GpuError::Unavailable(unavailable)) if !unavailable.is_sick() => {
                Err((unavailable.to_string(), unavailable.remedy()))
            }
            _ => Ok(()),
        }
    }

    /// How the source of figures stands.
    pub async fn nvml(&self) -> State {
        match self.gpu.ask(inventory::driver).await {
            Ok(driver) => {
                let version = driver.driver_version;
                let version = version.as_deref().unwrap_or("of unknown version");
                let mut how =
                    format!("{}, driver {version}, {} GPUs", driver.library, driver.gpu_count);
                for (index, hung) in self.gpu.hung() {
                    let _ = write!(how, "; GPU {index}: {hung}");
                }
                State::Live(how)
            }
            Err(GpuError::Starting { .. }) => State::Starting,
            Err(error) => State::Unavailable { reason: error.to_string(), remedy: error.remedy() },
        }
    }

    /// Puts one line into the journal, if it is an event.
    pub fn hear(&self, source: Source, line: Line) {
        if let Some(report) = self.report(source, line) {
            self.journal.append(report);
        }
    }

    /// What a line reports, together with those of its source before it.
    fn report(&self, source: Source, line: Line) -> Option<Report> {
        let Line { time, task, mut text, cut, origin } = line;
        let mut combiners = self.combiners.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = combiners.entry(source).or_default().feed(&text)?;
        // What the source saw is better than what the line's prefix says.
        let origin = if origin == Origin::Unstated { fault.origin } else { origin };
        let follows = fault.follows;
        let (pci, pid) = (fault.pci, fault.process.pid);
        // The address of a bus loss in three lines stood in the first, which is gone: the driver's words again.
        if let (Kind::BusLoss, Some(pci)) = (fault.kind, fault.pci)
            && xid::parse(&text).is_some_and(|alone| alone.pci.is_none())
        {
            text = [format!("NVRM: The NVIDIA GPU {pci}\n").as_bytes(), &text].concat().into();
        }
        // What a process wrote names whom it likes.
        let by_driver = origin != Origin::User;
        let attribute = || self.devices.attribute(time, pci, pid, task.as_ref());
        let attribution = by_driver.then(attribute).flatten();
        let what = What::Line { text, cut };
        Some(Report { time, source, task, what, attribution, origin, follows })
    }
}
