//! The eBPF source: loads the embedded programs, attaches them to the raw tracepoints `console` and, where the driver
//! offers it, `nvidia_dev_xid`, and reads their ring buffer.
//!
//! Needs CAP_BPF and CAP_PERFMON and Linux 5.8 (ring buffer, the two capabilities); no tracefs and no mount. With the
//! kernel's type information ([`layout`](super::layout)) it says of a line whether the kernel or a process wrote it, and
//! reads the driver's tracepoint; without, it hears lines all the same. The programs stay attached as long as
//! [`Tracer`] lives and are gone with the process, however that ends.
//!
//! The driver's tracepoint is looked for once: a driver that is loaded after the agent is heard by its lines alone,
//! which say the same. While it is attached, the kernel holds the driver's module in use, as NVML does.

use std::{
    io,
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use agent_ebpf::{
    GLOBAL_LAYOUT, MAP_COUNTERS, MAP_RECORDS, PROGRAM_CONSOLE, PROGRAM_XID, counter, layout::LEN,
};
use aya::{
    Ebpf,
    maps::{Map, MapData, PerCpuArray},
    programs::{ProgramError, RawTracePoint},
};
use aya_log::EbpfLogger;
use rustix::time::{ClockId, clock_gettime};

pub use super::loader::Loader;
use super::{
    Buffer, Heard,
    diagnostics::Diagnostics,
    layout::{self, LayoutError},
    privileges,
    ready::Ready,
    record,
    ring::Ring,
    source::{Counter, Counts, State},
};

/// The program, compiled by `cargo xtask build` and embedded by build.rs; aligned as the ELF parser wants it.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("AGENT_BPF_OBJECT"));

/// Records that are handed on before the sessions get a turn: less than a millisecond's work.
const BATCH: usize = 256;

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

/// The attached programs and their maps.
pub struct Tracer {
    /// Owns the attachments; dropping it detaches the programs.
    _programs: Ebpf,
    /// Whether, or why not, the origin of lines is known; read by [`Tracer::how`].
    layout: Result<(), LayoutError>,
    /// How the driver's tracepoint stands.
    driver: State,
    /// Written by the kernel; read by [`Tracer::drain`] only.
    ring: Ring,
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
    pub fn load(loader: Loader, buffer: Buffer) -> Result<Self, TracerError> {
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
        let (fields, layout) = match layout::of_this_kernel() {
            Ok(layout) => (layout.fields, Ok(())),
            Err(error) => ([0; LEN], Err(error)),
        };
        loader.map_max_entries(MAP_RECORDS, buffer.bytes());
        loader.override_global(GLOBAL_LAYOUT, &fields, true);
        let mut programs = loader.load(OBJECT).map_err(refused)?;
        let log = if debug {
            EbpfLogger::init_with_logger(&mut programs, Diagnostics).ok()
        } else {
            None
        };
        let Some(Map::RingBuf(ring)) = programs.take_map(MAP_RECORDS) else {
            return Err(TracerError::Object(MAP_RECORDS));
        };
        let fd = ring.fd().as_fd().try_clone_to_owned().map_err(refused)?;
        let ring = Ring::new(fd, buffer.bytes()).map_err(refused)?;
        let counters = programs.take_map(MAP_COUNTERS).ok_or(TracerError::Object(MAP_COUNTERS))?;
        let map = PerCpuArray::try_from(counters).map_err(refused)?;
        let counters = Arc::new(Counters { map, malformed: AtomicU64::new(0) });
        attach(&mut programs, PROGRAM_CONSOLE)?.map_err(refused)?;
        let driver = match &layout {
            Ok(()) => driver(attach(&mut programs, PROGRAM_XID)?),
            Err(error) => no_layout(error),
        };
        Ok(Self { _programs: programs, layout, driver, ring, counters, log })
    }

    /// By what means it hears lines, and whether it knows who wrote them.
    #[must_use]
    pub fn how(&self) -> String {
        let origin = match &self.layout {
            Ok(()) if passes_when_shown() => {
                "; Linux before 6.0, unless the distribution has changed that, passes it only the lines that the console \
                 shows (kernel.printk), and who wrote a line is not known"
                    .to_owned()
            }
            Ok(()) => String::new(),
            Err(error) => format!("; who wrote a line is not known: {error}"),
        };
        format!("raw tracepoint {PROGRAM_CONSOLE}, through a ring buffer{origin}")
    }

    /// How the driver's own tracepoint stands.
    #[must_use]
    pub fn driver(&self) -> &State {
        &self.driver
    }

    /// Waits for lines and hands each to `hear`; ends only with an error of the poll.
    pub async fn run(&mut self, mut hear: impl FnMut(Heard)) -> io::Result<()> {
        let ready = Ready::of(self.ring.as_fd())?;
        loop {
            // Lines printed between attaching and the first wait are there already.
            let boot = boot_time();
            while self.drain(boot, &mut hear)? {
                tokio::task::yield_now().await;
            }
            if let Some(log) = &mut self.log {
                log.flush();
            }
            ready.wait().await?;
        }
    }

    /// Takes up to [`BATCH`] records; false when there are no more.
    fn drain(&mut self, boot: SystemTime, hear: &mut impl FnMut(Heard)) -> io::Result<bool> {
        for _ in 0..BATCH {
            let Some(record) = self.ring.next()? else { return Ok(false) };
            match record::decode(record, boot) {
                Ok(heard) => hear(heard),
                Err(error) => {
                    self.counters.malformed.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, "A record of the BPF program cannot be read; please report this.");
                }
            }
        }
        Ok(true)
    }

    /// Reads what was counted of lines.
    #[must_use]
    pub fn counter(&self) -> Counter {
        let counters = Arc::clone(&self.counters);
        Arc::new(move || counters.lines())
    }

    /// Reads what was counted of the driver's tracepoint.
    #[must_use]
    pub fn driver_counter(&self) -> Counter {
        let counters = Arc::clone(&self.counters);
        Arc::new(move || Counts {
            heard: counters.sum(counter::XIDS),
            dropped: counters.sum(counter::XIDS_DROPPED),
            ..Counts::default()
        })
    }
}

impl Counters {
    fn sum(&self, index: u32) -> u64 {
        self.map.get(&index, 0).map_or(0, |per_cpu| per_cpu.iter().sum())
    }

    fn lines(&self) -> Counts {
        Counts {
            heard: self.sum(counter::LINES),
            dropped: self.sum(counter::LINES_DROPPED),
            malformed: self.malformed.load(Ordering::Relaxed),
            ..Counts::default()
        }
    }
}

/// Loads a program of the object and attaches it to the tracepoint of its name. The outer error is the object's.
fn attach(
    programs: &mut Ebpf,
    name: &'static str,
) -> Result<Result<(), ProgramError>, TracerError> {
    let program = programs.program_mut(name).ok_or(TracerError::Object(name))?;
    let program: &mut RawTracePoint = program.try_into().map_err(refused)?;
    Ok(program.load().and_then(|()| program.attach(name)).map(drop))
}

/// How the driver's tracepoint stands after attaching to it.
fn driver(attached: Result<(), ProgramError>) -> State {
    match attached {
        Ok(()) => State::Live(format!("raw tracepoint {PROGRAM_XID}")),
        Err(ProgramError::SyscallError(error))
            if error.io_error.kind() == io::ErrorKind::NotFound =>
        {
            State::Off(
                "this driver does not offer it: it comes with the open kernel modules from \
                 575.51.02. Where the driver was loaded after the agent, open a new session."
                    .to_owned(),
            )
        }
        Err(error) => refused(error).state(),
    }
}

fn no_layout(error: &LayoutError) -> State {
    State::Unavailable {
        reason: format!("the device's name cannot be found: {error}"),
        remedy: "None is needed: the driver prints the same. It takes a kernel built with \
                 CONFIG_DEBUG_INFO_BTF, and /sys as the container runtime mounts it."
            .to_owned(),
    }
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer").field("counts", &self.counters.lines()).finish_non_exhaustive()
    }
}

/// The whole chain of causes: aya's own text ends before the kernel's errno.
pub(super) fn refused(error: impl std::error::Error) -> TracerError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    TracerError::Refused(shortened(text))
}

/// The verifier's words are some pages, of which the first and the last say most.
fn shortened(text: String) -> String {
    const ENDS: usize = 400;
    let count = text.chars().count();
    if count <= 2 * ENDS {
        return text;
    }
    let (head, tail) = (text.chars().take(ENDS), text.chars().skip(count - ENDS));
    head.chain(" [...] ".chars()).chain(tail).collect()
}

/// Whether this kernel is of those that pass the tracepoint when a line goes to the console, in whatever task does that.
fn passes_when_shown() -> bool {
    let name = rustix::system::uname();
    let major =
        name.release().to_str().ok().and_then(|release| release.split('.').next()?.parse().ok());
    major.is_some_and(|major: u32| major < 6)
}

/// The wall clock's time when `CLOCK_MONOTONIC` was zero. Read anew for each batch: the wall clock may be set.
pub(super) fn boot_time() -> SystemTime {
    let monotonic = clock_gettime(ClockId::Monotonic);
    let since = Duration::new(
        u64::try_from(monotonic.tv_sec).unwrap_or(0),
        u32::try_from(monotonic.tv_nsec).unwrap_or(0),
    );
    SystemTime::now().checked_sub(since).unwrap_or(SystemTime::UNIX_EPOCH)
}
