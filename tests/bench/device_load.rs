//! Does to a character device what many processes do to a GPU's, and counts it exactly.
//!
//! ```text
//! $ device-load ioctl /dev/null --count 9 --each 100000
//! $ device-load storm /dev/nvidiactl --seconds 60 --each 20 --processes 4
//! ```
//!
//! | mode | `--count` times, or until `--seconds` are over |
//! | --- | --- |
//! | `ioctl` | a round of `--each` ioctls on one open file; the time of a call |
//! | `hold` | the same with a second of rest after each round |
//! | `openclose` | a round of `--each` times open and close; the time of a pair |
//! | `storm` | fork; the child opens, does `--each` ioctls, closes and exits |
//! | `getppid` | a round of `--each` system calls that are about no device; the time of a call |
//! | `threads` | a thread that does `--each` ioctls on the process's one open file and ends; [`AT_ONCE`] at a time |
//!
//! `--processes N` runs N of it at once, each with its own count. Any device will do: one that does not know the request
//! (`--request`; an RM control of NVIDIA's driver when left out) fails each ioctl, as `/dev/null` does with ENOTTY.
//!
//! stdout is one line of JSON: what was done in all (`forks`, `threads`, `opens`, beside them `failed_opens`, `ioctls`, failed
//! ones included, `failed_ioctls`, `closes`), how long it took (`seconds`), and for the modes with rounds the nanoseconds of
//! one call in each (`rounds_ns`) with their median (`median_ns`). A child that does not tell what it did ends everything
//! with an error: a figure that is not exact is none.

use std::{
    env,
    ffi::{CStr, CString},
    hint::black_box,
    io::{Read as _, pipe},
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use rustix::{
    fs::{Mode as Permissions, OFlags},
    io::Errno,
    process::{Pid, WaitOptions, getppid, waitpid},
};
use serde::{Deserialize, Serialize};

/// Threads of mode `threads` that live at once.
const AT_ONCE: u64 = 8;

#[derive(Debug, Clone, Parser)]
#[command(args_override_self = true)]
struct Arguments {
    mode: Mode,
    device: PathBuf,
    /// How often, each process.
    #[arg(long, required_unless_present = "seconds", conflicts_with = "seconds")]
    count: Option<u64>,
    /// For how long.
    #[arg(long)]
    seconds: Option<u64>,
    /// Calls of a round, or ioctls of a fork or thread.
    #[arg(long, default_value_t = 10)]
    each: u64,
    /// Number of the ioctl.
    #[arg(long, default_value = "0xc020462a", value_parser = request)]
    request: u32,
    /// So many at once.
    #[arg(long, default_value_t = 1)]
    processes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Ioctl,
    Hold,
    Openclose,
    Getppid,
    Storm,
    Threads,
}

fn request(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0x");
    let read = digits.map_or_else(|| text.parse(), |digits| u32::from_str_radix(digits, 16));
    read.map_err(|error| error.to_string())
}

/// What was done.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Done {
    forks: u64,
    threads: u64,
    opens: u64,
    failed_opens: u64,
    ioctls: u64,
    failed_ioctls: u64,
    closes: u64,
    seconds: f64,
    median_ns: Option<f64>,
    rounds_ns: Vec<f64>,
}

#[expect(clippy::print_stdout, reason = "its one line")]
fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let started = Instant::now();
    let mut done =
        if arguments.processes == 1 { alone(&arguments)? } else { together(&arguments)? };
    done.seconds = started.elapsed().as_secs_f64();
    done.rounds_ns.sort_by(f64::total_cmp);
    done.median_ns = done.rounds_ns.get(done.rounds_ns.len() / 2).copied();
    println!("{}", serde_json::to_string(&done)?);
    Ok(())
}

/// As many of this program as were asked for, each by itself.
fn together(arguments: &Arguments) -> Result<Done> {
    let mut workers = Vec::new();
    for _ in 0..arguments.processes {
        let mut worker = Command::new(env::current_exe()?);
        // The last of an option that is given twice counts.
        worker.args(env::args_os().skip(1)).args(["--processes", "1"]);
        workers.push(worker.stdout(Stdio::piped()).spawn()?);
    }
    let mut done = Done::default();
    for worker in workers {
        let output = worker.wait_with_output()?;
        ensure!(output.status.success(), "a process failed: {}", output.status);
        done.add(serde_json::from_slice(&output.stdout)?);
    }
    Ok(done)
}

fn alone(arguments: &Arguments) -> Result<Done> {
    let device = CString::new(arguments.device.as_os_str().as_bytes())?;
    let open = || open(&device).with_context(|| arguments.device.display().to_string());
    let mut done = Done::default();
    match arguments.mode {
        Mode::Ioctl | Mode::Hold => {
            let file = open()?;
            done.opens += 1;
            arguments.repeat(|| {
                let started = Instant::now();
                let failed = ioctls(&file, arguments.request, arguments.each);
                done.rounds_ns.push(each_ns(started, arguments.each));
                done.ioctls += arguments.each;
                done.failed_ioctls += failed;
                if arguments.mode == Mode::Hold {
                    thread::sleep(Duration::from_secs(1));
                }
                Ok(())
            })?;
            drop(file);
            done.closes += 1;
        }
        Mode::Openclose => arguments.repeat(|| {
            let started = Instant::now();
            for _ in 0..arguments.each {
                drop(open()?);
            }
            done.rounds_ns.push(each_ns(started, arguments.each));
            done.opens += arguments.each;
            done.closes += arguments.each;
            Ok(())
        })?,
        Mode::Getppid => arguments.repeat(|| {
            let started = Instant::now();
            for _ in 0..arguments.each {
                black_box(getppid());
            }
            done.rounds_ns.push(each_ns(started, arguments.each));
            Ok(())
        })?,
        Mode::Storm => arguments.repeat(|| {
            let [opens, failed_opens, ioctls, failed_ioctls, closes] =
                child(&device, arguments.request, arguments.each)?;
            done.add(Done {
                forks: 1,
                opens,
                failed_opens,
                ioctls,
                failed_ioctls,
                closes,
                ..Done::default()
            });
            Ok(())
        })?,
        Mode::Threads => {
            let file = open()?;
            done.opens += 1;
            let work = || ioctls(&file, arguments.request, arguments.each);
            let mut left = arguments.count.unwrap_or(u64::MAX);
            let batches = Arguments {
                count: arguments.count.map(|n| n.div_ceil(AT_ONCE)),
                ..arguments.clone()
            };
            batches.repeat(|| {
                let batch = left.min(AT_ONCE);
                left -= batch;
                thread::scope(|scope| {
                    let threads: Vec<_> = (0..batch).map(|_| scope.spawn(work)).collect();
                    for thread in threads {
                        done.failed_ioctls +=
                            thread.join().map_err(|_| anyhow::anyhow!("a thread has panicked"))?;
                        done.threads += 1;
                        done.ioctls += arguments.each;
                    }
                    Ok(())
                })
            })?;
            drop(file);
            done.closes += 1;
        }
    }
    Ok(done)
}

impl Arguments {
    /// Does it as often, or for as long, as was asked for.
    fn repeat(&self, mut round: impl FnMut() -> Result<()>) -> Result<()> {
        let end = self.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 && end.is_none_or(|end| Instant::now() < end) {
            round()?;
            left -= 1;
        }
        Ok(())
    }
}

impl Done {
    fn add(&mut self, other: Self) {
        self.forks += other.forks;
        self.threads += other.threads;
        self.opens += other.opens;
        self.failed_opens += other.failed_opens;
        self.ioctls += other.ioctls;
        self.failed_ioctls += other.failed_ioctls;
        self.closes += other.closes;
        self.rounds_ns.extend(other.rounds_ns);
    }
}

fn each_ns(started: Instant, calls: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a round has not 2^52 calls")]
    let calls = calls.max(1) as f64;
    started.elapsed().as_secs_f64() * 1e9 / calls
}

fn open(device: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::open(device, OFlags::RDWR | OFlags::CLOEXEC, Permissions::empty())
}

/// Does so many ioctls; how many failed. Allocates nothing and takes no lock.
fn ioctls(file: &OwnedFd, request: u32, count: u64) -> u64 {
    // As much as a request's number can say that the driver reads or writes: 14 bits of bytes.
    let mut argument = [0_u64; (1 << 14) / size_of::<u64>()];
    let mut failed = 0;
    for _ in 0..count {
        // SAFETY: the file is open, and the argument has room for what any request's number says the driver may write. It
        // holds zeros or what the driver put there, and is no one else's.
        let answer =
            unsafe { libc::ioctl(file.as_raw_fd(), request.into(), argument.as_mut_ptr()) };
        failed += u64::from(answer < 0);
    }
    failed
}

/// What a child tells: opens, failed opens, ioctls, failed ioctls, closes.
type Told = [u64; 5];

/// Forks a child that opens the device, does so many ioctls, closes and exits; what it has done.
fn child(device: &CStr, request: u32, count: u64) -> Result<Told> {
    let (mut read, write) = pipe()?;
    // SAFETY: mode `storm` has one thread, so the child has all of its parent's locks free. It does nothing but system calls
    // on what is there already: it neither allocates nor unwinds, and `_exit` runs nothing of the parent's.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut told = [0_u8; size_of::<Told>()];
        let figures = visit(device, request, count).map(u64::to_ne_bytes);
        told.copy_from_slice(figures.as_flattened());
        let whole = rustix::io::write(write.as_fd(), &told) == Ok(told.len());
        // SAFETY: it does not return.
        unsafe { libc::_exit(i32::from(!whole)) }
    }
    let child = Pid::from_raw(child).filter(|_| child > 0);
    let child = child.ok_or_else(std::io::Error::last_os_error).context("fork")?;
    drop(write);
    let status = waitpid(Some(child), WaitOptions::empty())?;
    ensure!(
        status.is_some_and(|(_, status)| status.exit_status() == Some(0)),
        "a child did not end as it should: {status:?}"
    );
    let mut told = [0_u8; size_of::<Told>()];
    read.read_exact(&mut told).context("what a child told")?;
    let mut figures = Told::default();
    for (figure, bytes) in figures.iter_mut().zip(told.as_chunks().0) {
        *figure = u64::from_ne_bytes(*bytes);
    }
    Ok(figures)
}

/// A child's work.
fn visit(device: &CStr, request: u32, count: u64) -> Told {
    let Ok(file) = open(device) else { return [0, 1, 0, 0, 0] };
    let failed = ioctls(&file, request, count);
    drop(file);
    [1, 0, count, failed, 1]
}
