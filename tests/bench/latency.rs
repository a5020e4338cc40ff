//! How long from the kernel's print to the client's line.
//!
//! A client watches with a progress token; each round writes one Xid line to /dev/kmsg and waits for its notification. The
//! time runs from before the write to the return of the client's read, so it holds the kernel's own work, the eBPF
//! program, the ring buffer, the agent, two pipes and every wake-up in between. Figures are of this machine at this moment.
//!
//! `cargo xtask bench latency`, as root. `LATENCY_LINES` sets the number of lines (1,000).

use std::{
    env, fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use e2e::{Agent, no_kernel};
use serde_json::json;

const RATE_LIMIT: &str = "/proc/sys/kernel/printk_devkmsg";
/// Between two lines: this is latency, not a burst.
const PAUSE: Duration = Duration::from_millis(2);

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() -> Result<()> {
    if let Some(why) = no_kernel() {
        bail!("this benchmark cannot run here: {why}");
    }
    let lines: usize = env::var("LATENCY_LINES")
        .map_or(Ok(1000), |lines| lines.parse())
        .context("LATENCY_LINES")?;
    let _limit = Unlimited::new()?;
    let mut agent = Agent::simulated(&["--ebpf", "on"])?;
    let mut took = Vec::with_capacity(lines);
    while took.len() < lines {
        let round = (lines - took.len()).min(20);
        let arguments = json!({"gpu": "0000:af:00.0", "max_events": round, "duration_s": 60});
        let params = json!({"name": "watch_gpu_events", "arguments": arguments, "_meta": {"progressToken": "t"}});
        let id = agent.start("tools/call", &params)?;
        // Answered after the watch has begun.
        agent.ask("get_agent_status", &json!({}))?;
        for _ in 0..round {
            std::thread::sleep(PAUSE);
            let started = Instant::now();
            e2e::print_to_kernel(
                "NVRM: Xid (PCI:0000:af:00): 79, pid=1, name=bench, GPU has fallen off the bus.",
            )?;
            let (read, _) =
                agent.wait_for(|message| message["method"] == "notifications/progress")?;
            took.push(read - started);
        }
        let answer = agent.answer(id)?;
        assert_eq!(answer["result"]["structuredContent"]["lost"]["ring_buffer"], 0);
    }
    took.sort();
    // Nearest rank, in thousandths.
    let at = |rank: usize| took[(took.len() - 1) * rank / 1000].as_micros();
    println!("kernel print -> client's line, {lines} lines, microseconds:");
    println!(
        "  min {}  p50 {}  p90 {}  p99 {}  max {}",
        at(0),
        at(500),
        at(900),
        at(990),
        at(1000)
    );
    Ok(())
}

/// Lifts the rate limit of /dev/kmsg and puts it back.
struct Unlimited(String);

impl Unlimited {
    fn new() -> Result<Self> {
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
