//! What one agent holds about its node, and how the sources feed it. Shared by every session of the process.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    event::{Journal, Report, Source, What},
    gpu::{
        GpuError, Worker,
        events::{Listener, Told},
    },
    kernel::{
        DriverXid, Heard, Line, replay,
        source::{Counter, Counts, State, heard_counter},
        tracer::{Loader, Tracer},
    },
    store::keeper::Kept,
    xid::{self, Combiner, Kind, MigInstance, Origin, PciAddress},
};

/// How long a tool waits for the sources to be set up.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the command line decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessMode {
    ReadOnly,
    Operator,
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
    /// Set where this process is the node's recorder and not a session by itself.
    pub recorder: Option<Recorder>,
    pub started: SystemTime,
    /// The Kubernetes node's name, from `NODE_NAME`, else the host's name.
    pub name: String,
}

/// How each source stands.
#[derive(Debug)]
pub struct Board {
    entries: Mutex<BTreeMap<Source, Entry>>,
    /// Counts changes; a waiter looks again at each.
    changed: watch::Sender<u64>,
}

#[derive(Clone)]
struct Entry {
    state: State,
    /// Set by the source when it is live, asked by whoever reads.
    counter: Option<Counter>,
}

impl Board {
    #[must_use]
    pub fn new() -> Self {
        Self { entries: Mutex::default(), changed: watch::Sender::new(0) }
    }

    pub fn set(&self, source: Source, state: State) {
        let reason = if let State::Unavailable { reason, .. } = &state { reason } else { "" };
        tracing::info!(
            source = source.name(),
            state = state.name(),
            reason,
            "A source of events has changed."
        );
        self.lock()
            .entry(source)
            .or_insert(Entry { state: State::Starting, counter: None })
            .state = state;
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Sets a source live, with what reads its counts.
    pub fn live(&self, source: Source, how: String, counter: Counter) {
        self.lock().insert(source, Entry { state: State::Starting, counter: Some(counter) });
        self.set(source, State::Live(how));
    }

    #[must_use]
    pub fn read(&self) -> Vec<(Source, State, Counts)> {
        let entries = self.lock().clone();
        entries
            .into_iter()
            .map(|(source, entry)| (source, entry.state.clone(), entry.counts()))
            .collect()
    }

    #[must_use]
    pub fn state(&self, source: Source) -> Option<State> {
        self.lock().get(&source).map(|entry| entry.state.clone())
    }

    /// Whether the kernel's own lines are heard at this moment, and not NVML's numbers alone.
    #[must_use]
    pub fn lines_live(&self) -> bool {
        self.lock().iter().any(|(source, entry)| *source != Source::Nvml && entry.is_live())
    }

    /// Whether anything is heard at this moment.
    #[must_use]
    pub fn any_live(&self) -> bool {
        self.lock().values().any(Entry::is_live)
    }

    /// Driver lines that were lost between the kernel and the journal.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.read().into_iter().map(|(_, _, counts)| counts.dropped + counts.malformed).sum()
    }

    /// Waits until no source is still starting, or for [`PATIENCE`]: a sick driver may keep one from ever being set up.
    pub async fn settled(&self) {
        let mut changed = self.changed.subscribe();
        let settled = async {
            while self.lock().values().any(|entry| entry.state == State::Starting) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        // Over or settled: the caller goes on with what is there.
        let _ = tokio::time::timeout(PATIENCE, settled).await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Source, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_live(&self) -> bool {
        matches!(self.state, State::Live(_))
    }

    fn counts(&self) -> Counts {
        self.counter.as_ref().map_or_else(Counts::default, |counter| counter())
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("state", &self.state)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
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

    /// Puts one line into the journal, if it is an event.
    pub fn hear(&self, source: Source, line: Line) {
        let Line { time, task, mut text, cut, origin } = line;
        let mut combiners = self.combiners.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(fault) = combiners.entry(source).or_default().feed(&text) else { return };
        // What the source saw is better than what the line's prefix says.
        let origin = if origin == Origin::Unstated { fault.origin } else { origin };
        let follows = fault.follows;
        // The address of a bus loss in three lines stood in the first, which is gone: the driver's words again.
        if let (Kind::BusLoss, Some(pci)) = (fault.kind, fault.pci)
            && xid::parse(&text).is_some_and(|alone| alone.pci.is_none())
        {
            text = [format!("NVRM: The NVIDIA GPU {pci}\n").as_bytes(), &text].concat().into();
        }
        let what = What::Line { text, cut };
        self.journal.append(Report { time, source, task, what, origin, follows });
    }

    /// Feeds the journal from NVML's event set, when NVML is there.
    pub fn listen_to_nvml(self: &Arc<Self>) {
        self.sources.set(Source::Nvml, State::Starting);
        let node = Arc::clone(self);
        tokio::spawn(async move {
            match node.gpu.ask(Listener::new).await {
                Ok(listener) => node.listen(listener),
                Err(error) => node.nvml_is_silent(error.to_string(), error.remedy()),
            }
        });
    }

    fn listen(self: &Arc<Self>, listener: Listener) {
        let heard =
            format!("Xids of {} of {} GPUs, by number", listener.heard(), listener.gpu_count);
        let (count, counter) = heard_counter();
        self.sources.live(Source::Nvml, heard, counter);
        let node = Arc::clone(self);
        let thread = std::thread::Builder::new().name("nvml-events".to_owned()).spawn(move || {
            let ended = listener.run(|told| {
                count.fetch_add(1, Ordering::Relaxed);
                node.hear_number(told);
            });
            let remedy =
                "Open a new session; a driver that was reloaded or upgraded is picked up then."
                    .to_owned();
            node.nvml_is_silent(ended, remedy);
        });
        if let Err(error) = thread {
            self.nvml_is_silent(
                format!("cannot start a thread: {error}"),
                "Raise the pod's limit of processes.".to_owned(),
            );
        }
    }

    fn nvml_is_silent(&self, reason: String, remedy: String) {
        self.sources.set(Source::Nvml, State::Unavailable { reason, remedy });
    }

    fn hear_number(&self, told: Told) {
        let Told { time, pci, code, gpu_instance, compute_instance } = told;
        let instance = MigInstance { gpu: gpu_instance, compute: compute_instance };
        let what = What::Xid { pci, code, instance, message: Bytes::new() };
        let (source, origin) = (Source::Nvml, Origin::Kernel);
        self.journal.append(Report { time, source, task: None, what, origin, follows: false });
    }

    fn hear_driver(&self, xid: DriverXid) {
        let DriverXid { time, task, pci, code, message } = xid;
        let pci = PciAddress::parse(&pci);
        let what = What::Xid { pci, code, instance: MigInstance::default(), message };
        let (source, origin) = (Source::Tracepoint, Origin::Kernel);
        self.journal.append(Report {
            time,
            source,
            task: Some(task),
            what,
            origin,
            follows: false,
        });
    }

    /// Feeds the journal from a file of kernel lines.
    pub fn replay(self: &Arc<Self>, path: &Path) -> std::io::Result<()> {
        let mut lines = replay::start(path)?;
        let (count, counter) = heard_counter();
        self.sources.live(Source::Replay, format!("lines of {}", path.display()), counter);
        let node = Arc::clone(self);
        tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                count.fetch_add(1, Ordering::Relaxed);
                node.hear(Source::Replay, line);
            }
            node.sources
                .set(Source::Replay, State::Off("the file has been read to its end".to_owned()));
        });
        Ok(())
    }

    /// Starts hearing with a tracer that was loaded already.
    pub fn trace(self: &Arc<Self>, mut tracer: Tracer) {
        self.sources.live(Source::Ebpf, tracer.how(), tracer.counter());
        match tracer.driver() {
            State::Live(how) => {
                self.sources.live(Source::Tracepoint, how.clone(), tracer.driver_counter());
            }
            silent => self.sources.set(Source::Tracepoint, silent.clone()),
        }
        let node = Arc::clone(self);
        tokio::spawn(async move {
            let hear = |heard| match heard {
                Heard::Line(line) => node.hear(Source::Ebpf, line),
                Heard::Xid(xid) => node.hear_driver(xid),
            };
            let Err(error) = tracer.run(hear).await else { return };
            let state = State::Unavailable {
                reason: format!("reading the ring buffer failed: {error}"),
                remedy: "Open a new session; report this.".to_owned(),
            };
            node.sources.set(Source::Tracepoint, state.clone());
            node.sources.set(Source::Ebpf, state);
        });
    }

    /// Loads the tracer off this thread and starts hearing when it is there.
    pub fn trace_when_loaded(self: &Arc<Self>, loader: Loader) {
        self.sources.set(Source::Ebpf, State::Starting);
        let node = Arc::clone(self);
        tokio::spawn(async move {
            match tokio::task::spawn_blocking(|| Tracer::load(loader)).await {
                Ok(Ok(tracer)) => node.trace(tracer),
                Ok(Err(error)) => node.sources.set(Source::Ebpf, error.state()),
                Err(error) => {
                    let remedy = "Report this with the agent's log.".to_owned();
                    node.sources.set(
                        Source::Ebpf,
                        State::Unavailable { reason: error.to_string(), remedy },
                    );
                }
            }
        });
    }
}
