//! `agent` without a subcommand: one MCP session on stdin and stdout, of the node's recorder where there is one.

use std::sync::Arc;

use super::{Refused, args::Arguments, audit, relay, start, stdout::DirectStdout, terminal};
use crate::{event::Journal, mcp};

/// Serves the session and ends the process.
pub fn run(arguments: &Arguments) -> ! {
    start::run(session(arguments))
}

async fn session(arguments: &Arguments) -> Result<u8, Refused> {
    let ended = start::ended();
    // Before anything reads or writes; put back when this is done, or fails.
    let _terminal = terminal::open();
    let session = async {
        match relay::join(arguments).await? {
            Some(recorder) => Ok(relay::run(recorder).await),
            None => alone(arguments).await,
        }
    };
    tokio::select! {
        code = session => code,
        () = ended => {
            tracing::info!("Ended by a signal.");
            Ok(0)
        }
    }
}

/// A session that has its sources to itself.
async fn alone(arguments: &Arguments) -> Result<u8, Refused> {
    let node = start::node(arguments, Journal::new(), None);
    start::hear(&node, arguments)?;
    if arguments.nvml_demanded {
        start::demand_nvml(&node).await?;
    }
    let terms =
        mcp::Terms { access: arguments.mode.into(), patience: None, audit: audit::of_the_pod() };
    mcp::serve(Arc::clone(&node), terms, tokio::io::stdin(), DirectStdout::new()).await;
    Ok(0)
}
