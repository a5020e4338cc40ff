//! The one thread that calls NVML, and the deadline at which its callers stop waiting.
//!
//! NVML has no timeouts and a call into a wedged driver cannot be cancelled. So calls are made here alone, callers wait
//! for at most [`Worker::new`]'s deadline, and while a call is stuck nobody queues behind it: they are told which call
//! it is and since when. When it does come back, the thread goes on as if nothing had happened.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::{Duration, Instant, SystemTime},
};

use nvml_wrapper::Nvml;
use tokio::sync::oneshot;

use super::{
    GpuError,
    library::{self, Loaded, Mode, Unavailable},
};

/// The handle that rooms outside hold. Cheap to clone; the thread ends with the process, never before.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Callers send, the thread receives. Unbounded: callers are few and each waits for its answer.
    jobs: mpsc::Sender<Job>,
    /// The thread writes before and after each NVML call, callers read when their deadline has passed.
    progress: Progress,
    deadline: Duration,
    mode: Mode,
}

type Job = Box<dyn FnOnce(&mut Thread) + Send>;

/// What the thread is doing, shared with whoever waits for it.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<Option<Current>>>);

#[derive(Debug, Clone, Copy)]
struct Current {
    call: &'static str,
    started: Instant,
}

/// What a job is given: a started NVML and the place to note each call.
#[derive(Debug)]
pub struct Session<'a> {
    /// Never unloaded: nvmlShutdown can hang like any call, and the process ends without it.
    pub nvml: &'static Nvml,
    pub library: &'static str,
    pub progress: &'a Progress,
}

/// Lives on the NVML thread only.
struct Thread {
    mode: Mode,
    explicit: Option<PathBuf>,
    loaded: Option<&'static Loaded>,
    progress: Progress,
}

impl Worker {
    /// Starts the thread, which at once loads NVML. `deadline` bounds every answer.
    #[must_use]
    pub fn new(mode: Mode, explicit: Option<PathBuf>, deadline: Duration) -> Self {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let progress = Progress::default();
        let mut thread = Thread { mode, explicit, loaded: None, progress: progress.clone() };
        let spawned = std::thread::Builder::new().name("nvml".to_owned()).spawn(move || {
            // The outcome is told to the first caller, who tries again.
            let _ = thread.session();
            for job in inbox {
                job(&mut thread);
            }
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "Cannot start the NVML thread; no NVML tool will answer.");
        }
        Self { jobs, progress, deadline, mode }
    }

    /// Whether answers come from the simulator.
    #[must_use]
    pub fn simulated(&self) -> bool {
        self.mode == Mode::Simulated
    }

    /// Runs `job` on the NVML thread and waits for its answer until the deadline.
    pub async fn ask<T, F>(&self, job: F) -> Result<T, GpuError>
    where
        T: Send + 'static,
        F: FnOnce(&Session<'_>) -> Result<T, GpuError> + Send + 'static,
    {
        if let Some(hung) = self.progress.hung(self.deadline) {
            return Err(hung);
        }
        let (answer, wait) = oneshot::channel();
        let job: Job = Box::new(move |thread| {
            // A caller that has given up is not waited for: do not bother the driver for it.
            if !answer.is_closed() {
                let _ = answer.send(thread.session().and_then(|session| job(&session)));
            }
        });
        if self.jobs.send(job).is_err() {
            return Err(Unavailable::Starting.into());
        }
        match tokio::time::timeout(self.deadline, wait).await {
            Ok(Ok(answer)) => answer,
            // The thread died in the job: a panic, which the log holds.
            Ok(Err(_)) => Err(GpuError::Call {
                call: "NVML",
                reason: "the question made the agent's NVML thread fail; see its log".to_owned(),
            }),
            Err(_) => Err(self
                .progress
                .hung(Duration::ZERO)
                .unwrap_or(GpuError::Unavailable(Unavailable::Starting))),
        }
    }
}

impl Thread {
    fn session(&mut self) -> Result<Session<'_>, GpuError> {
        if self.loaded.is_none() {
            let load = || library::load(self.mode, self.explicit.as_deref());
            self.loaded = Some(Box::leak(Box::new(self.progress.during("nvmlInit", load)?)));
        }
        let Loaded { nvml, library } = self.loaded.ok_or(Unavailable::Starting)?;
        Ok(Session { nvml, library, progress: &self.progress })
    }
}

impl Progress {
    /// Notes that `call` is being made while `work` runs.
    pub fn during<T>(&self, call: &'static str, work: impl FnOnce() -> T) -> T {
        *self.lock() = Some(Current { call, started: Instant::now() });
        let answer = work();
        *self.lock() = None;
        answer
    }

    /// The call that has been running for longer than `limit`, as the error its callers get.
    fn hung(&self, limit: Duration) -> Option<GpuError> {
        let Current { call, started } = (*self.lock())?;
        let for_ = started.elapsed();
        let since = SystemTime::now().checked_sub(for_).unwrap_or(SystemTime::UNIX_EPOCH);
        (for_ >= limit).then_some(GpuError::Hung { call, since, for_ })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Current>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
