//! `agent pause`: the pod's main process where no recorder runs. It does nothing, ends at once on SIGTERM, and as PID 1
//! reaps the sessions that `kubectl exec` leaves behind; the image has no shell and no `sleep`.

use std::process::ExitCode;

use rustix::process::{WaitOptions, wait};
use tokio::signal::unix::{Signal, SignalKind, signal};

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
    let mut child = signal(SignalKind::child())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = reap(&mut child) => {}
    }
    Ok(())
}

async fn reap(child: &mut Signal) {
    while child.recv().await.is_some() {
        // One signal may stand for many children.
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
}
