//! What a session by itself and a recorder have in common: the node, its sources, and what was demanded of them.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

use super::{
    Refused,
    args::{Arguments, Ebpf, KernelLog, NvmlMode},
    output::say,
};
use crate::{
    event::{Journal, Source},
    gpu::{self, Worker, health::Readings},
    kernel::{
        Buffer,
        source::State,
        tracer::{Loader, Tracer},
    },
    node::{Board, Devices, Node, Recorder, Timelines},
};

/// NVML calls take microseconds to some 100 ms; one that takes longer than this is stuck.
const NVML_DEADLINE: Duration = Duration::from_secs(5);

/// Runs `role` on one thread, which does everything that waits; the few calls that block go to threads of their own. Ends the
/// process with the role's exit code: a thread that is stuck in the driver or in a read of stdin must not keep it alive, as
/// returning from main would, or dropping the event loop.
pub fn run(role: impl Future<Output = Result<u8, Refused>>) -> ! {
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(8).build();
    let code = match &runtime {
        Ok(runtime) => runtime.block_on(role).map_err(|refused| (3, refused.to_string())),
        Err(error) => {
            Err((1, format!("cannot start an event loop: {error}; look at the pod's limits")))
        }
    };
    let code = code.unwrap_or_else(|(code, why)| {
        // Whatever the log level is: the user asked for something that cannot be had.
        say(why);
        code
    });
    leave(code)
}

/// Ends the process with the runtime still there, and without the destructors of the driver's library, which may wait for a
/// call that another thread is stuck in. Whatever has to be written has been.
fn leave(code: u8) -> ! {
    // SAFETY: it takes a number and does not come back.
    unsafe { libc::_exit(code.into()) }
}

/// A node that nothing feeds yet.
pub fn node(arguments: &Arguments, journal: Journal, recorder: Option<Recorder>) -> Arc<Node> {
    let mode = match arguments.nvml_mode {
        NvmlMode::Real => gpu::Mode::Real,
        NvmlMode::Simulated => gpu::Mode::Simulated,
    };
    Arc::new(Node {
        gpu: Worker::new(mode, arguments.nvml_library.clone(), NVML_DEADLINE),
        journal,
        combiners: Mutex::default(),
        sources: Board::new(),
        devices: Devices::new(arguments.host_root.clone()),
        readings: Readings::default(),
        timelines: Timelines::default(),
        recorder,
        started: SystemTime::now(),
        name: std::env::var("NODE_NAME").unwrap_or_else(|_| host_name()),
    })
}

/// Starts the sources of events. To be called while the process has one thread.
pub fn hear(node: &Arc<Node>, arguments: &Arguments) -> Result<(), Refused> {
    let loader = (arguments.ebpf != Ebpf::Off).then(Loader::new);
    let for_devices = (arguments.ebpf != Ebpf::Off).then(Loader::new);
    node.listen_to_nvml();
    if let Some(path) = &arguments.replay {
        node.replay(path).map_err(|error| Refused {
            what: format!("--replay {}: {error}", path.display()),
            remedy: "Name a file or FIFO of kernel log lines that this user may read.".to_owned(),
        })?;
    }
    let log = arguments.kernel_log == KernelLog::Auto;
    let buffer = if node.recorder.is_some() { Buffer::Recorder } else { Buffer::Session };
    match for_devices {
        Some(loader) => node.follow_devices(loader, buffer),
        None => node.sources.set(Source::Access, State::Off("--ebpf off".to_owned())),
    }
    match loader {
        // Demanded, the tracer is there before the session is.
        Some(loader) if arguments.ebpf == Ebpf::On => {
            let tracer = Tracer::load(loader, buffer).map_err(|error| no_ebpf(error.state()))?;
            node.hear_kernel(|| Some(Ok(tracer)), log);
        }
        Some(loader) => node.hear_kernel(move || Some(Tracer::load(loader, buffer)), log),
        None => node.hear_kernel(|| None, log),
    }
    Ok(())
}

/// The tracer was demanded and is in this state.
pub fn no_ebpf(state: State) -> Refused {
    match state {
        State::Unavailable { reason, remedy } => {
            Refused { what: format!("--ebpf on: {reason}"), remedy }
        }
        other => Refused {
            what: format!("--ebpf on: {}", other.name()),
            remedy: "get_agent_status says how it stands.".to_owned(),
        },
    }
}

/// A library that is not there, or not of the kind asked for, was demanded in vain. One that is there and sick is what
/// the session is for: its tools say what is wrong.
pub async fn demand_nvml(node: &Node) -> Result<(), Refused> {
    node.demand_nvml()
        .await
        .map_err(|(what, remedy)| Refused { what: format!("--nvml-mode: {what}"), remedy })
}

/// Completes at SIGTERM or SIGINT.
pub fn ended() -> impl Future<Output = ()> {
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
