//! What the subcommands for people write: text for a terminal, JSON lines for a pipe.
//!
//! Events and tables go to stdout, everything about them (what is missing, what went wrong) to stderr. A reader that closes
//! its end early, as `head` does, has seen enough: that is no error.

use std::{
    fmt::Display,
    io::{self, BufWriter, ErrorKind, StdoutLock, Write},
    process::ExitCode,
};

use clap::ValueEnum;
use serde::Serialize;

use crate::mcp::ascii;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a person at a terminal
    Text,
    /// One JSON object a line
    Json,
}

/// The process's stdout; it is written when it is full or flushed.
pub fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(64 << 10, io::stdout().lock())
}

/// A remark on stderr, whatever the log level is.
pub fn say(what: impl Display) {
    // Where stderr is gone there is nobody to tell.
    let _ = writeln!(io::stderr(), "agent: {what}");
}

/// The exit code of a command whose writing to stdout went this way.
pub fn ended(written: io::Result<ExitCode>) -> ExitCode {
    match written {
        Ok(code) => code,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("cannot write to stdout: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// One JSON object and a line end, in ASCII alone: what tenants wrote cannot steer a terminal or hide in it.
pub fn json_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    ascii::json(out, value)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_seen_enough_is_no_error() {
        // ExitCode cannot be compared.
        let code = |kind: ErrorKind| format!("{:?}", ended(Err(kind.into())));
        assert_eq!(code(ErrorKind::BrokenPipe), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(code(ErrorKind::StorageFull), format!("{:?}", ExitCode::FAILURE));
    }
}
