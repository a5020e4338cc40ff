//! The times that logs put before a line.

use super::Text;
use super::reader::decimal64;

/// The time that stands in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp<'a> {
    /// On the kernel's log clock, which starts at boot.
    SinceBoot {
        /// Nanoseconds; the kernel prints microseconds.
        ns: u64,
    },
    /// A wall clock's time, as it was written: formats differ in zone, year and language.
    Written(Text<'a>),
}

/// Longest text that is a time.
pub(super) const MAX_TIME: usize = 48;

/// The line's time, not read yet: nearly all lines turn out to be somebody else's.
#[derive(Clone, Copy)]
pub(super) enum Time<'a> {
    None,
    Seconds(&'a [u8]),
    Microseconds(&'a [u8]),
    Written(&'a [u8]),
}

impl<'a> Time<'a> {
    pub(super) fn stamp(self) -> Option<Stamp<'a>> {
        match self {
            Self::None => None,
            Self::Seconds(text) => seconds(text).map(|ns| Stamp::SinceBoot { ns }),
            Self::Microseconds(text) => {
                decimal64(text).map(|us| Stamp::SinceBoot { ns: us.saturating_mul(1000) })
            }
            Self::Written(text) => Some(Stamp::Written(Text::bounded(text, MAX_TIME))),
        }
    }
}

/// `1843.308145` in nanoseconds.
pub(super) fn seconds(text: &[u8]) -> Option<u64> {
    let dot = text.iter().position(|&byte| byte == b'.').unwrap_or(text.len());
    let mut ns = decimal64(&text[..dot])?.checked_mul(1_000_000_000)?;
    let mut unit = 100_000_000;
    for &byte in text.get(dot + 1..).unwrap_or(b"").iter().take(9) {
        ns = ns.checked_add(byte.is_ascii_digit().then(|| u64::from(byte - b'0') * unit)?)?;
        unit /= 10;
    }
    Some(ns)
}

/// `2025-01-21…`
pub(super) fn is_date(word: &[u8]) -> bool {
    matches!(word, [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, ..]
        if [y1, y2, y3, y4, m1, m2, d1, d2].iter().all(|byte| byte.is_ascii_digit()))
}

/// `19:14:43` and whatever fraction and zone is glued to it.
pub(super) fn is_time(word: &[u8]) -> bool {
    matches!(word, [h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..]
        if [h1, h2, m1, m2, s1, s2].iter().all(|byte| byte.is_ascii_digit())
            && rest.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b',' | b'+' | b'-' | b':' | b'Z')))
}
