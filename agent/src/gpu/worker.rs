//! Who calls NVML: a thread for what concerns the node, and one for each GPU, so that a GPU whose driver calls hang takes
//! no other's answer with it.
//!
//! The library is loaded with the first question and again after a call that says it no longer fits: the driver was
//! unloaded, or upgraded under the agent. Of GPUs the names are kept, which do not change while a library is loaded: one
//! that no longer answers still has its address.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use nvml_wrapper::Nvml;
use tokio::task::JoinSet;

pub use super::lane::Progress;
use super::{
    GpuError, GpuName, events, inventory,
    lane::Lane,
    library::{self, Loaded, Mode, Unavailable},
};

/// How long whoever waits for events may take to see that the library is to be unloaded.
const LETTING_GO: Duration = Duration::from_millis(events::WAIT_MS as u64 * 3 / 2);

/// The handle that rooms outside hold. Cheap to clone; the threads end with the process, never before.
#[derive(Debug, Clone)]
pub struct Worker {
    node: Lane,
    /// Reads the driver's files, which can keep a reader waiting as a call does.
    files: Lane,
    gpus: Arc<Mutex<BTreeMap<u32, Lane>>>,
    library: Arc<Library>,
    deadline: Duration,
}

/// NVML as it is loaded.
#[derive(Debug)]
struct Library {
    mode: Mode,
    explicit: Option<PathBuf>,
    /// Read by every thread, written by the node's thread when it loads and by any that finds it broken.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    loaded: Option<Arc<Loaded>>,
    /// Broken ones, which a call may still be stuck in; those that nobody uses are shut down before the next is loaded.
    retired: Vec<Arc<Loaded>>,
    /// Of the loaded one's GPUs, those that have told address and UUID.
    names: BTreeMap<u32, GpuName>,
}

/// What a question is given: a started NVML and the place to note each call.
#[derive(Debug)]
pub struct Session<'a> {
    pub nvml: &'a Nvml,
    pub library: &'a str,
    pub progress: &'a Progress,
    /// What keeps the library loaded, for who uses it for longer than a question.
    pub loaded: &'a Arc<Loaded>,
}

impl Worker {
    /// Starts the node's thread, which at once loads NVML. No call is waited for beyond `deadline`.
    #[must_use]
    pub fn new(mode: Mode, explicit: Option<PathBuf>, deadline: Duration) -> Self {
        let library = Arc::new(Library { mode, explicit, state: Mutex::default() });
        let (node, files) = (Lane::start("nvml"), Lane::start("driver-files"));
        let worker = Self { node, files, gpus: Arc::default(), library, deadline };
        let first = Arc::clone(&worker.library);
        // The outcome is told to the first caller, who tries again.
        worker.node.order(move |progress| drop(first.load(progress)));
        worker
    }

    /// Whether answers come from the simulator.
    #[must_use]
    pub fn simulated(&self) -> bool {
        self.library.mode == Mode::Simulated
    }

    /// Whether the library is loaded, as far as is known. Whoever asks when it is not has it loaded.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.library.lock().loaded.is_some()
    }

    /// Asks what concerns the node, or needs no GPU.
    pub async fn ask<T, F>(&self, question: F) -> Result<T, GpuError>
    where
        T: Send + 'static,
        F: FnOnce(&Session<'_>) -> Result<T, GpuError> + Send + 'static,
    {
        let library = Arc::clone(&self.library);
        let work =
            move |progress: &Progress| library.answer(&library.load(progress)?, progress, question);
        self.node.ask(self.deadline, work).await
    }

    /// Reads files that the driver answers for, on a thread of their own: while one keeps it waiting nobody queues behind.
    pub async fn read_files<T: Send + 'static>(
        &self,
        path: &'static str,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, GpuError> {
        let work = move |progress: &Progress| Ok(progress.note(path, false, read));
        self.files.ask(self.deadline, work).await
    }

    /// Asks about one GPU, by NVML's index.
    pub async fn ask_gpu<T, F>(&self, index: u32, question: F) -> Result<T, GpuError>
    where
        T: Send + 'static,
        F: FnOnce(&Session<'_>, u32) -> Result<T, GpuError> + Send + 'static,
    {
        let loaded = self.library.lock().loaded.clone();
        let loaded = match loaded {
            Some(loaded) => loaded,
            None => self.ask(|session| Ok(Arc::clone(session.loaded))).await?,
        };
        let library = Arc::clone(&self.library);
        let work = move |progress: &Progress| {
            library.answer(&loaded, progress, |session| question(session, index))
        };
        self.lane(index).ask(self.deadline, work).await
    }

    /// Asks the same about each of these GPUs, of all at once; the answers in their order.
    pub async fn ask_each<T, F>(
        &self,
        names: Vec<GpuName>,
        question: F,
    ) -> Vec<(GpuName, Result<T, GpuError>)>
    where
        T: Send + 'static,
        F: FnOnce(&Session<'_>, u32) -> Result<T, GpuError> + Clone + Send + 'static,
    {
        let mut asked = JoinSet::new();
        for name in names {
            let (worker, question) = (self.clone(), question.clone());
            asked.spawn(async move {
                let answer = worker.ask_gpu(name.index, question).await;
                (name, answer)
            });
        }
        let mut answers = Vec::new();
        while let Some(answer) = asked.join_next().await {
            answers.extend(answer.ok());
        }
        answers.sort_by_key(|(name, _)| name.index);
        answers
    }

    /// The node's GPUs, by every name they have. Those that NVML counts are there in any case; one that does not tell its
    /// names, and has not before, has its index alone.
    pub async fn names(&self) -> Result<Vec<GpuName>, GpuError> {
        let count = match self.ask(inventory::count).await {
            Ok(count) => count,
            Err(error) => {
                // The node's thread may be stuck while GPUs answer.
                let known: Vec<_> = self.library.lock().names.values().cloned().collect();
                let hung = !matches!(error, GpuError::Unavailable(_) | GpuError::Call { .. });
                return if hung && !known.is_empty() { Ok(known) } else { Err(error) };
            }
        };
        let (loaded, known) = {
            let state = self.library.lock();
            (state.loaded.clone(), state.names.clone())
        };
        let name =
            |index| known.get(&index).cloned().unwrap_or(GpuName { index, ..GpuName::default() });
        let names: Vec<_> = (0..count).map(name).collect();
        let unknown = names.iter().filter(|name| name.pci.is_none()).cloned().collect();
        let told = self.ask_each(unknown, inventory::name_of).await;
        let mut names = names;
        for (GpuName { index, .. }, name) in told {
            if let (Ok(name), Some(place)) = (name, names.get_mut(index as usize)) {
                let mut state = self.library.lock();
                // Not a name of GPUs that another library counted.
                let same =
                    state.loaded.as_ref().map(Arc::as_ptr) == loaded.as_ref().map(Arc::as_ptr);
                if same && name.pci.is_some() && name.uuid.is_some() {
                    state.names.insert(index, name.clone());
                }
                drop(state);
                *place = name;
            }
        }
        Ok(names)
    }

    /// The GPUs that hang at this moment, by NVML's index, and in what.
    #[must_use]
    pub fn hung(&self) -> Vec<(u32, GpuError)> {
        let lanes = self.lanes();
        lanes.iter().filter_map(|(index, lane)| Some((*index, lane.hung(self.deadline)?))).collect()
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<u32, Lane>> {
        self.gpus.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lane(&self, index: u32) -> Lane {
        let mut gpus = self.lanes();
        gpus.entry(index).or_insert_with(|| Lane::start(&format!("nvml-gpu{index}"))).clone()
    }
}

impl Library {
    /// The library, loaded if it is not. On the node's thread alone, so that a start that hangs holds up no other.
    fn load(&self, progress: &Progress) -> Result<Arc<Loaded>, GpuError> {
        if let Some(loaded) = &self.lock().loaded {
            return Ok(Arc::clone(loaded));
        }
        self.shut_down_retired(progress);
        let load = || library::load(self.mode, self.explicit.as_deref());
        let loaded = Arc::new(progress.note("nvmlInit", true, load)?);
        self.lock().loaded = Some(Arc::clone(&loaded));
        Ok(loaded)
    }

    fn answer<T>(
        &self,
        loaded: &Arc<Loaded>,
        progress: &Progress,
        question: impl FnOnce(&Session<'_>) -> Result<T, GpuError>,
    ) -> Result<T, GpuError> {
        let Loaded { nvml, library, since: _, retired: _ } = &**loaded;
        let answer = question(&Session { nvml, library, progress, loaded });
        let Some((reason, remedy)) = progress.broken() else { return answer };
        self.retire(loaded);
        Err(Unavailable::Init { library: library.clone(), reason, remedy }.into())
    }

    /// Whatever was loaded before a driver was unloaded or upgraded has to be loaded anew.
    fn retire(&self, broken: &Arc<Loaded>) {
        let mut state = self.lock();
        if let Some(loaded) = state.loaded.take_if(|loaded| Arc::ptr_eq(loaded, broken)) {
            loaded.retired.store(true, Ordering::Relaxed);
            state.retired.push(loaded);
            state.names.clear();
        }
    }

    /// Shuts down and unloads what no longer fits: NVML that is started twice stays what it was at first, and a library of
    /// the same name would not be read from disk again. Who waits for events with it lets go of it soon; a call that is stuck
    /// in it does not, and then it stays.
    fn shut_down_retired(&self, progress: &Progress) {
        let given_up = Instant::now() + LETTING_GO;
        loop {
            let retired = std::mem::take(&mut self.lock().retired);
            for library in retired {
                match Arc::try_unwrap(library) {
                    Ok(Loaded { nvml, .. }) => {
                        if let Err(error) = progress.note("nvmlShutdown", false, || nvml.shutdown())
                        {
                            tracing::debug!(%error, "NVML that no longer fits its driver does not end well.");
                        }
                    }
                    Err(in_use) => self.lock().retired.push(in_use),
                }
            }
            if self.lock().retired.is_empty() || Instant::now() >= given_up {
                return;
            }
            std::thread::sleep(LETTING_GO / 32);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
