//! The readings before: a counter says something by how it grows, and that takes two of them.
//!
//! [`Readings`] keeps two of each GPU, at least [`WINDOW`] apart, so that a caller who asks often does not shorten the time that
//! a rate is taken over.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::vitals::Vitals;

/// The least time over which a rate is a rate: what DCGM's health watches look back.
pub const WINDOW: Duration = Duration::from_mins(1);

/// What was read of a GPU before, and how long before.
#[derive(Debug, Clone)]
pub struct Before {
    pub ago: Duration,
    pub vitals: Vitals,
}

impl Before {
    /// How much a counter has grown since; `None` where one of the two is not known, or where it began anew.
    #[must_use]
    pub fn growth(&self, now: &Vitals, counter: impl Fn(&Vitals) -> Option<u64>) -> Option<u64> {
        counter(now)?.checked_sub(counter(&self.vitals)?)
    }

    /// [`growth`](Self::growth) where it went on for long enough to be a rate.
    #[must_use]
    pub fn rate(&self, grown: u64, per: Duration) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "compared with a limit, and shown rounded")]
        let grown = grown as f64;
        (self.ago >= WINDOW).then(|| grown * per.as_secs_f64() / self.ago.as_secs_f64())
    }
}

/// The readings of every GPU of the node. `get_gpu_health` writes them, and reads them the next time; they end with the process.
#[derive(Debug, Default)]
pub struct Readings(Mutex<BTreeMap<String, Pair>>);

#[derive(Debug)]
struct Pair {
    /// At least [`WINDOW`] before `newer`.
    older: Option<(Instant, Vitals)>,
    newer: (Instant, Vitals),
}

impl Readings {
    /// Gives what was read of this GPU before and keeps what is read now.
    pub fn exchange(&self, gpu: &str, now: Instant, vitals: &Vitals) -> Option<Before> {
        let mut readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What is not there to be read is not there to be compared with.
        if vitals.said.answered == 0 {
            return None;
        }
        let kept = |vitals: &Vitals| Vitals { absent: Vec::new(), ..vitals.clone() };
        let Some(pair) = readings.get_mut(gpu) else {
            readings.insert(gpu.to_owned(), Pair { older: None, newer: (now, kept(vitals)) });
            return None;
        };
        if now.saturating_duration_since(pair.newer.0) >= WINDOW {
            let newer = std::mem::replace(&mut pair.newer, (now, kept(vitals)));
            pair.older = Some(newer);
        }
        let (read, vitals) = pair.older.as_ref().unwrap_or(&pair.newer);
        Some(Before { ago: now.saturating_duration_since(*read), vitals: vitals.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(replays: u64) -> Vitals {
        let mut vitals = Vitals::default();
        (vitals.said.answered, vitals.pcie.replays) = (1, Some(replays));
        vitals
    }

    #[test]
    fn a_rate_is_taken_over_a_window_however_often_somebody_asks() {
        let (readings, start) = (Readings::default(), Instant::now());
        let ask = |seconds, replays| {
            let now = start + Duration::from_secs(seconds);
            let vitals = with(replays);
            let before = readings.exchange("GPU-1", now, &vitals)?;
            let grown = before.growth(&vitals, |vitals| vitals.pcie.replays);
            Some((before.ago.as_secs(), grown, grown.and_then(|it| before.rate(it, WINDOW))))
        };
        assert_eq!(ask(0, 100), None);
        // Compared with the first, which is too near for a rate.
        assert_eq!(ask(10, 110), Some((10, Some(10), None)));
        assert_eq!(ask(60, 120), Some((60, Some(20), Some(20.0))));
        // With the first still: the one at 60 s is too near.
        assert_eq!(ask(90, 130), Some((90, Some(30), Some(20.0))));
        assert_eq!(ask(120, 140), Some((60, Some(20), Some(20.0))));
        // A driver that was loaded anew counts from nothing.
        assert_eq!(ask(240, 0), Some((120, None, None)));
        assert!(readings.exchange("GPU-2", start, &with(1)).is_none());
    }

    #[test]
    fn a_gpu_that_tells_nothing_is_not_compared_with() {
        let (readings, now) = (Readings::default(), Instant::now());
        assert!(readings.exchange("GPU-1", now, &Vitals::default()).is_none());
        assert!(readings.exchange("GPU-1", now, &with(1)).is_none());
        assert!(readings.exchange("GPU-1", now, &Vitals::default()).is_none());
        let before = readings.exchange("GPU-1", now + WINDOW, &with(2)).unwrap();
        assert_eq!(before.vitals.pcie.replays, Some(1));
    }
}
