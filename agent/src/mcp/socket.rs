//! The recorder's side of its socket: sessions that come and go while it goes on.

use std::{io, os::fd::OwnedFd, path::PathBuf, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    task::JoinSet,
};

use super::{
    Terms, audit, handing,
    joining::{Answer, Join, STALLED},
    serve,
};
use crate::{
    event::Source,
    kernel::source::State,
    node::{AccessMode, Node},
};

/// Each session costs some 100 KiB and two descriptors. More than this is a client that opens sessions and leaves them.
const MOST_SESSIONS: usize = 128;
/// A first line that is longer is a client's message.
const LONGEST_JOIN: usize = 16 << 10;

/// What a session may have been asked for and has to find here.
#[derive(Debug, Clone)]
pub struct Offer {
    pub simulated: bool,
    pub nvml_library: Option<PathBuf>,
    pub replay: Option<PathBuf>,
}

/// Serves sessions on `listener` until `shutdown` completes, which ends those that are open too.
pub async fn listen(
    node: Arc<Node>,
    offer: Offer,
    audit: audit::Log,
    listener: UnixListener,
    shutdown: impl Future<Output = ()>,
) {
    let offer = Arc::new(offer);
    let mut sessions = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        while sessions.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let (node, offer, audit) = (Arc::clone(&node), Arc::clone(&offer), audit.clone());
                sessions.spawn(async move {
                    if let Err(error) = session(node, &offer, audit, stream).await {
                        tracing::debug!(%error, "A client left before its session began.");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: those who are there go first.
                tracing::error!(%error, "A session cannot be accepted.");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
    sessions.shutdown().await;
}

async fn session(
    node: Arc<Node>,
    offer: &Offer,
    audit: audit::Log,
    stream: UnixStream,
) -> io::Result<()> {
    let (first, stdout) = first_line(&stream).await?;
    if first.is_empty() {
        // Somebody has looked whether there is a recorder.
        return Ok(());
    }
    let join = Join::read(&first);
    let (input, mut output) = stream.into_split();
    let Some(_session) = node.recorder.as_ref().and_then(|recorder| recorder.enter(MOST_SESSIONS))
    else {
        let what = format!("the recorder serves {MOST_SESSIONS} sessions already");
        let remedy = "End some: each is an `agent` process of this pod.".to_owned();
        tracing::warn!(what, "A session was refused.");
        return output.write_all(&Answer::Refused { what, remedy }.line()).await;
    };
    let access = if join.as_ref().is_some_and(|join| join.operator) {
        AccessMode::Operator
    } else {
        AccessMode::ReadOnly
    };
    let terms = Terms { access, patience: Some(STALLED), audit };
    let Some(join) = join else {
        serve(node, terms, io::Cursor::new(first).chain(input), output).await;
        return Ok(());
    };
    // One that cannot be opened here is the session's to write to.
    let stdout = stdout.and_then(|stdout| handing::writer(&stdout).ok());
    let answer = answer(&node, offer, &join, stdout.is_some()).await;
    output.write_all(&answer.line()).await?;
    if !matches!(answer, Answer::Joined { .. }) {
        return Ok(());
    }
    match stdout {
        None => {
            serve(node, terms, input, output).await;
        }
        Some(stdout) => {
            if serve(node, terms, input, stdout).await {
                let why =
                    format!("cut off: the client has read nothing for {} s\n", STALLED.as_secs());
                output.write_all(why.as_bytes()).await?;
            }
        }
    }
    Ok(())
}

/// Reads to the end of the first line, or a client's first message as far as it has come; and the stdout handed over with it.
async fn first_line(stream: &UnixStream) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let (mut line, mut stdout) = (Vec::new(), None);
    while line.len() < LONGEST_JOIN && !line.contains(&b'\n') {
        let mut buffer = [0; 4096];
        let (read, descriptor) = handing::receive(stream, &mut buffer).await?;
        stdout = descriptor.or(stdout);
        line.extend_from_slice(&buffer[..read]);
        if read == 0 {
            break;
        }
    }
    Ok((line, stdout))
}

async fn answer(node: &Node, offer: &Offer, join: &Join, direct: bool) -> Answer {
    let Join { operator: _, simulated, nvml_library, ebpf, replay } = join;
    let other = if simulated.is_some_and(|simulated| simulated != offer.simulated) {
        Some("--nvml-mode")
    } else if nvml_library.is_some() && *nvml_library != offer.nvml_library {
        Some("--nvml-library")
    } else if replay.is_some() && *replay != offer.replay {
        Some("--replay")
    } else {
        None
    };
    if let Some(flag) = other {
        return Answer::Elsewhere { reason: format!("the recorder runs with another {flag}") };
    }
    if simulated.is_some()
        && let Err((what, remedy)) = node.demand_nvml().await
    {
        return Answer::Refused { what: format!("--nvml-mode: {what}"), remedy };
    }
    if *ebpf {
        node.sources.settled().await;
        match node.sources.state(Source::Ebpf) {
            Some(State::Live(_)) => {}
            Some(State::Unavailable { reason, remedy }) => {
                return Answer::Refused { what: format!("--ebpf on: {reason}"), remedy };
            }
            _ => {
                let what = "--ebpf on: the recorder runs with --ebpf off".to_owned();
                let remedy = "Restart the recorder without it.".to_owned();
                return Answer::Refused { what, remedy };
            }
        }
    }
    Answer::Joined { direct }
}
