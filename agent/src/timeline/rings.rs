//! The points of one GPU, and where there are none.
//!
//! Points stand in the order in which they were taken, by a clock that is never set; the time that people read is only
//! written on them. A node's clock that is set moves no point and breaks no ring: a window has the points whose time lies in it, and
//! the moment at which the clock was set is a [`Gap`] without length.

use std::{
    collections::VecDeque,
    mem::size_of,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    Counter, Sample,
    point::{Heap, Point},
};

/// Points of a second: ten minutes, and as much as a question about ten minutes may come after the newest of them.
pub const FINE: usize = 615;
/// Points of [`COARSE_S`]: six hours.
pub const COARSE: usize = 1440;
/// Seconds of a coarse point.
pub const COARSE_S: u32 = 15;
/// Gaps that are remembered.
const GAPS: usize = 16;
/// Longest reason of a gap, in characters.
const REASON: usize = 160;
/// Samples come by the second; later than this is a gap.
const LATE: Duration = Duration::from_millis(3500);
/// A clock that is this far from where it should be was set.
const SET: u64 = 2;

/// Without a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Seconds since 1970.
    pub from: u32,
    /// `None` while it lasts.
    pub to: Option<u32>,
    pub reason: Arc<str>,
}

/// Written by whoever samples, read by whoever asks; of one GPU. Takes its memory with the first sample.
#[derive(Debug, Default)]
pub struct Rings {
    fine: VecDeque<Point>,
    /// Whether a fine point has made room for another.
    fine_lost: bool,
    coarse: VecDeque<Point>,
    /// The coarse point in the making, and when it was begun.
    open: Option<(Duration, Heap)>,
    /// What the counters stood at.
    counters: [Option<u64>; Counter::ALL.len()],
    gaps: VecDeque<Gap>,
    /// When the last sample was taken: by the clock that is never set, and by the node's.
    last: Option<(Duration, u32)>,
}

/// What is known of a stretch of time.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// Seconds of a point: 1 where the fine ring reaches back far enough, else [`COARSE_S`].
    pub resolution_s: u32,
    pub points: Vec<Point>,
    pub gaps: Vec<Gap>,
}

impl Window {
    /// Leaves out the points before and behind two times.
    pub fn clip(&mut self, from: SystemTime, to: SystemTime) {
        let within = seconds(from)..=seconds(to);
        self.points.retain(|point| within.contains(&point.at));
    }
}

impl Rings {
    /// Takes a sample. `clock` is the time since any start by a clock that is never set.
    pub fn push(&mut self, now: SystemTime, clock: Duration, sample: &Sample) {
        let at = seconds(now);
        if self.last.is_none() {
            self.fine.reserve_exact(FINE);
            self.coarse.reserve_exact(COARSE);
        }
        self.close_gap(at, clock);
        let rises = self.rises(sample);
        let mut second = Heap::new(at);
        second.add(sample, &rises);
        self.fine_lost |= self.fine.len() == FINE;
        keep(&mut self.fine, FINE, second.point());
        let whole = Duration::from_secs(COARSE_S.into());
        let is_over = |(begun, heap): &(Duration, Heap)| {
            clock.saturating_sub(*begun) >= whole || u32::from(heap.samples()) >= COARSE_S
        };
        if let Some((_, heap)) = self.open.take_if(|open| is_over(open)) {
            keep(&mut self.coarse, COARSE, heap.point());
        }
        self.open.get_or_insert_with(|| (clock, Heap::new(at))).1.add(sample, &rises);
        self.last = Some((clock, at));
    }

    /// There was no sample at this time, and why.
    pub fn missed(&mut self, now: SystemTime, reason: &str) {
        let now = seconds(now);
        let reason: String = reason.chars().take(REASON).collect();
        match self.gaps.back_mut() {
            Some(gap) if gap.to.is_none() && *gap.reason == *reason => return,
            Some(gap) if gap.to.is_none() => {
                gap.to = Some(now);
                return self.gap(now, None, reason);
            }
            _ => {}
        }
        // It was due a second after the last: whoever waits for an answer learns late that none comes.
        let due = self.last.map_or(now, |(_, last)| last.saturating_add(1).min(now));
        self.gap(due, None, reason);
    }

    /// What is known between two points in time.
    #[must_use]
    pub fn window(&self, from: SystemTime, to: SystemTime) -> Window {
        let (from, to) = (seconds(from), seconds(to));
        let reaches_back = self.fine.front().is_some_and(|point| point.at <= from);
        let all_is_fine = !self.fine_lost || reaches_back;
        let within = |point: &Point| (from..=to).contains(&point.at);
        let (resolution_s, points) = if all_is_fine {
            (1, self.fine.iter().copied().filter(within).collect())
        } else {
            let open = self.open.as_ref().map(|(_, heap)| heap.point());
            (COARSE_S, self.coarse.iter().copied().chain(open).filter(within).collect())
        };
        let met = |gap: &&Gap| gap.from <= to && gap.to.is_none_or(|end| end >= from);
        Window { resolution_s, points, gaps: self.gaps.iter().filter(met).cloned().collect() }
    }

    /// Samples of a second that are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fine.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fine.is_empty()
    }

    /// The memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let points = (self.fine.capacity() + self.coarse.capacity()) * size_of::<Point>();
        let reasons: usize = self.gaps.iter().map(|gap| gap.reason.len()).sum();
        size_of::<Self>() + points + self.gaps.capacity() * size_of::<Gap>() + reasons
    }

    /// By how much each counter rose. One that is lower than before was begun anew when the driver was loaded again.
    fn rises(&mut self, sample: &Sample) -> [Option<u64>; Counter::ALL.len()] {
        let mut rises = [None; Counter::ALL.len()];
        for ((rise, before), now) in rises.iter_mut().zip(&mut self.counters).zip(sample.counters) {
            let Some(now) = now else { continue };
            *rise = Some(before.map_or(0, |before| now.checked_sub(before).unwrap_or(now)));
            *before = Some(now);
        }
        rises
    }

    /// A sample is there: ends the gap, and notes what came between it and the one before.
    fn close_gap(&mut self, at: u32, clock: Duration) {
        let was_open = self.gaps.back_mut().filter(|gap| gap.to.is_none());
        let is_explained = was_open.map(|gap| gap.to = Some(at)).is_some();
        let Some((last_clock, last_at)) = self.last else { return };
        let passed = clock.saturating_sub(last_clock);
        let expected = u64::from(last_at) + passed.as_secs();
        if expected.abs_diff(at.into()) > SET {
            let by = i64::from(at) - i64::try_from(expected).unwrap_or(i64::MAX);
            self.gap(at, Some(at), format!("the node's clock was set by {by:+} s"));
        } else if passed > LATE && !is_explained {
            let reason = "nothing was read: the recorder did not get to run, or NVML was slow";
            self.gap(last_at, Some(at), reason.to_owned());
        }
    }

    fn gap(&mut self, from: u32, to: Option<u32>, reason: String) {
        if self.gaps.len() == GAPS {
            self.gaps.pop_front();
        }
        self.gaps.push_back(Gap { from, to, reason: reason.into() });
    }
}

fn keep(ring: &mut VecDeque<Point>, most: usize, point: Point) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(point);
}

/// Seconds since 1970.
#[must_use]
pub fn seconds(time: SystemTime) -> u32 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}
