//! A thread that calls NVML, and the deadline at which its callers stop waiting.
//!
//! NVML has no timeouts and a call into a wedged driver cannot be cancelled. So calls are made here alone, callers wait
//! until one call has lasted for longer than the deadline, and while it is stuck nobody queues behind it: they are told
//! which call it is and since when. When it does come back, the rest of the question is not asked, for nobody waits for
//! it any more, and the thread goes on as if nothing had happened.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant, SystemTime},
};

use nvml_wrapper::error::NvmlError;
use tokio::sync::oneshot;

use super::{GpuError, library};

/// A driver that answers each call in time can still be too slow for a question of many.
const SLOWEST: Duration = Duration::from_secs(30);
/// The call that has the driver initialise a GPU which nobody else has open.
pub const FIRST: &str = "nvmlDeviceGetHandleByIndex_v2";
/// Without persistence mode the driver initialises a GPU with its first call, which takes seconds, and some boards half a
/// minute. So long such a call is waited for; and so long it is not called stuck.
const STARTING: Duration = Duration::from_secs(10);
const STARTED: Duration = Duration::from_mins(1);

/// One thread and the way to it. The thread ends when this is dropped and its last call has come back.
#[derive(Debug, Clone)]
pub struct Lane {
    /// Callers send, the thread receives. Unbounded: callers are few and each waits for its answer.
    jobs: mpsc::Sender<Job>,
    /// The thread writes before and after each NVML call, callers read when their deadline has passed.
    progress: Progress,
}

struct Job {
    /// Cleared when the caller is gone.
    wanted: Wanted,
    work: Box<dyn FnOnce(&Progress) + Send>,
}

/// Whether somebody waits for an answer: the caller has one half, whose end ends it.
#[derive(Debug, Clone)]
struct Wanted(Arc<AtomicBool>);

impl Wanted {
    fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The caller's half.
struct Waiting(Wanted);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Relaxed);
    }
}

/// What the thread is doing, shared with whoever waits for it.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<State>>);

#[derive(Debug, Clone, Copy)]
struct Current {
    call: &'static str,
    started: Instant,
    /// It may be the one for which the driver initialises a GPU, or all.
    first: bool,
}

/// Why a library is of no use any more, and what to do.
pub type Broken = (String, String);

#[derive(Debug, Default)]
struct State {
    current: Option<Current>,
    /// The GPU has been initialised: its first call came back.
    begun: bool,
    /// Of the job under way.
    wanted: Option<Wanted>,
    /// Set by a call of the job under way after which the library has to be loaded again: why, and what to do.
    broken: Option<Broken>,
}

impl Lane {
    #[must_use]
    pub fn start(name: &str) -> Self {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let progress = Progress::default();
        let own = progress.clone();
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            for Job { wanted, work } in inbox {
                // A caller that has given up is not waited for: do not bother the driver for it.
                if wanted.is() {
                    own.begin(Some(wanted));
                    // One that fails has been logged, and its caller told by the answer that does not come.
                    let _ = catch_unwind(AssertUnwindSafe(|| work(&own)));
                    own.begin(None);
                }
            }
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "Cannot start a thread for NVML; what it is asked has no answer.");
        }
        Self { jobs, progress }
    }

    /// The call that the thread has been in for longer than `limit`, as the error its callers get.
    #[must_use]
    pub fn hung(&self, limit: Duration) -> Option<GpuError> {
        self.progress.hung(limit)
    }

    /// Has the thread do `work`, for which nobody waits.
    pub fn order(&self, work: impl FnOnce(&Progress) + Send + 'static) {
        let wanted = Wanted(Arc::new(AtomicBool::new(true)));
        // The thread could not be started, which was logged.
        let _ = self.jobs.send(Job { wanted, work: Box::new(work) });
    }

    /// Has the thread do `work`, and waits for its answer until one of its calls has lasted for longer than `deadline`.
    pub async fn ask<T: Send + 'static>(
        &self,
        deadline: Duration,
        work: impl FnOnce(&Progress) -> Result<T, GpuError> + Send + 'static,
    ) -> Result<T, GpuError> {
        if let Some(hung) = self.hung(deadline) {
            return Err(hung);
        }
        let (answer, mut wait) = oneshot::channel();
        let wanted = Wanted(Arc::new(AtomicBool::new(true)));
        let _waiting = Waiting(wanted.clone());
        let work = Box::new(move |progress: &Progress| {
            // Nobody receives where the caller has gone meanwhile.
            let _ = answer.send(work(progress));
        });
        if self.jobs.send(Job { wanted, work }).is_err() {
            return Err(failed("the agent could not start a thread for it; see its log"));
        }
        let asked = Instant::now();
        loop {
            match tokio::time::timeout(self.progress.left(deadline), &mut wait).await {
                Ok(Ok(answer)) => return answer,
                // A panic, which the log holds.
                Ok(Err(_)) => {
                    return Err(failed(
                        "the question made the agent's NVML thread fail; see its log",
                    ));
                }
                Err(_) => {
                    if let Some(hung) = self.progress.hung(deadline) {
                        return Err(hung);
                    }
                    if asked.elapsed() >= SLOWEST {
                        return Err(GpuError::Slow { for_: asked.elapsed() });
                    }
                }
            }
        }
    }
}

impl Progress {
    /// Notes that `call` is being made while `work` runs. Where nobody waits any more it is not made.
    pub fn during<T>(
        &self,
        call: &'static str,
        work: impl FnOnce() -> Result<T, NvmlError>,
    ) -> Result<T, NvmlError> {
        if !self.lock().is_wanted() {
            return Err(NvmlError::Timeout);
        }
        let first = call == FIRST && !self.lock().begun;
        let answer = self.note(call, first, work);
        if call == FIRST && answer.is_ok() {
            self.lock().begun = true;
        }
        if let Err(error) = &answer
            && no_longer_fits(error)
        {
            let mut state = self.lock();
            (state.broken, state.begun) = (Some(library::sickness(error)), false);
        }
        answer
    }

    /// Notes that `call` is being made while `work` runs, whatever it gives. A `first` one may have the driver start.
    pub fn note<T>(&self, call: &'static str, first: bool, work: impl FnOnce() -> T) -> T {
        self.lock().current = Some(Current { call, started: Instant::now(), first });
        let answer = work();
        self.lock().current = None;
        answer
    }

    /// Between two jobs, and before one.
    fn begin(&self, wanted: Option<Wanted>) {
        let mut state = self.lock();
        *state = State { wanted, begun: state.begun, ..State::default() };
    }

    /// Why the library has to be loaded again, where a call of this job has said so.
    #[must_use]
    pub fn broken(&self) -> Option<Broken> {
        self.lock().broken.take()
    }

    /// The call that has been running for longer than `limit`, as the error its callers get.
    fn hung(&self, limit: Duration) -> Option<GpuError> {
        let current = self.lock().current?;
        let Current { call, started, first } = current;
        let for_ = started.elapsed();
        if for_ < current.limit(limit) {
            return None;
        }
        if first && for_ < STARTED {
            return Some(GpuError::Starting { call, for_ });
        }
        let since = SystemTime::now().checked_sub(for_).unwrap_or(SystemTime::UNIX_EPOCH);
        Some(GpuError::Hung { call, since, for_ })
    }

    /// How long to wait until the call under way has lasted for `limit`.
    fn left(&self, limit: Duration) -> Duration {
        let left =
            |current: Current| current.limit(limit).saturating_sub(current.started.elapsed());
        self.lock().current.map_or(limit, left).max(Duration::from_millis(1))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    /// How long the call is waited for, of which others are for `limit`.
    fn limit(&self, limit: Duration) -> Duration {
        if self.first { limit.max(STARTING) } else { limit }
    }
}

impl State {
    fn is_wanted(&self) -> bool {
        self.wanted.as_ref().is_none_or(Wanted::is)
    }
}

/// The agent's own thread has no answer.
fn failed(reason: &str) -> GpuError {
    GpuError::Call { call: "NVML", reason: reason.to_owned() }
}

/// The driver was unloaded, or another version of it loaded, under the library.
fn no_longer_fits(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::Uninitialized | NvmlError::DriverNotLoaded | NvmlError::LibRmVersionMismatch
    )
}

#[cfg(test)]
#[path = "lane_test.rs"]
mod tests;
