//! `agent doctor [--expect SOURCE…] [-o text|json]`: what this process can see of its node, and what turns on the rest.
//!
//! ```text
//! $ agent doctor --expect nvml,ebpf
//! gpu-node-7: UID 0, CAP_BPF CAP_PERFMON, Linux 6.12.0
//! nvml           live         libnvidia-ml.so.1, driver 580.95.05, 8 GPUs
//! ebpf           live         raw tracepoint console, through a ring buffer
//! kernel_log     unavailable  the kernel's log cannot be read: CAP_SYSLOG is missing
//!                             Give the container CAP_SYSLOG (chart: `xid.kernelLog=true`).
//! nvml_events    live         Xids of 8 of 8 GPUs, by number
//! ```
//!
//! It sets up each source as a session by itself would, looks, and ends; a recorder beside it is not asked. What it says of
//! a source is what `get_agent_status` says. The chart's `helm test` is this command in a pod with the agent's rights.
//!
//! Exit code: 0; 3 where a source that was expected is not live, or NVML lives and sees no GPU.

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::ValueEnum;
use serde::Serialize;

use super::{
    Refused,
    args::Arguments,
    output::{self, Format},
    start,
};
use crate::{
    event::Journal,
    kernel::{privileges, source::State},
    node::Node,
};

/// How often, and how far apart, NVML is asked again while it starts: without persistence mode it takes seconds, and on a
/// node of many GPUs some tens of them.
const ASKED: usize = 30;
const BETWEEN: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Exit with 3 unless these are live
    #[arg(long, value_name = "SOURCE", value_enum, value_delimiter = ',')]
    expect: Vec<Expected>,

    /// `text` for a person, `json` for one object a line
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,
}

/// Sources that something can be done about, by the names that `get_agent_status` has for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Expected {
    Nvml,
    Ebpf,
    KernelLog,
}

/// How a source stands.
#[derive(Debug, Serialize)]
struct Found {
    source: &'static str,
    state: &'static str,
    /// How it is live, or why it is not.
    detail: String,
    /// What turns it on; null where nothing has to.
    remedy: Option<String>,
}

/// Looks, prints and ends the process.
pub fn run(arguments: &Arguments, args: &Args) -> ! {
    start::run(look(arguments, args))
}

async fn look(arguments: &Arguments, args: &Args) -> Result<u8, Refused> {
    let node = start::node(arguments, Journal::new(), None);
    start::hear(&node, arguments)?;
    let mut nvml = node.nvml().await;
    for _ in 0..ASKED {
        if nvml != State::Starting {
            break;
        }
        tokio::time::sleep(BETWEEN).await;
        nvml = node.nvml().await;
    }
    if let State::Live(how) = &nvml
        && node.gpu.names().await.is_ok_and(|gpus| gpus.is_empty())
    {
        nvml = State::Unavailable {
            reason: format!("no GPU is visible ({how})"),
            remedy: "Look at gpuAccess.method and gpuAccess.request: the container was given the driver's library \
                     and none of its devices."
                .to_owned(),
        };
    }
    node.sources.settled().await;
    let mut found = vec![Found::of("nvml", nvml)];
    let sources = node.sources.read().into_iter();
    found.extend(sources.map(|(source, state, _)| Found::of(source.name(), state)));
    if let Err(error) = print(&node, &found, args.output, &mut output::stdout())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        output::say(format_args!("cannot write to stdout: {error}"));
        return Ok(1);
    }
    lacking(&found, &args.expect).map_or(Ok(0), Err)
}

/// The first of what was expected and is not live.
fn lacking(found: &[Found], expected: &[Expected]) -> Option<Refused> {
    expected.iter().find_map(|expected| {
        let name = expected.to_possible_value()?;
        let name = name.get_name();
        match found.iter().find(|found| found.source == name) {
            Some(Found { state: "live", .. }) => None,
            Some(Found { state, detail, remedy, .. }) => Some(Refused {
                what: format!("--expect {name}: {state}: {detail}"),
                remedy: remedy.clone().unwrap_or_else(|| "Turn it on.".to_owned()),
            }),
            None => Some(Refused {
                what: format!("--expect {name}: it is not looked for"),
                remedy: "Leave out the flag or the variable that turns it off.".to_owned(),
            }),
        }
    })
}

fn print(node: &Node, found: &[Found], format: Format, out: &mut impl Write) -> io::Result<()> {
    if format == Format::Json {
        found.iter().try_for_each(|found| output::json_line(out, found))?;
        return out.flush();
    }
    if node.gpu.simulated() {
        writeln!(out, "SIMULATED: these GPUs do not exist.")?;
    }
    let capabilities = privileges::effective();
    let capabilities = match capabilities.as_slice() {
        [] => "no capability".to_owned(),
        some => some.join(" "),
    };
    let uid = rustix::process::geteuid().as_raw();
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    writeln!(out, "{}: UID {uid}, {capabilities}, Linux {release}", node.name)?;
    for Found { source, state, detail, remedy } in found {
        writeln!(out, "{source:<14} {state:<12} {detail}")?;
        if let Some(remedy) = remedy {
            writeln!(out, "{:<27} {remedy}", "")?;
        }
    }
    out.flush()
}

impl Found {
    fn of(source: &'static str, state: State) -> Self {
        let name = state.name();
        let (detail, remedy) = match state {
            State::Starting => ("being set up".to_owned(), None),
            State::Live(how) | State::Off(how) => (how, None),
            State::Unavailable { reason, remedy } => (reason, Some(remedy)),
        };
        Self { source, state: name, detail, remedy }
    }
}
