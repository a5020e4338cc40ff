//! Which functions were called: a line with the name for each call, when it begins.
//!
//! For tests of what a client must not do, or not so often. A file, because the client is another process.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::OnceLock;

/// The environment variable that names the file. Lines are added to what it has.
pub const VARIABLE: &str = "NVML_SIM_TRACE";

static TRACE: OnceLock<Option<File>> = OnceLock::new();

/// Notes a call, if somebody wants to know. Each line is one write, so the lines of several threads do not mix.
pub fn note(symbol: &str) {
    let Some(mut file) = TRACE.get_or_init(open).as_ref() else { return };
    // A full disk must not change what the client sees.
    let _ = file.write_all(format!("{symbol}\n").as_bytes());
}

fn open() -> Option<File> {
    let path = env::var_os(VARIABLE)?;
    match OpenOptions::new().create(true).append(true).open(&path) {
        Ok(file) => Some(file),
        Err(error) => {
            let message = format!("nvml-sim: {VARIABLE}: {}: {error}", path.display());
            let _ = writeln!(std::io::stderr().lock(), "{message}");
            None
        }
    }
}
