//! Small parts of answers: times, bounded text of tenants, byte counts.

use std::time::SystemTime;

/// Longest name of a process, a pod or a container on the wire.
pub const NAME: usize = 64;

/// RFC 3339 in UTC with microseconds.
pub fn time(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map(|at| format!("{at:.6}")).unwrap_or_default()
}

/// Text of a tenant: at most `limit` characters, control characters escaped.
pub fn bounded(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == limit {
            out.push('…');
            break;
        }
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// A count with its noun, in the plural where there is not just one.
pub fn count(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A byte count as people say it, in binary units as NVML's tools do.
pub fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (unit, name) in UNITS {
        if count >= unit {
            // The remainder is below the unit, so ten times it fits.
            return format!("{}.{} {name}", count / unit, count % unit * 10 / unit);
        }
    }
    format!("{count} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tenants_write_cannot_break_a_line_or_fill_an_answer() {
        assert_eq!(bounded("a\nb\u{1b}[31m", 100), "a\\nb\\u{1b}[31m");
        assert_eq!(bounded("äöü", 2), "äö…");
    }

    #[test]
    fn byte_counts_round_down() {
        assert_eq!(bytes(85_520_809_984), "79.6 GiB");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(u64::MAX), "17179869183.9 GiB");
    }

    #[test]
    fn times_are_utc_to_the_microsecond() {
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::new(1_763_755_200, 123_456_789);
        assert_eq!(time(at), "2025-11-21T20:00:00.123456Z");
    }
}
