//! A whole answer of `get_gpu_health` about eight GPUs over the NVML calls that it is made of.
//!
//! `cargo xtask bench health`. One after the other and again, so that the noise of a shared machine is everybody's: an answer of the
//! agent; the same calls by the bindings' function pointers (`raw.rs`), GPU after GPU, and a thread each as the agent does it; the
//! same by NVIDIA's Python binding (`read.py`); and a `ping`, which is what the session costs when nothing is asked. The agent is
//! measured by its client, the pipe and JSON included; the others measure themselves. A real driver takes time to answer where the
//! simulator takes none, so that all is done again with calls that take longer.
//!
//! That all make the same calls is seen by the simulator's trace; the benchmark fails where they do not.
//! `HEALTH_ROUNDS` (300) sets how often it goes round without a delay.

mod raw;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead as _, BufReader, Write as _, stdin, stdout},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use e2e::{
    Agent,
    measure::{machine, spread},
    python, repository, simulated, simulator,
};
use serde_json::{Value, json};

/// Milliseconds that each call about a GPU takes longer, and which part of the rounds is made.
const DELAYS: [(f64, usize); 3] = [(0.0, 1), (0.1, 3), (1.0, 10)];

const TRACE: &str = "NVML_SIM_TRACE";

/// What this program is told on its command line when it is one of the readers.
const IN_TURN: &str = "raw-in-turn";
const AT_ONCE: &str = "raw-at-once";

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() -> Result<()> {
    let told: Vec<_> = env::args().skip(1).collect();
    if let Some(how) = told.iter().find(|word| [IN_TURN, AT_ONCE].contains(&word.as_str())) {
        return read(how);
    }
    let rounds: usize =
        env::var("HEALTH_ROUNDS").map_or(Ok(300), |text| text.parse()).context("HEALTH_ROUNDS")?;
    ensure!(python().exists(), "no Python with nvidia-ml-py; `cargo xtask test` makes one");
    let dir = tempfile::tempdir()?;
    let scenario = dir.path().join("scenario.toml");
    fs::write(&scenario, "profile = 'h100'\n")?;
    println!("{}", machine()?);
    println!("{} calls in each", same_calls(&scenario, dir.path())?);
    for (delay_ms, part) in DELAYS {
        let fault = match delay_ms {
            0.0 => String::new(),
            _ => format!("[all.faults]\n'nvmlDevice*' = {{ delay_ms = {delay_ms} }}\n"),
        };
        fs::write(&scenario, format!("profile = 'h100'\n{fault}"))?;
        let mut all = contenders(&scenario, None)?;
        let mut took = vec![Vec::new(); all.len()];
        for round in 0..=(rounds / part).max(1) {
            for (contender, took) in all.iter_mut().zip(&mut took) {
                let one = contender.1.once()?;
                // The first loads and starts things.
                if round > 0 {
                    took.push(one);
                }
            }
        }
        println!("{delay_ms} ms a call, {} rounds; µs of one:", took[0].len());
        let names = all.iter().map(|(name, _)| *name);
        for (name, took) in names.zip(&took) {
            println!("  {name:28}{}", spread(&mut took.clone()));
        }
        for (at, (name, _)) in all.iter().enumerate().skip(1) {
            println!("  the agent / {name:28}{}", ratios(&took[0], &took[at]));
        }
    }
    Ok(())
}

/// The quartiles of the agent's time over another's, round by round.
fn ratios(agent: &[Duration], other: &[Duration]) -> String {
    let mut ratios: Vec<_> =
        agent.iter().zip(other).map(|(one, other)| one.div_duration_f64(*other)).collect();
    ratios.sort_by(f64::total_cmp);
    let at = |quarter: usize| ratios[(ratios.len() - 1) * quarter / 4];
    format!("median {:.2}  (quartiles {:.2} to {:.2})", at(2), at(1), at(3))
}

type Contender = (&'static str, Box<dyn Once>);

/// The agent first.
fn contenders(scenario: &Path, trace: Option<&Path>) -> Result<Vec<Contender>> {
    let prepared = |mut command: Command| {
        command.env("NVML_SIM_SCENARIO", scenario).env_remove(TRACE);
        if let Some(trace) = trace {
            command.env(TRACE, trace);
        }
        command
    };
    let agent = || {
        let mut command = prepared(simulated());
        let mut agent = Agent::spawn(command.args(["--ebpf", "off"]))?;
        agent.initialize()?;
        anyhow::Ok(agent)
    };
    let reader = |how| {
        let mut command = prepared(Command::new(env::current_exe()?));
        Reader::start(command.arg(how))
    };
    let mut python = prepared(Command::new(python()));
    python.arg(repository().join("tests/bench/health/read.py"));
    python.env("LD_LIBRARY_PATH", simulator().parent().unwrap_or(Path::new(".")));
    Ok(vec![
        ("the agent", Box::new(Asking(agent()?, "tools/call", json!({"name": "get_gpu_health"})))),
        ("raw calls, in turn", Box::new(reader(IN_TURN)?)),
        ("raw calls, a thread a GPU", Box::new(reader(AT_ONCE)?)),
        ("nvidia-ml-py", Box::new(Reader::start(&mut python)?)),
        ("ping", Box::new(Asking(agent()?, "ping", json!({})))),
    ])
}

/// How many calls an answer of the agent makes; an error where another does not make the same.
fn same_calls(scenario: &Path, dir: &Path) -> Result<usize> {
    let trace = dir.join("trace");
    let mut agents = None;
    for (at, (name, _)) in contenders(scenario, Some(&trace))?.iter().enumerate() {
        if *name == "ping" {
            continue;
        }
        // One at a time, for the file is everybody's.
        let (_, mut one) = contenders(scenario, Some(&trace))?.swap_remove(at);
        one.once()?;
        let before = fs::read_to_string(&trace)?.len();
        one.once()?;
        let calls = counts(&fs::read_to_string(&trace)?[before..]);
        let agents = agents.get_or_insert_with(|| calls.clone());
        ensure!(calls == *agents, "{name} calls {calls:?}, the agent {agents:?}");
    }
    Ok(agents.context("nobody was asked")?.values().sum())
}

fn counts(trace: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for symbol in trace.lines() {
        *counts.entry(symbol.to_owned()).or_default() += 1;
    }
    counts
}

/// What is measured.
trait Once {
    fn once(&mut self) -> Result<Duration>;
}

/// A session, and what it is asked.
struct Asking(Agent, &'static str, Value);

impl Once for Asking {
    fn once(&mut self) -> Result<Duration> {
        let Self(agent, method, params) = self;
        let asked = Instant::now();
        let id = agent.start(method, params)?;
        let (at, answer) = agent.wait_for(|message| message["id"] == id)?;
        ensure!(answer["result"]["isError"] != true, "{answer}");
        Ok(at - asked)
    }
}

/// A process that reads all GPUs for each line on its stdin and prints how many nanoseconds it took.
struct Reader {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Reader {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().context("stdin")?;
        let stdout = BufReader::new(child.stdout.take().context("stdout")?);
        Ok(Self { child, stdin, stdout })
    }
}

impl Once for Reader {
    fn once(&mut self) -> Result<Duration> {
        self.stdin.write_all(b"\n")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(Duration::from_nanos(line.trim().parse().context("a reader ended")?))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is such a process.
fn read(how: &str) -> Result<()> {
    let raw = raw::Raw::open(&simulator())?;
    for _ in stdin().lines() {
        let begun = Instant::now();
        if how == IN_TURN { raw.in_turn() } else { raw.at_once() }?;
        writeln!(stdout(), "{}", begun.elapsed().as_nanos())?;
    }
    Ok(())
}
