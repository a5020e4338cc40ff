//! When a record was printed, by the wall clock.
//!
//! A record has the time of the kernel's print clock. That starts with the boot, runs at the processor's own rate, and
//! is corrected by nobody, so that after months it is seconds away from CLOCK_MONOTONIC. How far it is cannot be asked,
//! but it has bounds: a record that was not there at the last read and is there now was printed between the two. Each
//! new record narrows them, and none is given a time outside its own. What the first read finds is known to be past and
//! no more: there the two clocks are taken for equal, unless a [`Mark`](super::Mark) says more.
//!
//! From CLOCK_MONOTONIC to the wall clock it is one subtraction, made anew each time, since the wall clock may be set.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// What is known of the print clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Clock {
    /// CLOCK_MONOTONIC minus the print clock.
    pub(super) drift_us: i64,
    /// CLOCK_MONOTONIC when the log had last been read to its end: what is new was printed after.
    pub(super) read_us: Option<u64>,
}

impl Clock {
    /// Learns from a record that is new at `now_us` (CLOCK_MONOTONIC).
    pub(super) fn learn(&mut self, timestamp_us: u64, now_us: u64) {
        let least = self.read_us.map_or(i64::MIN, |read_us| apart(read_us, timestamp_us));
        let most = apart(now_us, timestamp_us);
        // Should they contradict each other the later bound holds: no event is in the future.
        self.drift_us = self.drift_us.max(least).min(most);
    }

    /// CLOCK_MONOTONIC when a new record was printed; `now_us` for one without a time (`printk.time=0`).
    fn printed_us(&self, timestamp_us: Option<u64>, now_us: u64) -> u64 {
        let Some(timestamp_us) = timestamp_us else { return now_us };
        let printed_us = timestamp_us.saturating_add_signed(self.drift_us);
        printed_us.max(self.read_us.unwrap_or(0)).min(now_us)
    }

    /// The wall clock's time when a new record was printed.
    pub(super) fn time(&self, timestamp_us: Option<u64>) -> SystemTime {
        let now_us = now_us();
        let age = Duration::from_micros(now_us - self.printed_us(timestamp_us, now_us));
        SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// CLOCK_MONOTONIC. Like the print clock it stands still while the machine is suspended.
pub(super) fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanoseconds) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds * 1_000_000 + nanoseconds / 1_000
}

fn apart(left: u64, right: u64) -> i64 {
    i64::try_from(i128::from(left) - i128::from(right)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    #[test]
    fn each_new_record_narrows_the_drift() {
        // Drift before, last read, record's time, now, drift after.
        for (drift_us, read_us, timestamp_us, now_us, want) in [
            // The first read: the past says nothing …
            (0, None, 90 * S, 100 * S, 0),
            // … unless it would be in the future.
            (0, None, 103 * S, 100 * S, -3_000_000),
            // Printed after the last read: at least so much behind.
            (0, Some(98 * S), 95 * S, 100 * S, 3_000_000),
            // Within the bounds nothing is learnt.
            (3_000_000, Some(98 * S), 96 * S, 100 * S, 3_000_000),
            // The clock was found to lag more than it does.
            (3_000_000, Some(98 * S), 99 * S, 100 * S, 1_000_000),
            // Bounds that contradict each other.
            (0, Some(101 * S), 99 * S, 100 * S, 1_000_000),
            (0, Some(0), u64::MAX, 0, 0),
        ] {
            let mut clock = Clock { drift_us, read_us };
            clock.learn(timestamp_us, now_us);
            assert_eq!(clock.drift_us, want, "{drift_us} {read_us:?} {timestamp_us} {now_us}");
        }
    }

    #[test]
    fn a_record_was_printed_between_the_last_read_and_now() {
        for (drift_us, read_us, timestamp_us, want) in [
            (0, None, Some(90 * S), 90 * S),
            (2_000_000, None, Some(90 * S), 92 * S),
            (2_000_000, None, Some(99 * S), 100 * S),
            (-2_000_000, Some(98 * S), Some(99 * S), 98 * S),
            (i64::MIN, None, Some(5), 0),
            (0, None, Some(u64::MAX), 100 * S),
            (0, None, None, 100 * S),
        ] {
            let clock = Clock { drift_us, read_us };
            assert_eq!(clock.printed_us(timestamp_us, 100 * S), want, "{clock:?} {timestamp_us:?}");
        }
    }

    #[test]
    fn no_time_is_in_the_future() {
        for timestamp_us in [None, Some(0), Some(now_us()), Some(u64::MAX)] {
            assert!(Clock::default().time(timestamp_us) <= SystemTime::now());
        }
    }
}
