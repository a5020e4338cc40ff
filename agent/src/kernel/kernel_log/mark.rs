//! A place in the kernel's log that a later process can find again.

use std::fmt;

/// How far the log has been read. To be kept where a later process finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The boot whose log it is. Another boot's is read from its start.
    pub boot_id: String,
    pub position: Position,
    /// Time of the last record by the kernel's print clock: the position, where the log is now read the other way.
    pub timestamp_us: u64,
    /// What the print clock was found to lag behind CLOCK_MONOTONIC.
    pub drift_us: i64,
    /// CLOCK_MONOTONIC when the log had last been read to its end; None: never yet.
    pub read_us: Option<u64>,
}

/// The last record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// Its number in `/dev/kmsg`.
    Record { sequence: u64 },
    /// Its last line in syslog(2)'s text: a hash that is the same in every build, and how many equal lines end the text.
    Line { hash: u64, run: u64 },
}

impl Mark {
    /// What [`Mark`]'s `Display` has written; `None` for anything else.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut fields = text.split(' ');
        let boot_id = fields.next()?.to_owned();
        let position = match fields.next()?.split_once(':')? {
            ("record", sequence) => Position::Record { sequence: sequence.parse().ok()? },
            ("line", rest) => {
                let (hash, run) = rest.split_once('x')?;
                Position::Line { hash: hash.parse().ok()?, run: run.parse().ok()? }
            }
            _ => return None,
        };
        let timestamp_us = fields.next()?.parse().ok()?;
        let drift_us = fields.next()?.parse().ok()?;
        let read_us = match fields.next()? {
            "-" => None,
            read => Some(read.parse().ok()?),
        };
        let whole = fields.next().is_none();
        whole.then_some(Self { boot_id, position, timestamp_us, drift_us, read_us })
    }
}

/// One line of text, for whoever keeps it.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { boot_id, position, timestamp_us, drift_us, read_us } = self;
        write!(f, "{boot_id} ")?;
        match position {
            Position::Record { sequence } => write!(f, "record:{sequence}")?,
            Position::Line { hash, run } => write!(f, "line:{hash}x{run}")?,
        }
        write!(f, " {timestamp_us} {drift_us} ")?;
        match read_us {
            Some(read) => write!(f, "{read}"),
            None => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let positions =
            [Position::Record { sequence: u64::MAX }, Position::Line { hash: 7, run: 2 }];
        for (position, read_us) in positions.into_iter().zip([None, Some(5)]) {
            let boot_id = "0d8f1a9c-3f35".to_owned();
            let mark = Mark { boot_id, position, timestamp_us: 1, drift_us: -3, read_us };
            assert_eq!(Mark::read(&mark.to_string()), Some(mark));
        }
        for text in
            ["", "a", "a record:1", "a record:x 1 1 -", "a line:1 1 1 -", "a record:1 1 1 - b"]
        {
            assert_eq!(Mark::read(text), None, "{text}");
        }
    }
}
