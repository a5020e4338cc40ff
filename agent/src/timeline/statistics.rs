//! What the points of a window come to.

use super::{Counter, Gauge, Point, Reason, Spread};

/// A gauge over a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    pub min: f64,
    pub mean: f64,
    pub max: f64,
    /// Of the points' means, by nearest rank.
    pub p95: f64,
    pub last: f64,
}

/// `None` where no point has the gauge.
#[must_use]
pub fn statistics(points: &[Point], gauge: Gauge) -> Option<Statistics> {
    let spreads = || points.iter().filter_map(|point| Some((point, point.gauge(gauge)?)));
    let mut merge = None::<Merge>;
    for (point, spread) in spreads() {
        Merge::add(&mut merge, spread, point.samples);
    }
    let whole = merge?.spread();
    let mut means: Vec<f64> = spreads().map(|(_, spread)| spread.mean).collect();
    let last = *means.last()?;
    means.sort_by(f64::total_cmp);
    let p95 = *means.get((means.len() * 95).div_ceil(100).saturating_sub(1))?;
    Some(Statistics { min: whole.low, mean: whole.mean, max: whole.high, p95, last })
}

/// The gauge in `count` stretches of equal length from `from` to `to`, both within it; `None` where a stretch has no value.
#[must_use]
pub fn stretches(
    points: &[Point],
    gauge: Gauge,
    (from, to): (u32, u32),
    count: usize,
) -> Vec<Option<Spread>> {
    let mut stretches = vec![None::<Merge>; count];
    for point in points {
        if let Some(at) = place(point.at, (from, to), count)
            && let Some(spread) = point.gauge(gauge)
        {
            Merge::add(&mut stretches[at], spread, point.samples);
        }
    }
    stretches.into_iter().map(|merge| merge.map(Merge::spread)).collect()
}

/// Which of `count` stretches of a window a time is in.
#[must_use]
pub fn place(at: u32, (from, to): (u32, u32), count: usize) -> Option<usize> {
    let length = u64::from(to.checked_sub(from)?) + 1;
    let behind = u64::from(at.checked_sub(from)?);
    let place = usize::try_from(behind * count as u64 / length).ok()?;
    (place < count).then_some(place)
}

/// In how many samples each reason held the clocks, by [`Reason::ALL`], and of how many that is known.
#[must_use]
pub fn held(points: &[Point]) -> ([u32; Reason::ALL.len()], u32) {
    let (mut held, mut known) = ([0; Reason::ALL.len()], 0);
    for point in points {
        if point.held(Reason::GpuIdle).is_some() {
            known += u32::from(point.samples);
        }
        for reason in Reason::ALL {
            held[reason as usize] += u32::from(point.held(reason).unwrap_or(0));
        }
    }
    (held, known)
}

/// By how much a counter rose; `None` where it was never read.
#[must_use]
pub fn counted(points: &[Point], counter: Counter) -> Option<u64> {
    let rises = points.iter().filter_map(|point| point.counted(counter));
    rises.map(u64::from).reduce(|sum, rise| sum + rise)
}

/// Several points as one, each by its samples.
#[derive(Debug, Clone, Copy)]
struct Merge {
    low: f64,
    high: f64,
    sum: f64,
    weight: f64,
}

impl Merge {
    fn add(merge: &mut Option<Self>, spread: Spread, samples: u8) {
        let Spread { low, mean, high } = spread;
        let merge = merge.get_or_insert(Self { low, high, sum: 0.0, weight: 0.0 });
        merge.low = merge.low.min(low);
        merge.high = merge.high.max(high);
        merge.sum += mean * f64::from(samples);
        merge.weight += f64::from(samples);
    }

    fn spread(self) -> Spread {
        Spread { low: self.low, mean: self.sum / self.weight, high: self.high }
    }
}
