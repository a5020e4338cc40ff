//! The eBPF source: loads the embedded program, attaches it to the raw tracepoint `console`, and reads its ring buffer.
//!
//! Needs CAP_BPF and CAP_PERFMON and Linux 5.8 (ring buffer, the two capabilities); no tracefs, no BTF, no mount. The
//! program stays attached as long as [`Tracer`] lives and is gone with the process, however that ends.

use std::{
    io,
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use agent_ebpf::{MAP_CONSOLE, MAP_COUNTERS, PROGRAM_CONSOLE, counter};
use aya::{
    Ebpf,
    maps::{Map, MapData, PerCpuArray, RingBuf},
    programs::RawTracePoint,
};
use aya_log::EbpfLogger;
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use tokio::io::unix::AsyncFd;

pub use super::loader::Loader;
use super::{
    Heard, privileges, record,
    source::{Counter, Counts, State},
};

/// The program, compiled by `cargo xtask build` and embedded by build.rs; aligned as the ELF parser wants it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("AGENT_BPF_OBJECT"));

/// Why the tracer is not there.
#[derive(Debug, thiserror::Error)]
pub enum TracerError {
    /// The kernel would refuse. Give the container the capabilities (chart: `ebpf.enabled=true`).
    #[error("missing {}", .0.join(" and "))]
    Capabilities(Vec<&'static str>),
    /// The kernel refused all the same. The text has its words and what usually stands behind them.
    #[error("the kernel refused the BPF program: {0}")]
    Refused(String),
    /// The object and the agent do not belong together; always a bug of the build.
    #[error("the embedded BPF object lacks {0}")]
    Object(&'static str),
}

impl TracerError {
    /// This error as the state of the source.
    #[must_use]
    pub fn state(&self) -> State {
        let remedy = match self {
            Self::Capabilities(_) => {
                "Helm: --set ebpf.enabled=true gives the container CAP_BPF and CAP_PERFMON. By hand: run as root, or \
                 `setcap cap_bpf,cap_perfmon+ep` on the binary."
            }
            Self::Refused(_) => {
                "Needs Linux 5.8 or newer. Where the capabilities are there and it is refused all the same, look at the \
                 seccomp profile (bpf(2)), at kernel lockdown (confidentiality mode) and at `dmesg`."
            }
            Self::Object(_) => "Rebuild with `cargo xtask build`.",
        };
        State::Unavailable { reason: self.to_string(), remedy: remedy.to_owned() }
    }
}

/// The attached program and its maps.
pub struct Tracer {
    /// Owns the attachment; dropping it detaches the program.
    _program: Ebpf,
    /// Written by the kernel; read by [`Tracer::drain`] only.
    ring: RingBuf<MapData>,
    /// Read by whoever asks for the source's counts.
    counters: Arc<Counters>,
    /// The program's own diagnostics; `None` unless the agent logs at debug level.
    log: Option<EbpfLogger<Diagnostics>>,
}

/// What the program counts, and what it should never have to.
struct Counters {
    map: PerCpuArray<MapData, u64>,
    malformed: AtomicU64,
}

impl Tracer {
    /// Loads and attaches. Takes some milliseconds and blocks: call it off the session's thread.
    pub fn load(loader: Loader) -> Result<Self, TracerError> {
        let missing = privileges::missing_for_tracer();
        if !missing.is_empty() {
            return Err(TracerError::Capabilities(missing));
        }
        let debug = tracing::enabled!(target: Diagnostics::TARGET, tracing::Level::DEBUG);
        // A constant of the program: at 0 the verifier removes each log statement, with its arguments, before it runs.
        let log_level: &'static u8 = if debug { &(aya_log::Level::Debug as u8) } else { &0 };
        let Loader(mut loader) = loader;
        loader.override_global(aya_log::LEVEL, log_level, true);
        if !debug {
            // Nothing is written there: a page, the least that the kernel takes.
            loader.map_max_entries(
                "AYA_LOGS",
                u32::try_from(rustix::param::page_size()).unwrap_or(4096),
            );
        }
        let mut program = loader.load(OBJECT).map_err(refused)?;
        let log =
            if debug { EbpfLogger::init_with_logger(&mut program, Diagnostics).ok() } else { None };
        let ring = ring(program.take_map(MAP_CONSOLE).ok_or(TracerError::Object(MAP_CONSOLE))?)?;
        let counters = program.take_map(MAP_COUNTERS).ok_or(TracerError::Object(MAP_COUNTERS))?;
        let map = PerCpuArray::try_from(counters).map_err(refused)?;
        let counters = Arc::new(Counters { map, malformed: AtomicU64::new(0) });
        let console: &mut RawTracePoint = program
            .program_mut(PROGRAM_CONSOLE)
            .ok_or(TracerError::Object(PROGRAM_CONSOLE))?
            .try_into()
            .map_err(refused)?;
        console.load().map_err(refused)?;
        console.attach("console").map_err(refused)?;
        Ok(Self { _program: program, ring, counters, log })
    }

    /// By what means it hears.
    pub const HOW: &'static str = "raw tracepoint console, through a ring buffer";

    /// Waits for lines and hands each to `hear`; ends only with an error of the poll.
    pub async fn run(&mut self, mut hear: impl FnMut(Heard)) -> io::Result<()> {
        // A descriptor of its own, because the ring is written to while the other waits.
        let fd = self.ring.as_fd().try_clone_to_owned()?;
        // SAFETY: the descriptor is owned by the AsyncFd alone and open for as long as that lives.
        let ready = unsafe { AsyncFd::register(fd) }?;
        loop {
            // Lines printed between attaching and the first wait are there already.
            let boot = boot_time();
            self.drain(boot, &mut hear);
            if let Some(log) = &mut self.log {
                log.flush();
            }
            ready.readable().await?.clear_ready();
        }
    }

    fn drain(&mut self, boot: SystemTime, hear: &mut impl FnMut(Heard)) {
        while let Some(item) = self.ring.next() {
            match record::decode(Bytes::copy_from_slice(&item), boot) {
                Ok(line) => hear(Heard::Line(line)),
                Err(error) => {
                    self.counters.malformed.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, "A record of the BPF program cannot be read; please report this.");
                }
            }
        }
    }

    /// Reads the program's counters.
    #[must_use]
    pub fn counter(&self) -> Counter {
        let counters = Arc::clone(&self.counters);
        Arc::new(move || counters.read())
    }
}

impl Counters {
    fn read(&self) -> Counts {
        let sum = |index| self.map.get(&index, 0).map_or(0, |per_cpu| per_cpu.iter().sum());
        let malformed = self.malformed.load(Ordering::Relaxed);
        Counts { heard: sum(counter::HEARD), dropped: sum(counter::DROPPED), malformed }
    }
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer").field("counts", &self.counters.read()).finish_non_exhaustive()
    }
}

fn ring(map: Map) -> Result<RingBuf<MapData>, TracerError> {
    RingBuf::try_from(map).map_err(refused)
}

/// The whole chain of causes: aya's own text ends before the kernel's errno.
fn refused(error: impl std::error::Error) -> TracerError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    TracerError::Refused(text)
}

/// The wall clock's time when `CLOCK_MONOTONIC` was zero. Read anew for each batch: the wall clock may be set.
fn boot_time() -> SystemTime {
    let monotonic = clock_gettime(ClockId::Monotonic);
    let since = Duration::new(
        u64::try_from(monotonic.tv_sec).unwrap_or(0),
        u32::try_from(monotonic.tv_nsec).unwrap_or(0),
    );
    SystemTime::now().checked_sub(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Carries aya-log's records, which speak the `log` crate's language, into the agent's log.
struct Diagnostics;

impl Diagnostics {
    const TARGET: &'static str = "agent::bpf";
}

impl log::Log for Diagnostics {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::debug!(target: Diagnostics::TARGET, "{}", record.args());
    }

    fn flush(&self) {}
}
