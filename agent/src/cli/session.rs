//! `agent` without a subcommand: one MCP session on stdin and stdout.

use std::{
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tokio::signal::unix::{SignalKind, signal};

use super::{
    Refused,
    args::{Arguments, Ebpf, Mode, NvmlMode},
    stdout::DirectStdout,
};
use crate::{
    event::{Journal, Source},
    gpu::{self, GpuError, Worker},
    kernel::{
        source::State,
        tracer::{Loader, Tracer},
    },
    mcp,
    node::{AccessMode, Board, Node},
};

/// NVML calls take microseconds to some 100 ms; one that takes longer than this is stuck.
const NVML_DEADLINE: Duration = Duration::from_secs(5);

/// Serves the session and ends the process: a thread that is stuck in the driver or in a read of stdin must not keep
/// it alive.
#[expect(clippy::exit, reason = "returning from main would wait for threads that cannot be woken")]
pub fn run(arguments: &Arguments) -> ExitCode {
    // First of all, while there is one thread.
    let loader = (arguments.ebpf != Ebpf::Off).then(Loader::new);
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "Cannot start: the process may not create what an event loop needs.");
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(session(arguments, loader)) {
        Ok(()) => 0,
        Err(refused) => {
            complain(&refused);
            3
        }
    };
    std::process::exit(code)
}

#[expect(
    clippy::print_stderr,
    reason = "the user asked for something that cannot be had, whatever the log level is"
)]
fn complain(refused: &Refused) {
    eprintln!("agent: {refused}");
}

async fn session(arguments: &Arguments, loader: Option<Loader>) -> Result<(), Refused> {
    let ended = ended();
    let mode = match arguments.nvml_mode {
        NvmlMode::Real => gpu::Mode::Real,
        NvmlMode::Simulated => gpu::Mode::Simulated,
    };
    let node = Arc::new(Node {
        gpu: Worker::new(mode, arguments.nvml_library.clone(), NVML_DEADLINE),
        journal: Journal::new(),
        combiners: Mutex::default(),
        sources: Board::new(),
        access: match arguments.mode {
            Mode::ReadOnly => AccessMode::ReadOnly,
            Mode::Operator => AccessMode::Operator,
        },
        started: SystemTime::now(),
        name: std::env::var("NODE_NAME").unwrap_or_else(|_| host_name()),
    });
    hear(&node, arguments, loader)?;
    if arguments.nvml_demanded {
        demand_nvml(&node).await?;
    }
    tokio::select! {
        () = mcp::serve(Arc::clone(&node), tokio::io::stdin(), DirectStdout::new()) => {}
        () = ended => tracing::info!("Ended by a signal."),
    }
    Ok(())
}

/// Starts the sources of events.
fn hear(node: &Arc<Node>, arguments: &Arguments, loader: Option<Loader>) -> Result<(), Refused> {
    node.listen_to_nvml();
    if let Some(path) = &arguments.replay {
        node.replay(path).map_err(|error| Refused {
            what: format!("--replay {}: {error}", path.display()),
            remedy: "Name a file or FIFO of kernel log lines that this user may read.".to_owned(),
        })?;
    }
    match loader {
        Some(loader) => trace(node, loader, arguments.ebpf == Ebpf::On)?,
        None => node.sources.set(Source::Ebpf, State::Off("--ebpf off".to_owned())),
    }
    Ok(())
}

/// Demanded, the tracer is there before the session is; else it comes when it comes, because loading it takes longer
/// than the first answer may.
fn trace(node: &Arc<Node>, loader: Loader, demanded: bool) -> Result<(), Refused> {
    if demanded {
        node.trace(Tracer::load(loader).map_err(|error| not_live(error.state()))?);
    } else {
        node.trace_when_loaded(loader);
    }
    Ok(())
}

fn not_live(state: State) -> Refused {
    match state {
        State::Unavailable { reason, remedy } => {
            Refused { what: format!("--ebpf on: {reason}"), remedy }
        }
        other => Refused { what: format!("--ebpf on: {}", other.name()), remedy: String::new() },
    }
}

/// A library that is not there, or not of the kind asked for, was demanded in vain. One that is there and sick is what
/// the session is for: its tools say what is wrong.
async fn demand_nvml(node: &Node) -> Result<(), Refused> {
    match node.gpu.ask(|_| Ok(())).await {
        Err(GpuError::Unavailable(unavailable)) if !unavailable.is_sick() => Err(Refused {
            what: format!("--nvml-mode: {unavailable}"),
            remedy: unavailable.remedy(),
        }),
        _ => Ok(()),
    }
}

/// Completes at SIGTERM or SIGINT.
fn ended() -> impl Future<Output = ()> {
    let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    async move {
        let [Ok(mut terminate), Ok(mut interrupt)] = signals else {
            tracing::warn!("Signals cannot be caught; SIGTERM ends the process the hard way.");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
