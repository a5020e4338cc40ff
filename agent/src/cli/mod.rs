//! The command line: what was asked for, and the exit code that says how it went.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | the client closed the session, or SIGTERM or SIGINT ended it |
//! | 1 | a session that joined a recorder was cut off because its client did not read, or lost the recorder; `decode`: stdin cannot be read; `xid`: no catalogue has the number; stdout cannot be written |
//! | 2 | bad arguments; usage is on stderr |
//! | 3 | what was demanded with `--ebpf on`, `--nvml-mode`, `--socket`, `--journal` or `doctor --expect` cannot be had; reason and remedy are on stderr |

mod args;
mod audit;
mod decode;
mod doctor;
mod log;
mod output;
mod pause;
mod record;
mod relay;
mod session;
mod start;
mod stdout;
mod terminal;
mod xid;

use std::process::ExitCode;

use args::{Arguments, Command};

/// Runs the agent.
#[must_use]
pub fn main() -> ExitCode {
    // Exits with 2 itself, with usage on stderr.
    let arguments = Arguments::parse();
    log::start(&arguments.log_level);
    match &arguments.command {
        None => session::run(&arguments),
        Some(Command::Record(record)) => record::run(&arguments, record),
        Some(Command::Decode(arguments)) => decode::run(arguments),
        Some(Command::Xid(arguments)) => xid::run(arguments),
        Some(Command::Doctor(doctor)) => doctor::run(&arguments, doctor),
        Some(Command::Pause) => pause::run(),
    }
}

/// What was demanded and cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{what}\n  {remedy}")]
struct Refused {
    what: String,
    remedy: String,
}
