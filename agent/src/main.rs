//! `agent`: an MCP session on stdio about the GPUs of this node.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent::cli::main()
}
