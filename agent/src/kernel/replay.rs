//! Lines from a file or a FIFO, taken as if they were heard at the moment they are read.
//!
//! For demonstrations, tests, and reading a saved log on a machine without the fault. Every event that comes this way
//! names `replay` as its source, so it cannot be mistaken for something this node's kernel said.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    time::SystemTime,
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Line;
use crate::event::Origin;

/// Longer lines are cut here: the kernel prints at most 1 KiB, and a log's prefix adds little.
const LONGEST: u64 = 4096;
/// Lines read ahead of the agent; a reader that is faster waits.
const AHEAD: usize = 256;

/// Opens `path` and reads it to its end on a thread of its own (opening a FIFO waits for its writer).
pub fn start(path: &Path) -> std::io::Result<mpsc::Receiver<Line>> {
    // Said now and not by the thread, while somebody is there to be told.
    std::fs::metadata(path)?;
    let (lines, heard) = mpsc::channel(AHEAD);
    let path = path.to_owned();
    std::thread::Builder::new().name("replay".to_owned()).spawn(move || {
        if let Err(error) = read(&path, &lines) {
            tracing::error!(%error, path = %path.display(), "The replay ended early.");
        }
    })?;
    Ok(heard)
}

fn read(path: &Path, lines: &mpsc::Sender<Line>) -> std::io::Result<()> {
    let mut file = BufReader::new(std::fs::File::open(path)?);
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        if file.by_ref().take(LONGEST).read_until(b'\n', &mut buffer)? == 0 {
            return Ok(());
        }
        let mut cut = false;
        if buffer.last() == Some(&b'\n') {
            buffer.pop();
        } else if buffer.len() as u64 == LONGEST {
            cut = true;
            file.skip_until(b'\n')?;
        }
        let line = Line {
            time: SystemTime::now(),
            task: None,
            text: Bytes::copy_from_slice(&buffer),
            cut,
            origin: Origin::Unstated,
        };
        if lines.blocking_send(line).is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_and_the_next_is_whole() {
        let path = std::env::temp_dir().join(format!("agent-replay-{}", std::process::id()));
        std::fs::write(
            &path,
            [vec![b'x'; 10_000], b"\nNVRM: Xid\n\nlast without newline".to_vec()].concat(),
        )
        .expect("write");
        let mut heard = start(&path).expect("start");
        let got: Vec<_> = std::iter::from_fn(|| heard.blocking_recv())
            .map(|line| (line.text.len(), line.cut))
            .collect();
        assert_eq!(got, [(4096, true), (9, false), (0, false), (20, false)]);
        std::fs::remove_file(path).expect("remove");
    }

    #[test]
    fn a_missing_file_is_said_at_once() {
        assert_eq!(
            start(Path::new("/nonexistent/log")).map(|_| ()).map_err(|e| e.kind()),
            Err(std::io::ErrorKind::NotFound)
        );
    }
}
