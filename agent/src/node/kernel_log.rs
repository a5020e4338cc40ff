//! The kernel's log as a source: the past, once, and what the eBPF program cannot hear or has lost.
//!
//! The order at the start is what makes neither a gap nor a repetition: the program is attached, then the log is read, then
//! the program's ring buffer is drained. A line that was printed in between is in both and becomes one event.
//!
//! Where the program is live the log is read again every few seconds, to confirm what it told and to note how far: an agent
//! that is started again reads on from there. Where the program is not, `/dev/kmsg` tells of each line at once, and
//! syslog(2) is polled.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use super::Node;
use crate::{
    event::{Report, Source, Standing},
    kernel::{
        kernel_log::{KernelLog, Mark},
        ready::Ready,
        source::{Counter, Counts, State},
        tracer::{Tracer, TracerError},
    },
};

/// How often the log is read while the eBPF program hears everything.
const BESIDE: Duration = Duration::from_secs(5);

/// What was loaded and read off the session's thread.
struct Start {
    /// `None` where the program was not asked for.
    tracer: Option<Result<Tracer, TracerError>>,
    /// `None` where the log was not asked for.
    log: Option<Result<Reading, State>>,
}

/// The log, and what has been read of it and not told yet.
struct Reading {
    log: KernelLog,
    reports: Vec<Report>,
    lost: u64,
}

/// What is counted of the log. Written by the task that reads it.
#[derive(Debug, Default)]
struct Counted {
    heard: AtomicU64,
    /// Records of anybody that were overwritten unread, and were not heard by the program either.
    lost: AtomicU64,
    /// Lines that were dropped between the program and the journal, and read here.
    recovered: AtomicU64,
}

impl Node {
    /// Starts hearing the kernel: `tracer` is called off this thread, because loading takes longer than the first answer
    /// may. The past is told before anything that happens from now on.
    pub fn hear_kernel<F>(self: &Arc<Self>, tracer: F, log: bool)
    where
        F: FnOnce() -> Option<Result<Tracer, TracerError>> + Send + 'static,
    {
        self.sources.set(Source::Ebpf, State::Starting);
        self.sources.set(Source::KernelLog, State::Starting);
        let node = Arc::clone(self);
        tokio::spawn(async move {
            let there = Arc::clone(&node);
            let start = tokio::task::spawn_blocking(move || {
                let tracer = tracer();
                Start { tracer, log: log.then(|| there.read_past()) }
            });
            match start.await {
                Ok(start) => node.begin(start),
                Err(error) => {
                    let remedy = "Report this with the agent's log.".to_owned();
                    let state = State::Unavailable { reason: error.to_string(), remedy };
                    node.sources.set(Source::Ebpf, state.clone());
                    node.sources.set(Source::KernelLog, state);
                }
            }
        });
    }

    fn begin(self: &Arc<Self>, start: Start) {
        let Start { tracer, log } = start;
        let log = match log {
            Some(Ok(reading)) => {
                let counted = Arc::new(Counted::default());
                let how = format!("{}, with what was printed before", reading.log.how());
                let log = self.tell(reading, Standing::Recovers, &counted);
                self.sources.live(Source::KernelLog, how, counter(&counted));
                Some((log, counted))
            }
            Some(Err(state)) => {
                self.sources.set(Source::KernelLog, state);
                None
            }
            None => {
                self.sources.set(Source::KernelLog, State::Off("--kernel-log off".to_owned()));
                None
            }
        };
        match tracer {
            Some(Ok(tracer)) => self.trace(tracer),
            Some(Err(error)) => self.sources.set(Source::Ebpf, error.state()),
            None => self.sources.set(Source::Ebpf, State::Off("--ebpf off".to_owned())),
        }
        if let Some((log, counted)) = log {
            let node = Arc::clone(self);
            tokio::spawn(async move {
                let Err(error) = node.follow(log, &counted).await else { return };
                let reason = format!("reading the kernel's log failed: {error}");
                let remedy = "Restart the agent; report this.".to_owned();
                node.sources.set(Source::KernelLog, State::Unavailable { reason, remedy });
            });
        }
    }

    /// Opens the log and reads all that is new since the journal's mark.
    fn read_past(&self) -> Result<Reading, State> {
        let mut log = KernelLog::open().map_err(|error| error.state())?;
        if let Some(mark) = self.journal.mark().as_deref().and_then(Mark::read) {
            log.resume(&mark);
        }
        self.read(log).map_err(|error| State::Unavailable {
            reason: format!("the kernel's log cannot be read: {error}"),
            remedy: "Report this with the agent's log.".to_owned(),
        })
    }

    /// Reads what is new. Blocks for some milliseconds where the log is large.
    fn read(&self, mut log: KernelLog) -> io::Result<Reading> {
        let (mut reports, mut lost) = (Vec::new(), 0);
        loop {
            let passed = log.read(|line| reports.extend(self.report(Source::KernelLog, line)))?;
            lost += passed.lost;
            if !passed.more {
                return Ok(Reading { log, reports, lost });
            }
        }
    }

    fn tell(&self, reading: Reading, standing: Standing, counted: &Counted) -> KernelLog {
        let Reading { log, reports, lost } = reading;
        counted.heard.fetch_add(reports.len() as u64, Ordering::Relaxed);
        if standing != Standing::Confirms {
            counted.lost.fetch_add(lost, Ordering::Relaxed);
        }
        let mark = log.mark().map(|mark| mark.to_string());
        let news = self.journal.append_read(reports, standing, mark);
        if standing == Standing::Recovers && self.heard_by_ebpf().is_some() {
            counted.recovered.fetch_add(news, Ordering::Relaxed);
        }
        log
    }

    /// Reads on for as long as the process lives.
    async fn follow(self: &Arc<Self>, mut log: KernelLog, counted: &Counted) -> io::Result<()> {
        let ready = match log.fd() {
            Some(fd) => Some(Ready::of(fd)?),
            None => None,
        };
        let mut before = self.heard_by_ebpf();
        loop {
            match &ready {
                Some(ready) if before.is_none() => tokio::select! {
                    ready = ready.wait() => ready?,
                    () = sleep(log.pace()) => {}
                },
                _ => sleep(log.pace().max(BESIDE)).await,
            }
            let node = Arc::clone(self);
            let read = move || node.read(log);
            let reading = if ready.is_some() && before.is_none() {
                // At once: it is some lines, and another thread would be a detour.
                read()?
            } else {
                tokio::task::spawn_blocking(read).await??
            };
            let now = self.heard_by_ebpf();
            let standing = match now {
                None => Standing::Tells,
                // All that was printed meanwhile went through the program and its ring buffer.
                Some(_) if now == before => Standing::Confirms,
                Some(_) => Standing::Recovers,
            };
            log = self.tell(reading, standing, counted);
            before = now;
        }
    }

    /// While the eBPF program is live, how many lines it has lost.
    fn heard_by_ebpf(&self) -> Option<u64> {
        self.sources.live_counts(Source::Ebpf).map(|counts| counts.dropped + counts.malformed)
    }
}

fn counter(counted: &Arc<Counted>) -> Counter {
    let counted = Arc::clone(counted);
    Arc::new(move || Counts {
        heard: counted.heard.load(Ordering::Relaxed),
        dropped: counted.lost.load(Ordering::Relaxed),
        malformed: 0,
        recovered: counted.recovered.load(Ordering::Relaxed),
    })
}
