//! How long from the kernel's print to the client's line.
//!
//! A client watches with a progress token; each round writes one Xid line to /dev/kmsg and waits for its notification. The
//! time runs from before the write to the return of the client's read, so it holds the kernel's own work, the eBPF
//! program, the ring buffer, the recorder, its socket, the session, a pipe and every wake-up in between. The same client reads
//! `dmesg --follow-new` in the same run, line by line the same print. Beside it, in a run of its own each: a session by
//! itself, without the recorder's socket, and cat(1), which is two wake-ups and no work: what this machine charges anybody.
//!
//! `cargo xtask bench latency`, as root. `LATENCY_LINES` sets the number of lines (10,000) of each kind.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use e2e::{
    Agent, PATIENCE, Recorder,
    measure::{Unlimited, spread},
    no_kernel,
};
use serde_json::json;

/// Between two lines: this is latency, not a burst.
const PAUSE: Duration = Duration::from_millis(2);
const ROUND: usize = 20;

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() -> Result<()> {
    if let Some(why) = no_kernel() {
        bail!("this benchmark cannot run here: {why}");
    }
    let lines: usize = env::var("LATENCY_LINES")
        .map_or(Ok(10_000), |lines| lines.parse())
        .context("LATENCY_LINES")?;
    let _limit = Unlimited::new()?;
    for busy in [0, 2] {
        let load = Load::new(busy)?;
        println!("{lines} lines, {busy} busy processes beside it, microseconds:");
        let recorder = Recorder::start(&["--ebpf", "on", "--kernel-log", "auto"])?;
        let (mut agent, mut dmesg) = through(&mut recorder.session()?, lines, true)?;
        println!("  kernel print -> recorder -> client  {}", spread(&mut agent));
        println!("  the same lines by dmesg --follow    {}", spread(&mut dmesg));
        drop(recorder);
        let (mut alone, _) = through(&mut Agent::simulated(&["--ebpf", "on"])?, lines, false)?;
        println!("  a session by itself                 {}", spread(&mut alone));
        println!("  a line through cat(1)               {}", spread(&mut through_cat(lines)?));
        drop(load);
    }
    Ok(())
}

/// Each line's time by the agent, and by dmesg where it is asked for.
fn through(
    agent: &mut Agent,
    lines: usize,
    beside: bool,
) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let dmesg = beside.then(Dmesg::start).transpose()?;
    // Opened before: a driver's print has nothing to open.
    let mut log = fs::OpenOptions::new().write(true).open("/dev/kmsg")?;
    let (mut by_agent, mut by_dmesg) = (Vec::with_capacity(lines), Vec::new());
    while by_agent.len() < lines {
        let round = (lines - by_agent.len()).min(ROUND);
        let arguments = json!({"gpu": "0000:af:00.0", "max_events": round, "duration_s": 60});
        let params = json!({"name": "watch_gpu_events", "arguments": arguments, "_meta": {"progressToken": "t"}});
        let id = agent.start("tools/call", &params)?;
        // Answered after the watch has begun.
        agent.ask("get_agent_status", &json!({}))?;
        for _ in 0..round {
            let number = by_agent.len();
            let line = format!(
                "NVRM: Xid (PCI:0000:af:00): 79, pid={number}, name=bench, GPU has fallen off the bus.\n"
            );
            std::thread::sleep(PAUSE);
            let started = Instant::now();
            log.write_all(line.as_bytes())?;
            let (read, _) =
                agent.wait_for(|message| message["method"] == "notifications/progress")?;
            by_agent.push(read - started);
            if let Some(dmesg) = &dmesg {
                by_dmesg.push(dmesg.read(number)? - started);
            }
        }
        let answer = agent.answer(id)?;
        assert_eq!(answer["result"]["structuredContent"]["lost"]["ring_buffer"], 0);
    }
    Ok((by_agent, by_dmesg))
}

/// `dmesg --follow-new` and what it has printed, with the time it was read.
struct Dmesg {
    child: Child,
    lines: Receiver<(Instant, String)>,
}

impl Dmesg {
    fn start() -> Result<Self> {
        let mut child = Command::new("dmesg").arg("--follow-new").stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("stdout")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        // It is there when it has told of a line.
        let mut log = fs::OpenOptions::new().write(true).open("/dev/kmsg")?;
        loop {
            log.write_all(b"bench: is dmesg there?\n")?;
            if lines.recv_timeout(Duration::from_millis(100)).is_ok() {
                return Ok(Self { child, lines });
            }
        }
    }

    /// When the line with this pid was read.
    fn read(&self, number: usize) -> Result<Instant> {
        let pid = format!(" pid={number},");
        loop {
            let (at, line) = self.lines.recv_timeout(PATIENCE).context("dmesg is silent")?;
            if line.contains(&pid) {
                return Ok(at);
            }
        }
    }
}

impl Drop for Dmesg {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processes that keep a processor busy each.
struct Load(Vec<Child>);

impl Load {
    fn new(processes: usize) -> Result<Self> {
        let busy = || Command::new("sh").args(["-c", "while :; do :; done"]).spawn();
        Ok(Self((0..processes).map(|_| busy()).collect::<Result<_, _>>()?))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
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
        input.write_all(
            b"NVRM: Xid (PCI:0000:af:00): 79, pid=1, name=bench, GPU has fallen off the bus.\n",
        )?;
        line.clear();
        output.read_line(&mut line)?;
        took.push(started.elapsed());
    }
    drop(input);
    cat.wait()?;
    Ok(took)
}
