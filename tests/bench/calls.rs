//! What the agent adds to a system call while it follows the driver's devices, beside other tracers that do the same job.
//!
//! A loop (`device-load`) does one kind of call: an ioctl of another driver's on another device, an ioctl of NVIDIA's driver
//! (on a device that stands in for it and answers at once), or getppid. It is measured while nobody traces, while a recorder does
//! (`agent record`, started and ended each time), under bpftrace with a histogram of such ioctls per process and request, and
//! under `strace -f -c -e ioctl`, one after the other and again, so that the noise of a shared machine is everybody's.
//! A call's figure is the least and the median of all rounds; what is added is the difference of the least ones, and the median of the
//! differences to the untraced rounds before and after.
//!
//! `cargo xtask bench calls`, as root. `CALLS_CYCLES` sets how often it goes round (5).

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::channel,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use e2e::{PATIENCE, measure::machine, no_kernel, stand_in};
use serde_json::Value;

/// Rounds of a measurement, and calls of a round: some tens of milliseconds.
const ROUNDS: u32 = 60;
const EACH: u32 = 1000;
/// The same under strace, which takes a hundred times as long.
const SLOW: (u32, u32) = (20, 100);

/// Name, what `device-load` does, and how many nanoseconds the agent may add.
type Kind = (&'static str, &'static [&'static str], Option<f64>);
const KINDS: [Kind; 3] = [
    ("foreign ioctl", &["ioctl", "/dev/null", "--request", "0x5401"], Some(60.0)),
    // NV_ESC_RM_CONTROL with its 32 bytes of parameters.
    ("driver's ioctl", &["ioctl", stand_in::DEVICE, "--request", "0xc020462a"], Some(400.0)),
    ("getppid", &["getppid", "/dev/null"], None),
];

const TRACERS: [&str; 3] = ["agent", "bpftrace", "strace"];

/// Does what the agent does with such ioctls and no more: by process and request how many, how long, how many failed.
const SCRIPT: &str = "\
tracepoint:syscalls:sys_enter_ioctl /((args->cmd >> 8) & 0xff) == 0x46/ { @at[tid] = nsecs; @request[tid] = args->cmd; } \
tracepoint:syscalls:sys_exit_ioctl /@at[tid]/ { \
  @took[pid, @request[tid]] = hist(nsecs - @at[tid]); \
  if (args->ret < 0) { @failed[pid, @request[tid]] = count(); } \
  delete(@at[tid]); delete(@request[tid]); \
} \
interval:ms:100 { printf(\"there\\n\"); }";
/// It finds tracepoints by tracefs, the older ones below debugfs; mounted for it alone where they are not.
const MOUNTED: &str = "\
[ -e /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing; \
[ -e /sys/kernel/debug/tracing/events ] || mount -t debugfs debugfs /sys/kernel/debug; \
exec bpftrace -B line -e \"$0\"";

/// Nanoseconds of a call: one for each round of each kind, sorted.
type Sample = [Vec<f64>; KINDS.len()];

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() -> Result<()> {
    if let Some(why) = no_kernel() {
        bail!("this benchmark cannot run here: {why}");
    }
    let cycles: u32 =
        env::var("CALLS_CYCLES").map_or(Ok(5), |text| text.parse()).context("CALLS_CYCLES")?;
    let host = stand_in::Host::new()?;
    println!("{}", machine()?);
    let others = others();
    if others > 0 {
        println!(
            "{others} others trace all system calls meanwhile: untraced is what only they trace"
        );
    }
    let mut untraced = vec![measure(&[], (ROUNDS, EACH))?];
    let mut traced: [Vec<Sample>; TRACERS.len()] = Default::default();
    let mut refused: [Option<String>; TRACERS.len()] = Default::default();
    let mut how = String::new();
    for _ in 0..cycles {
        for (at, tracer) in TRACERS.iter().enumerate() {
            let sample = match *tracer {
                "agent" => {
                    let (recorder, session, attached) = host.recorder()?;
                    how = attached;
                    let sample = measure(&[], (ROUNDS, EACH));
                    drop((session, recorder));
                    sample
                }
                "bpftrace" => Bpftrace::start().and_then(|_tracing| measure(&[], (ROUNDS, EACH))),
                // It stops the loop at each system call, as with `-p`.
                _ => measure(&["strace", "-f", "-c", "-e", "trace=ioctl"], SLOW),
            };
            match sample {
                Ok(sample) => traced[at].push(sample),
                Err(error) if *tracer != "agent" => refused[at] = Some(format!("{error:#}")),
                Err(error) => return Err(error),
            }
            untraced.push(measure(&[], (ROUNDS, EACH))?);
        }
    }
    println!("the agent was attached by {how}; {cycles} times each, in turn; ns of a call:");
    println!("{:45}{:>10}{:>10}{:>10}", "", "least", "median", "times");
    for (kind, (name, _, aim)) in KINDS.iter().enumerate() {
        let (least, median) = whole(&untraced, kind);
        println!("{name:16}{:29}{least:>10.0}{median:>10.0}", "untraced");
        for (at, tracer) in TRACERS.iter().enumerate() {
            if let Some(why) = &refused[at] {
                println!("{:16}{tracer}: not measured: {why}", "");
                continue;
            }
            let (traced_least, traced_median) = whole(&traced[at], kind);
            let times = traced_median / median;
            println!("{:16}{tracer:29}{traced_least:>10.0}{traced_median:>10.0}{times:>10.2}", "");
            let differences = traced[at].iter().enumerate().map(|(cycle, sample)| {
                let before = cycle * TRACERS.len() + at;
                middle(&sample[kind])
                    - f64::midpoint(
                        middle(&untraced[before][kind]),
                        middle(&untraced[before + 1][kind]),
                    )
            });
            let added = middle(&sorted(differences.collect()));
            let aim = aim.filter(|_| *tracer == "agent");
            let aim = aim.map_or(String::new(), |ns| format!("   (aim: at most {ns:.0})"));
            println!("{:16}{:29}{:>+10.0}{added:>+10.0}{aim}", "", "  adds", traced_least - least);
        }
    }
    Ok(())
}

/// A run of the loop for each kind of call, under `tracer`.
fn measure(tracer: &[&str], (rounds, each): (u32, u32)) -> Result<Sample> {
    let mut sample = Sample::default();
    for ((_, arguments, _), rounds_ns) in KINDS.iter().zip(&mut sample) {
        let load = [env!("CARGO_BIN_EXE_device-load")];
        let mut words = tracer.iter().chain(&load).chain(*arguments);
        let mut command = Command::new(words.next().context("a program")?);
        command.args(words);
        command.args(["--count", &rounds.to_string(), "--each", &each.to_string()]);
        let output = command.output().with_context(|| format!("{command:?}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {}: {said}", output.status);
        let done: Value = serde_json::from_slice(&output.stdout)?;
        let told = done["rounds_ns"].as_array().context("rounds_ns")?;
        *rounds_ns = sorted(told.iter().filter_map(Value::as_f64).collect());
    }
    Ok(sample)
}

/// The least and the median of all rounds of a kind.
fn whole(samples: &[Sample], kind: usize) -> (f64, f64) {
    let all = sorted(samples.iter().flat_map(|sample| sample[kind].iter().copied()).collect());
    (all.first().copied().unwrap_or(f64::NAN), middle(&all))
}

fn sorted(mut figures: Vec<f64>) -> Vec<f64> {
    figures.sort_by(f64::total_cmp);
    figures
}

fn middle(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// How many attachments to every system call there are without us.
fn others() -> usize {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let files = processes
        .filter_map(Result::ok)
        .filter_map(|process| fs::read_dir(process.path().join("fdinfo")).ok())
        .flatten();
    let is_one = |text: &String| text.lines().any(|line| line == "tp_name:\tsys_enter");
    let texts = files.filter_map(|file| fs::read_to_string(file.ok()?.path()).ok());
    texts.filter(is_one).count()
}

/// `bpftrace`, attached; ended with this value.
struct Bpftrace(Child);

impl Bpftrace {
    fn start() -> Result<Self> {
        ensure!(Path::new("/sys/kernel/tracing").exists(), "this kernel has no tracefs");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", MOUNTED, SCRIPT]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut tracing = Self(child);
        let output = tracing.0.stdout.take().context("stdout")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.filter(|line| line == "there").all(|_| sender.send(()).is_ok())
        });
        // The second: by then all is attached.
        for _ in 0..2 {
            if lines.recv_timeout(PATIENCE).is_err() {
                let _ = tracing.0.kill();
                let said = tracing.0.stderr.take().map(std::io::read_to_string);
                bail!("bpftrace does not begin: {}", said.transpose()?.unwrap_or_default().trim());
            }
        }
        Ok(tracing)
    }
}

impl Drop for Bpftrace {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
        // What it had attached goes with the last reference, a little later.
        std::thread::sleep(Duration::from_millis(300));
    }
}
