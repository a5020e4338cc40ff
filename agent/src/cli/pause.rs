//! `agent pause`: the pod's main process where no recorder runs. It does nothing, ends at once on SIGTERM, and as PID 1
//! reaps the sessions that `kubectl exec` leaves behind; the image has no shell and no `sleep`.

use std::process::ExitCode;

use rustix::process::{WaitOptions, wait};
use tokio::signal::unix::{SignalKind, signal};

/// Waits for SIGTERM or SIGINT.
pub fn run() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    match runtime.and_then(|runtime| runtime.block_on(pause())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "Cannot wait for signals.");
            ExitCode::FAILURE
        }
    }
}

async fn pause() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        error = reap() => Err(error),
    }
}

/// Reaps children as they end; for a process that starts none, they are those it inherits as PID 1. Ends where that cannot
/// be done.
pub async fn reap() -> std::io::Error {
    let mut child = match signal(SignalKind::child()) {
        Ok(child) => child,
        Err(error) => return error,
    };
    loop {
        // One signal may stand for many children.
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        if child.recv().await.is_none() {
            return std::io::ErrorKind::BrokenPipe.into();
        }
    }
}
