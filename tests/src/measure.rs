//! What the benchmarks have in common.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};

const RATE_LIMIT: &str = "/proc/sys/kernel/printk_devkmsg";

/// Lifts the rate limit of /dev/kmsg and puts it back.
#[derive(Debug)]
pub struct Unlimited(String);

impl Unlimited {
    pub fn new() -> Result<Self> {
        let before = fs::read_to_string(RATE_LIMIT).context(RATE_LIMIT)?;
        // Without the newline the kernel refuses the word.
        fs::write(RATE_LIMIT, "on\n").context(RATE_LIMIT)?;
        Ok(Self(before))
    }
}

impl Drop for Unlimited {
    fn drop(&mut self) {
        // Nothing to be done about it, and the next boot has the default again.
        let _ = fs::write(RATE_LIMIT, &self.0);
    }
}

/// A figure of /proc/PID/status in MiB: `VmRSS`, `VmHWM`.
pub fn mib(pid: u32, name: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status.lines().find_map(|line| {
        line.strip_prefix(name)?.strip_prefix(':')?.trim().strip_suffix(" kB")?.parse::<f64>().ok()
    });
    Ok(kib.with_context(|| format!("{name} of {pid}"))? / 1024.0)
}

/// The time that all threads of a process have spent on a processor.
pub fn processor_time(pid: u32) -> Result<Duration> {
    let mut spent = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let schedstat = fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanoseconds = schedstat.split(' ').next().context("schedstat")?.parse()?;
        spent += Duration::from_nanos(nanoseconds);
    }
    Ok(spent)
}

/// What it was measured on.
pub fn machine() -> Result<String> {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy();
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let model =
        processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("of no name", |(_, model)| model);
    let load = fs::read_to_string("/proc/loadavg")?;
    let load: f64 = load.split(' ').next().context("loadavg")?.parse()?;
    let noise = if load > 0.5 { ": a noisy shared machine" } else { "" };
    let count = std::thread::available_parallelism()?;
    Ok(format!("Linux {release}, {count} processors {model}, load {load} at the start{noise}"))
}

/// p50, p90, p99 and the ends, in microseconds, by nearest rank.
pub fn spread(took: &mut [Duration]) -> String {
    took.sort();
    let at = |thousandths: usize| took[(took.len() - 1) * thousandths / 1000].as_micros();
    format!("min {}  p50 {}  p90 {}  p99 {}  max {}", at(0), at(500), at(900), at(990), at(1000))
}
