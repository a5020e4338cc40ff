//! A stretch of time in 64 bytes.
//!
//! Small gauges have a byte: temperatures in degrees from -40 on, shares in half percents. The others have two: power in
//! 0.1 W, memory in 8 MiB, clocks in MHz. What lies outside is the nearest that can be said; the largest number is absence.

use super::{Counter, Gauge, Reason, Sample};

/// The extent of a gauge over a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub low: f64,
    pub mean: f64,
    pub high: f64,
}

impl Spread {
    /// Of one value.
    #[must_use]
    pub fn at(value: f64) -> Self {
        Self { low: value, mean: value, high: value }
    }
}

/// What came of a second, or of 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Seconds since 1970 of its first sample, by the node's clock at that moment.
    pub at: u32,
    /// How many samples it is made of.
    pub samples: u8,
    /// Samples in which each reason held the clocks.
    held: [u8; Reason::ALL.len()],
    /// Lowest, mean, highest of the gauges that have a byte, and of those that have two.
    small: [[u8; 3]; SMALL],
    wide: [[u16; 3]; Gauge::ALL.len() - SMALL],
    /// By how much each counter rose since the point before.
    counted: [u16; Counter::ALL.len()],
}

const _: () = assert!(size_of::<Point>() == 64);

/// The first gauges of [`Gauge::ALL`] fit into a byte.
const SMALL: usize = 4;

/// How a gauge is written: what is added to it, and how many steps a unit has.
fn scale(gauge: Gauge) -> (f64, f64) {
    match gauge {
        Gauge::Temperature | Gauge::MemoryTemperature => (40.0, 1.0),
        Gauge::GpuUtilization | Gauge::MemoryUtilization => (0.0, 2.0),
        Gauge::Power => (0.0, 10.0),
        Gauge::MemoryUsed => (0.0, 0.125),
        Gauge::SmClock | Gauge::MemoryClock => (0.0, 1.0),
    }
}

impl Point {
    #[must_use]
    pub fn gauge(&self, gauge: Gauge) -> Option<Spread> {
        let at = gauge as usize;
        let [low, mean, high] = match self.small.get(at) {
            Some(small) if small[0] == u8::MAX => return None,
            Some(small) => small.map(f64::from),
            None => match self.wide[at - SMALL] {
                [u16::MAX, ..] => return None,
                wide => wide.map(f64::from),
            },
        };
        let (offset, steps) = scale(gauge);
        let read = |step: f64| step / steps - offset;
        Some(Spread { low: read(low), mean: read(mean), high: read(high) })
    }

    /// Samples in which this reason held the clocks; `None` where reasons could not be read.
    #[must_use]
    pub fn held(&self, reason: Reason) -> Option<u8> {
        Some(self.held[reason as usize]).filter(|held| *held != u8::MAX)
    }

    /// By how much it rose; `None` where it could not be read. The largest number stands for all that are larger.
    #[must_use]
    pub fn counted(&self, counter: Counter) -> Option<u16> {
        Some(self.counted[counter as usize]).filter(|rise| *rise != u16::MAX)
    }
}

/// A point in the making.
#[derive(Debug, Clone)]
pub struct Heap {
    at: u32,
    samples: u8,
    gauges: [Option<Sum>; Gauge::ALL.len()],
    held: Option<[u8; Reason::ALL.len()]>,
    counted: [Option<u64>; Counter::ALL.len()],
}

#[derive(Debug, Clone, Copy)]
struct Sum {
    low: f64,
    high: f64,
    total: f64,
    count: u32,
}

impl Heap {
    #[must_use]
    pub fn new(at: u32) -> Self {
        let (gauges, counted) = ([None; Gauge::ALL.len()], [None; Counter::ALL.len()]);
        Self { at, samples: 0, gauges, held: None, counted }
    }

    /// Adds a sample, and by how much its counters rose.
    pub fn add(&mut self, sample: &Sample, rises: &[Option<u64>; Counter::ALL.len()]) {
        self.samples = self.samples.saturating_add(1);
        for (sum, spread) in self.gauges.iter_mut().zip(&sample.gauges) {
            let Some(Spread { low, mean, high }) = *spread else { continue };
            let sum = sum.get_or_insert(Sum { low, high, total: 0.0, count: 0 });
            sum.low = sum.low.min(low);
            sum.high = sum.high.max(high);
            sum.total += mean;
            sum.count += 1;
        }
        if let Some(bits) = sample.reasons {
            let held = self.held.get_or_insert_default();
            for reason in Reason::ALL.into_iter().filter(|reason| reason.is_in(bits)) {
                let held = &mut held[reason as usize];
                *held = held.saturating_add(1).min(u8::MAX - 1);
            }
        }
        for (counted, rise) in self.counted.iter_mut().zip(rises) {
            if let Some(rise) = rise {
                *counted = Some(counted.unwrap_or(0).saturating_add(*rise));
            }
        }
    }

    /// How many samples it has.
    #[must_use]
    pub fn samples(&self) -> u8 {
        self.samples
    }

    #[must_use]
    pub fn point(&self) -> Point {
        let mut point = Point {
            at: self.at,
            samples: self.samples,
            held: self.held.unwrap_or([u8::MAX; Reason::ALL.len()]),
            small: [[u8::MAX; 3]; SMALL],
            wide: [[u16::MAX; 3]; Gauge::ALL.len() - SMALL],
            counted: self.counted.map(|rise| {
                let most = u64::from(u16::MAX - 1);
                rise.and_then(|rise| u16::try_from(rise.min(most)).ok()).unwrap_or(u16::MAX)
            }),
        };
        for gauge in Gauge::ALL {
            let Some(Sum { low, high, total, count }) = self.gauges[gauge as usize] else {
                continue;
            };
            let at = gauge as usize;
            let values = [low, total / f64::from(count), high];
            match point.small.get_mut(at) {
                Some(small) => *small = values.map(|value| byte(steps(gauge, value))),
                None => point.wide[at - SMALL] = values.map(|value| word(steps(gauge, value))),
            }
        }
        point
    }
}

fn steps(gauge: Gauge, value: f64) -> f64 {
    let (offset, steps) = scale(gauge);
    ((value + offset) * steps).round()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float takes the nearest number there is, and 0 for none"
)]
fn byte(steps: f64) -> u8 {
    (steps as u8).min(u8::MAX - 1)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float takes the nearest number there is, and 0 for none"
)]
fn word(steps: f64) -> u16 {
    (steps as u16).min(u16::MAX - 1)
}
