//! Positions in a journal that outlive the process that gave them.

use std::{fmt, str::FromStr};

/// "Everything after `seq`." Written `run-seq`, in hexadecimal and decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The run of an agent that numbered it.
    pub(super) run: u64,
    pub seq: u64,
}

/// Why a cursor cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no cursor; pass next_cursor of an earlier answer as it is, or leave `since` out")]
pub struct BadCursor(String);

impl Cursor {
    /// The position after event `seq` of the same journal.
    #[must_use]
    pub fn at(self, seq: u64) -> Self {
        Self { seq, ..self }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.run, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let parts = text.split_once('-').and_then(|(run, seq)| {
            Some(Self { run: u64::from_str_radix(run, 16).ok()?, seq: seq.parse().ok()? })
        });
        parts.ok_or_else(|| BadCursor(text.chars().take(64).collect()))
    }
}

/// One life of an agent over a journal that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub id: u64,
    /// The first number it gave, or would have given.
    pub first: u64,
}

/// The runs of a journal, oldest first; the last is this one.
///
/// An agent that was killed has told of events that it had not yet written down. The next one gives their numbers again,
/// to other events, so a cursor counts in its own run and ends where the next began.
#[derive(Debug, Clone)]
pub struct Runs(Vec<Run>);

impl Runs {
    /// More restarts than anybody holds a cursor over.
    const MOST: usize = 64;

    /// The runs so far and a new one, which begins behind `newest`.
    pub fn begin(mut earlier: Vec<Run>, id: u64, newest: u64) -> Self {
        earlier.drain(..earlier.len().saturating_sub(Self::MOST - 1));
        earlier.push(Run { id, first: newest + 1 });
        Self(earlier)
    }

    pub fn all(&self) -> &[Run] {
        &self.0
    }

    fn current(&self) -> u64 {
        self.0.last().map_or(0, |run| run.id)
    }

    /// The cursor behind number `seq`.
    pub fn cursor(&self, seq: u64) -> Cursor {
        Cursor { run: self.current(), seq }
    }

    /// The last number that the holder of `cursor` knows. One of another journal says nothing about this one: everything
    /// here is new to its holder.
    pub fn after(&self, cursor: Cursor) -> u64 {
        let Some(at) = self.0.iter().position(|run| run.id == cursor.run) else { return 0 };
        self.0.get(at + 1).map_or(cursor.seq, |next| cursor.seq.min(next.first - 1))
    }
}
