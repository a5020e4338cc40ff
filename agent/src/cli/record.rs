//! `agent record`: the pod's main process where the node is listened to for good. It holds the tracer, the journal and NVML,
//! and serves sessions on a unix socket; as PID 1 it ends at once on SIGTERM and reaps what `kubectl exec` leaves behind.
//!
//! ```text
//! $ agent record --socket /run/k8s-gpu-mcp-server/agent.sock &
//! $ agent          # a session, in the same container: it finds the socket and joins
//! ```

use std::{
    fs, io,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::{fs::Mode as FileMode, process::umask};
use tokio::{net::UnixListener, sync::watch};

use super::{
    Refused,
    args::{Arguments, NvmlMode, Record},
    audit, pause, start,
};
use crate::{
    mcp::socket::{self, Offer},
    node::Recorder,
    store::keeper::{Keeper, Kept},
};

/// Writing the journal for the last time takes some milliseconds; a disk that hangs must not keep the pod.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// Records until SIGTERM or SIGINT, and ends the process.
pub fn run(arguments: &Arguments, args: &Record) -> ! {
    start::run(record(arguments, args))
}

async fn record(arguments: &Arguments, record: &Record) -> Result<u8, Refused> {
    let ended = start::ended();
    let listener = bind(&arguments.socket)?;
    // From here on every file is for this user alone: the journal has the names of tenants' processes.
    umask(FileMode::from_raw_mode(0o077));
    let keeper = keeper(arguments, record)?;
    let recorder = Recorder::new(arguments.socket.clone(), keeper.kept());
    let node = start::node(arguments, keeper.journal(), Some(recorder));
    start::hear(&node, arguments)?;
    node.sample_gpus();
    if arguments.nvml_demanded {
        start::demand_nvml(&node).await?;
    }
    let offer = Offer {
        simulated: arguments.nvml_mode == NvmlMode::Simulated,
        nvml_library: arguments.nvml_library.clone(),
        replay: arguments.replay.clone(),
    };
    let stop = watch::Sender::new(false);
    let stopped = || {
        let mut stop = stop.subscribe();
        async move {
            // An error is the sender's end, which is the same.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    };
    let keeping = tokio::spawn(keeper.run(stopped()));
    let log = audit::own_stderr();
    let listening =
        tokio::spawn(socket::listen(Arc::clone(&node), offer, log, listener, stopped()));
    tokio::select! {
        () = ended => {}
        error = pause::reap() => {
            tracing::warn!(%error, "Ended sessions are not reaped.");
            start::ended().await;
        }
    }
    stop.send_replace(true);
    // Gone before this process is: a session that comes now is by itself.
    let _ = fs::remove_file(&arguments.socket);
    // Open sessions end, and their ends are told.
    let _ = tokio::time::timeout(LAST_WRITE, listening).await;
    if tokio::time::timeout(LAST_WRITE, keeping).await.is_err() {
        tracing::error!(
            "The journal's last write is not done; what is missing is read back from the kernel's log."
        );
    }
    Ok(0)
}

/// Opens the journal's file. Where it was left to us to choose, not having it costs persistence and nothing else.
fn keeper(arguments: &Arguments, record: &Record) -> Result<Keeper, Refused> {
    let path = record.journal.clone().unwrap_or_else(|| beside(&arguments.socket));
    let keeper = Keeper::start(path).map_err(|error| Refused {
        what: error.to_string(),
        remedy: "Give each recorder its own file with --journal.".to_owned(),
    })?;
    let kept = keeper.kept();
    let kept = kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match &*kept {
        Kept::Failing(_, reason) if record.journal.is_some() => Err(Refused {
            what: format!("--journal: {reason}"),
            remedy: "Name a file in a directory that this user may write and that has space."
                .to_owned(),
        }),
        _ => {
            drop(kept);
            Ok(keeper)
        }
    }
}

fn beside(socket: &Path) -> PathBuf {
    socket.with_file_name("journal.redb")
}

/// Makes the socket, for this user alone. One that a recorder has left behind is replaced; anything else there is not ours.
fn bind(path: &Path) -> Result<UnixListener, Refused> {
    let refused = |what: String, remedy: &str| Refused {
        what: format!("--socket {}: {what}", path.display()),
        remedy: remedy.to_owned(),
    };
    if let Ok(there) = fs::symlink_metadata(path) {
        if !there.file_type().is_socket() {
            return Err(refused(
                "something that is no socket is there".to_owned(),
                "Name another path, or remove it yourself.",
            ));
        }
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => {
                return Err(refused(
                    "another recorder listens there".to_owned(),
                    "One recorder a node: join it by starting `agent`, or name another path.",
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                tracing::info!("The socket of an earlier recorder is replaced.");
                fs::remove_file(path)
                    .map_err(|error| refused(error.to_string(), "Remove it yourself."))?;
            }
            Err(error) => return Err(refused(error.to_string(), "Name another path.")),
        }
    }
    let cannot = |error: io::Error| {
        refused(error.to_string(), "Name a path in a directory that this user may write.")
    };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(cannot)?;
    }
    // The mode has to be right from the first moment: there is no other thread that could make a file meanwhile.
    let before = umask(FileMode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    listener.map_err(cannot)
}
