//! A storm of processes on a device for as long as it takes to show what leaks: every call must be counted, and memory must stay.
//!
//! `device-load` forks children that open a device, do ioctls, close it and exit, one stream of them for each processor, and
//! beside them opens and closes it without a pause. A session watches what a recorder tells of that, and asks now and then who
//! has the device and what they do with it. In the end what `device-load` says it did stands beside what the agent has counted
//! since it came: opens, closes, ioctls and failures must be equal to the last one, or this fails.
//!
//! `cargo xtask bench soak [--seconds 600]`, as root.

use std::{
    env,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use e2e::{
    Agent, PATIENCE, Recorder,
    measure::{mib, processor_time},
    no_kernel, stand_in,
};
use serde_json::{Value, json};

/// Ioctls of a child, and pairs of a round.
const EACH: u32 = 20;
/// Between two lines.
const LINE: Duration = Duration::from_secs(10);

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() -> Result<()> {
    if let Some(why) = no_kernel() {
        bail!("this benchmark cannot run here: {why}");
    }
    let seconds: u64 =
        env::var("SOAK_SECONDS").map_or(Ok(600), |text| text.parse()).context("SOAK_SECONDS")?;
    let (recorder, mut session, how) = stand_in::Host::new()?.recorder()?;
    let processors = std::thread::available_parallelism()?;
    println!(
        "{seconds} s, a storm of {processors} at once and an open-close loop; attached by {how}"
    );
    let loads =
        [load("storm", seconds, u32::try_from(processors.get())?)?, load("openclose", seconds, 1)?];
    let mut watch = Watch::default();
    let mut resident = Vec::new();
    let started = Instant::now();
    let mut spent = processor_time(recorder.pid())?;
    while started.elapsed() < Duration::from_secs(seconds) {
        let line = Instant::now();
        while line.elapsed() < LINE && started.elapsed() < Duration::from_secs(seconds) {
            watch.go_on(&mut session)?;
        }
        let holders = session.ask("get_gpu_processes", &json!({}))?;
        let holders = &holders["process_count"];
        let calls = session.ask("trace_driver_calls", &json!({"duration_s": 1}))?;
        let tracer = stand_in::tracer(&mut session)?;
        let now = processor_time(recorder.pid())?;
        let rss = mib(recorder.pid(), "VmRSS")?;
        resident.push((started.elapsed().as_secs(), rss));
        println!(
            "{:4} s: {rss:.1} MiB, {:.1} % of a processor; {} calls/s; events: {} from the kernel, {} of these lost, {} watched, \
             {} folded, {} missed by the watch; {holders} holders; unseen {}",
            started.elapsed().as_secs(),
            now.saturating_sub(spent).as_secs_f64() * 100.0 / line.elapsed().as_secs_f64(),
            per_second(&calls),
            tracer["heard"],
            tracer["dropped"],
            watch.told,
            watch.folded,
            watch.lost,
            calls["unseen"],
        );
        spent = now;
    }
    let done = loads.into_iter().map(done).collect::<Result<Vec<_>>>()?;
    judge(&recorder, &mut session, &done, &watch, &resident)
}

/// What was done against what was counted.
#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn judge(
    recorder: &Recorder,
    session: &mut Agent,
    done: &[Value],
    watch: &Watch,
    resident: &[(u64, f64)],
) -> Result<()> {
    let did = |name: &str| -> u64 { done.iter().filter_map(|done| done[name].as_u64()).sum() };
    let calls = session.ask("trace_driver_calls", &json!({"duration_s": 0}))?;
    let device = calls["devices"]
        .as_array()
        .and_then(|devices| devices.iter().find(|device| device["device"] == "nvidia0"));
    let device = device.with_context(|| format!("no calls on nvidia0: {}", calls["devices"]))?;
    let mut wrong = Vec::new();
    println!("{:10}{:>16}{:>16}", "", "done", "counted");
    for (name, done) in [
        ("opens", did("opens") + did("failed_opens")),
        ("closes", did("closes")),
        ("ioctls", did("ioctls")),
        ("failed", did("failed_ioctls") + did("failed_opens")),
    ] {
        println!("{name:10}{done:>16}{:>16}", device[name].to_string());
        if device[name] != done {
            wrong.push(name);
        }
    }
    let tracer = stand_in::tracer(session)?;
    println!(
        "{} processes; events: {} from the kernel, {} lost; watched {} with {} folded into them, {} missed by the watch; unseen {}",
        did("forks"),
        tracer["heard"],
        tracer["dropped"],
        watch.told,
        watch.folded,
        watch.lost,
        calls["unseen"],
    );
    let last = resident.last().map_or(0, |(at, _)| *at);
    let mean = |part: &dyn Fn(u64) -> bool| {
        let (sum, count) = resident
            .iter()
            .filter(|(at, _)| part(*at))
            .fold((0.0, 0.0), |(sum, count), (_, rss)| (sum + rss, count + 1.0));
        sum / count
    };
    println!(
        "resident: {:.1} MiB on average in the first minute, {:.1} MiB in the last, peak {:.1} MiB; now {:.1} MiB",
        mean(&|at| at <= 60),
        mean(&|at| at + 60 > last),
        mib(recorder.pid(), "VmHWM")?,
        mib(recorder.pid(), "VmRSS")?,
    );
    let holders = left(session)?;
    ensure!(holders == 0, "nobody is there any more, and yet the device is held: {holders}");
    let inside = calls["inside"].as_array().map_or(0, Vec::len);
    ensure!(inside == 0, "nobody is there any more, and yet inside is {}", calls["inside"]);
    ensure!(wrong.is_empty(), "not every call was counted: {}", wrong.join(", "));
    Ok(())
}

/// How many still have the device. After events were lost this is put right within some seconds.
fn left(session: &mut Agent) -> Result<u64> {
    let end = Instant::now() + PATIENCE;
    loop {
        let holders = session.ask("get_gpu_processes", &json!({}))?;
        let count = holders["process_count"].as_u64().context("process_count")?;
        if count == 0 || Instant::now() > end {
            return Ok(count);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn per_second(calls: &Value) -> u64 {
    let window = calls["window_ms"].as_u64().unwrap_or_default().max(1);
    calls["total"]["calls"].as_u64().unwrap_or_default() * 1000 / window
}

/// What a session has watched.
#[derive(Debug, Default)]
struct Watch {
    cursor: Option<Value>,
    told: u64,
    /// Named by what was told.
    folded: u64,
    lost: u64,
}

impl Watch {
    fn go_on(&mut self, session: &mut Agent) -> Result<()> {
        let mut arguments = json!({"kinds": ["gpu_open", "gpu_close", "call_failed"], "duration_s": 1, "max_events": 1000});
        if let Some(cursor) = &self.cursor {
            arguments["since"] = cursor.clone();
        }
        let watched = session.ask("watch_gpu_events", &arguments)?;
        let events = watched["events"].as_array().context("events")?;
        self.told += events.len() as u64;
        self.folded += events.iter().filter_map(|event| event["folded"].as_u64()).sum::<u64>();
        self.lost += watched["lost"]["journal"].as_u64().unwrap_or_default();
        self.cursor = Some(watched["next_cursor"].clone());
        // An answer that is full comes at once.
        std::thread::sleep(Duration::from_millis(200));
        Ok(())
    }
}

fn load(mode: &str, seconds: u64, processes: u32) -> Result<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_device-load"));
    command.args([mode, stand_in::DEVICE, "--seconds", &seconds.to_string()]);
    command.args(["--each", &EACH.to_string(), "--processes", &processes.to_string()]);
    Ok(command.stdout(Stdio::piped()).spawn()?)
}

/// What it has done, when it is done.
fn done(child: Child) -> Result<Value> {
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "device-load: {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}
