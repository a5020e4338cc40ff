//! How long from the kernel's print to the client's line.
//!
//! A client watches with a progress token; each round writes one Xid line to /dev/kmsg and waits for its notification. The
//! time runs from before the write to the return of the client's read, so it holds the kernel's own work, the eBPF
//! program, the ring buffer, the agent, two pipes and every wake-up in between. Beside it the same line goes through cat(1): two
//! wake-ups and no work, which is what this machine charges anybody at this moment.
//!
//! `cargo xtask bench latency`, as root. `LATENCY_LINES` sets the number of lines (1,000).

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use e2e::{Agent, no_kernel};
use serde_json::json;

const LINE: &[u8] =
    b"NVRM: Xid (PCI:0000:af:00): 79, pid=1, name=bench, GPU has fallen off the bus.\n";
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
    // Opened before: a driver's print has nothing to open.
    let mut log = fs::OpenOptions::new().write(true).open("/dev/kmsg")?;
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
            log.write_all(LINE)?;
            let (read, _) =
                agent.wait_for(|message| message["method"] == "notifications/progress")?;
            took.push(read - started);
        }
        let answer = agent.answer(id)?;
        assert_eq!(answer["result"]["structuredContent"]["lost"]["ring_buffer"], 0);
    }
    println!("{lines} lines, microseconds:");
    print("kernel print -> client's line", took);
    print("the same line through cat(1)", through_cat(lines)?);
    Ok(())
}

/// The yardstick: a process that is woken by a line and wakes the client with it, and does nothing else.
fn through_cat(lines: usize) -> Result<Vec<Duration>> {
    let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = cat.stdin.take().context("stdin")?;
    let mut output = BufReader::new(cat.stdout.take().context("stdout")?);
    let mut took = Vec::with_capacity(lines);
    let mut line = String::new();
    for _ in 0..lines {
        std::thread::sleep(PAUSE);
        let started = Instant::now();
        input.write_all(LINE)?;
        line.clear();
        output.read_line(&mut line)?;
        took.push(started.elapsed());
    }
    drop(input);
    cat.wait()?;
    Ok(took)
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn print(what: &str, mut took: Vec<Duration>) {
    took.sort();
    // Nearest rank, in thousandths.
    let at = |rank: usize| took[(took.len() - 1) * rank / 1000].as_micros();
    println!(
        "  {what:30} min {}  p50 {}  p90 {}  p99 {}  max {}",
        at(0),
        at(500),
        at(900),
        at(990),
        at(1000)
    );
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
