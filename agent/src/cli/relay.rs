//! A session that joins the recorder: its client's bytes go to the recorder's socket, and the recorder's to the client; the
//! recorder writes them itself where stdout is a pipe.

use std::{cell::Cell, io, path::Path, time::Duration};

use rustix::fs::{FileType, fstat};
use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
        BufReader,
    },
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::{
    Refused,
    args::{Arguments, Ebpf, NvmlMode},
    output::say,
    stdout::DirectStdout,
};
use crate::mcp::{
    handing,
    joining::{Answer, Join, STALLED},
};

/// A recorder that does not answer within this is stuck, and the session is better off without it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The connection to a recorder that has taken the session.
pub struct Recorder {
    input: OwnedWriteHalf,
    output: BufReader<OwnedReadHalf>,
    /// The recorder writes to this process's stdout, and to the socket only why it ends the session.
    direct: bool,
}

/// Asks the recorder to take this session. `None`: there is none, or it has not what this session was asked for.
pub async fn join(arguments: &Arguments) -> Result<Option<Recorder>, Refused> {
    let socket = &arguments.socket;
    let asked = match tokio::time::timeout(PATIENCE, ask(socket, &request(arguments))).await {
        Ok(Ok(asked)) => asked,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(Err(error)) => {
            tracing::warn!(%error, socket = %socket.display(), "The recorder cannot be reached; this session is by itself.");
            return Ok(None);
        }
        Err(_) => {
            tracing::warn!(socket = %socket.display(), "The recorder does not answer; this session is by itself.");
            return Ok(None);
        }
    };
    match asked {
        (Answer::Joined { direct }, recorder) => Ok(Some(Recorder { direct, ..recorder })),
        (Answer::Elsewhere { reason }, _) => {
            tracing::warn!(
                reason,
                "The recorder has not what was asked for; this session is by itself."
            );
            Ok(None)
        }
        (Answer::Refused { what, remedy }, _) => Err(Refused { what, remedy }),
    }
}

fn request(arguments: &Arguments) -> Join {
    Join {
        operator: arguments.mode == super::args::Mode::Operator,
        simulated: arguments.nvml_demanded.then_some(arguments.nvml_mode == NvmlMode::Simulated),
        nvml_library: arguments.nvml_library.clone(),
        ebpf: arguments.ebpf == Ebpf::On,
        replay: arguments.replay.clone(),
    }
}

async fn ask(socket: &Path, join: &Join) -> io::Result<(Answer, Recorder)> {
    let stream = UnixStream::connect(socket).await?;
    let stdout = rustix::stdio::stdout();
    let is_pipe =
        fstat(stdout).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
    handing::send(&stream, &join.line(), is_pipe.then_some(stdout)).await?;
    let (output, input) = stream.into_split();
    let mut output = BufReader::new(output);
    let mut line = String::new();
    output.read_line(&mut line).await?;
    let answer = Answer::read(&line).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "what listens there is no recorder of this version",
        )
    })?;
    Ok((answer, Recorder { input, output, direct: false }))
}

/// Carries the session to its end; returns the exit code.
pub async fn run(recorder: Recorder) -> u8 {
    let Recorder { mut input, output, direct } = recorder;
    let done = Cell::new(false);
    let from_client = async {
        // Either side's end is the end of the input: the recorder answers what is under way, and closes.
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut input).await;
        done.set(true);
        let _ = input.shutdown().await;
        std::future::pending::<Option<u8>>().await
    };
    let to_client = async {
        if direct { until_told(output).await } else { to_client(output, DirectStdout::new()).await }
    };
    let code = tokio::select! {
        code = to_client => code,
        code = from_client => code,
    };
    code.unwrap_or_else(|| {
        if !done.get() {
            say("the recorder has ended, and this session with it; a new session finds the next one");
        }
        u8::from(!done.get())
    })
}

/// Waits for the recorder's end of the session; the exit code where it has a reason.
async fn until_told(mut output: impl AsyncRead + Unpin) -> Option<u8> {
    let mut why = String::new();
    // A connection that breaks says no more than one that is closed.
    let _ = output.read_to_string(&mut why).await;
    if why.is_empty() {
        return None;
    }
    say(why.trim_end());
    Some(1)
}

/// The same where the recorder's bytes pass through here.
async fn to_client(
    mut output: impl AsyncRead + Unpin,
    mut client: impl AsyncWrite + Unpin,
) -> Option<u8> {
    let mut bytes = vec![0; 16 << 10];
    loop {
        // An end without a word and a connection that breaks are the same: the recorder is gone, or has closed.
        let read = output.read(&mut bytes).await.unwrap_or(0);
        if read == 0 {
            return None;
        }
        let write = async {
            client.write_all(&bytes[..read]).await?;
            client.flush().await
        };
        match tokio::time::timeout(STALLED, write).await {
            Ok(Ok(())) => {}
            // The client has gone away.
            Ok(Err(_)) => return Some(0),
            Err(_) => {
                say(format_args!(
                    "cut off: the client has read nothing for {} s",
                    STALLED.as_secs()
                ));
                return Some(1);
            }
        }
    }
}
