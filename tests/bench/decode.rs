//! How fast `agent decode` goes through a saved log, and the peak of its memory for that.
//!
//! `cargo xtask bench decode`. A log of 1 GB (`DECODE_MB`) like that of a busy node (systemd, audit, the network, other
//! drivers; one line in 10,000 is an Xid) is piped into `agent decode -o json`. It is one block over and over, so that
//! making it costs nothing. Two figures of speed: by the clock, which also holds the writer's time and whatever else the
//! machine does, and by the agent's own CPU time, which is what one core gives. Memory is its peak just before the log
//! ends.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    process::Stdio,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use e2e::agent;

/// What a node's log is made of; `#` becomes a number that changes from line to line.
const NOISE: [&str; 8] = [
    "audit: type=1400 audit(1737434504.#:411): apparmor=\"ALLOWED\" operation=\"open\" profile=\"cri-containerd\" pid=# comm=\"node_exporter\"",
    "IPv6: ADDRCONF(NETDEV_CHANGE): cali#: link becomes ready",
    "systemd[1]: run-containerd-runc-k8s.io-#-runc.Succeeded.mount: Deactivated successfully.",
    "nvidia-uvm: Loaded the UVM driver, major device number #.",
    "mlx5_core 0000:9a:00.0 eth#: Link up",
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=cri-containerd-#.scope,task=python3,pid=#,uid=1000",
    "EXT4-fs (nvme#n1): mounted filesystem with ordered data mode. Opts: (null). Quota mode: none.",
    "NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  570.#  Release Build  (dvs-builder@U22)",
];
const XID: &str = "NVRM: Xid (PCI:0000:3b:00): 31, pid=#, name=python3, Ch 00000008, intr 00000000. MMU Fault: ENGINE GRAPHICS GPCCLIENT_T1_8 faulted @ 0x73ac_1c000000. Fault is of type FAULT_PDE ACCESS_TYPE_VIRT_WRITE";
/// Lines of the block, and how many of them make one event.
const LINES: usize = 40_000;
const PER_XID: usize = 10_000;

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() -> Result<()> {
    let mb: usize = env::var("DECODE_MB").map_or(Ok(1000), |mb| mb.parse()).context("DECODE_MB")?;
    let block = block();
    let blocks = (mb * 1_000_000).div_ceil(block.len());
    let mut child = agent()
        .args(["decode", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start the agent")?;
    let (pid, mut stdin) = (child.id(), child.stdin.take().context("stdin")?);
    let stdout = BufReader::new(child.stdout.take().context("stdout")?);
    let events = std::thread::spawn(move || stdout.lines().map_while(Result::ok).count());
    let started = Instant::now();
    for _ in 0..blocks {
        stdin.write_all(&block)?;
    }
    let (elapsed, cpu, peak) = (started.elapsed(), cpu_seconds(pid)?, peak_mib(pid)?);
    drop(stdin);
    ensure!(child.wait()?.success(), "the agent failed");
    let events = events.join().ok().context("reading the events")?;
    ensure!(events == blocks * LINES / PER_XID, "{events} events in {blocks} blocks");
    let megabytes = f64::from(u32::try_from(blocks * block.len() / 1000)?) / 1000.0;
    println!("{megabytes:.0} MB in {} lines, {events} of them events:", blocks * LINES);
    println!(
        "  by the clock {:.0} MB/s   by the agent's CPU time {:.0} MB/s   peak {peak:.1} MiB",
        megabytes / elapsed.as_secs_f64(),
        megabytes / cpu
    );
    Ok(())
}

fn block() -> Vec<u8> {
    let mut block = Vec::new();
    for number in 0..LINES {
        let text = if number % PER_XID == 0 { XID } else { NOISE[number % NOISE.len()] };
        let text = text.replace('#', &(1000 + number).to_string());
        block.extend_from_slice(
            format!("[{:>5}.{number:06}] {text}\n", 1800 + number / 100).as_bytes(),
        );
    }
    block
}

/// User and system time of a process so far.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Behind the name, which may hold anything: utime and stime are the 12th and 13th field there.
    let (_, fields) = stat.rsplit_once(") ").context("stat")?;
    let ticks =
        fields.split(' ').skip(11).take(2).map(str::parse::<u32>).sum::<Result<u32, _>>()?;
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second())?;
    Ok(f64::from(ticks) / f64::from(per_second))
}

fn peak_mib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    Ok(peak.context("VmHWM")?.trim().parse::<f64>()? / 1024.0)
}
