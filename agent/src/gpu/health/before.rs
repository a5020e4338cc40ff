//! The readings before: a counter says something by how it grows, and that takes two of them.
//!
//! [`Readings`] keeps two of each GPU, at least [`WINDOW`] apart, so that a caller who asks often does not shorten the time that
//! a rate is taken over. Beside them it keeps the [`Best`] of all: a link that went down stays one that was up, however often
//! somebody asks after that. All of it is of one driver: with another GPU or a driver that was loaded anew it begins anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::vitals::Vitals;

/// The least time over which a rate is a rate: what DCGM's health watches look back.
pub const WINDOW: Duration = Duration::from_mins(1);

/// The age up to which growth by little says that something is going on: nobody acts on what happened once on some day.
pub const LATELY: Duration = Duration::from_hours(1);
/// A GPU that worked for half of the driver's sample has its PCIe link up. An idle one lowers it on purpose.
pub const LOAD_PERCENT: u32 = 50;

/// What was read of a GPU before, and how long before.
#[derive(Debug, Clone)]
pub struct Before {
    pub ago: Duration,
    pub vitals: Vitals,
    /// Of all readings before.
    pub best: Best,
}

/// The best that a GPU was seen at: what it can, where nothing else tells that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Best {
    /// The NVLinks that were up since the GPU was last divided, by number.
    pub links_up: BTreeSet<u32>,
    pub pcie_width: Option<u32>,
    /// While the GPU worked.
    pub pcie_generation: Option<u32>,
}

impl Best {
    /// With what is read now.
    #[must_use]
    pub fn with(mut self, now: &Vitals) -> Self {
        if now.mig_enabled == Some(true) {
            // A divided GPU has its links switched off.
            self.links_up.clear();
        } else {
            let up = now.nvlink.links.iter().filter(|link| link.up);
            self.links_up.extend(up.map(|link| link.number));
        }
        self.pcie_width = self.pcie_width.max(now.pcie.link.width);
        if now.gpu_utilization_percent.is_some_and(|load| load >= LOAD_PERCENT) {
            self.pcie_generation = self.pcie_generation.max(now.pcie.link.generation);
        }
        self
    }
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
pub struct Readings(Mutex<BTreeMap<String, Kept>>);

#[derive(Debug)]
struct Kept {
    /// At least [`WINDOW`] before `newer`.
    older: Option<(Instant, Vitals)>,
    newer: (Instant, Vitals),
    best: Best,
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
        let same_driver = |kept: &&mut Kept| kept.newer.1.library_since == vitals.library_since;
        let Some(before) = readings.get_mut(gpu).filter(same_driver) else {
            let best = Best::default().with(vitals);
            let first = Kept { older: None, newer: (now, kept(vitals)), best };
            readings.insert(gpu.to_owned(), first);
            return None;
        };
        if now.saturating_duration_since(before.newer.0) >= WINDOW {
            let newer = std::mem::replace(&mut before.newer, (now, kept(vitals)));
            before.older = Some(newer);
        }
        let best = std::mem::take(&mut before.best);
        before.best = best.clone().with(vitals);
        let (read, vitals) = before.older.as_ref().unwrap_or(&before.newer);
        let ago = now.saturating_duration_since(*read);
        Some(Before { ago, vitals: vitals.clone(), best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::health::vitals::Link;

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

    /// A GPU whose only link is up or not.
    fn linked(up: bool) -> Vitals {
        let mut vitals = with(1);
        vitals.nvlink.links = vec![Link { up, ..Link::default() }];
        vitals.pcie.link.width = Some(if up { 16 } else { 8 });
        vitals
    }

    #[test]
    fn what_was_up_stays_what_was_up_until_the_gpu_is_divided_or_its_driver_is_another() {
        let (readings, start) = (Readings::default(), Instant::now());
        let was_up = |minute: u32, vitals: &Vitals| {
            let before = readings.exchange("GPU-1", start + WINDOW * minute, vitals)?;
            Some((!before.best.links_up.is_empty(), before.best.pcie_width))
        };
        assert_eq!(was_up(0, &linked(true)), None);
        for minute in 1..5 {
            assert_eq!(was_up(minute, &linked(false)), Some((true, Some(16))));
        }
        let divided = Vitals { mig_enabled: Some(true), ..linked(false) };
        assert_eq!(was_up(5, &divided), Some((true, Some(16))));
        assert_eq!(was_up(6, &linked(false)), Some((false, Some(16))));
        let another = Vitals { library_since: Some(start), ..linked(false) };
        assert_eq!(was_up(7, &another), None);
        assert_eq!(was_up(8, &another), Some((false, Some(8))));
    }

    #[test]
    fn the_generation_of_an_idle_gpu_is_not_its_best() {
        let mut vitals = with(1);
        vitals.pcie.link.generation = Some(4);
        assert_eq!(Best::default().with(&vitals).pcie_generation, None);
        vitals.gpu_utilization_percent = Some(LOAD_PERCENT);
        assert_eq!(Best::default().with(&vitals).pcie_generation, Some(4));
    }
}
