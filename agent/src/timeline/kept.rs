//! A window made of what the driver itself has kept, and one reading.

use std::{collections::BTreeMap, time::SystemTime};

use super::{Counter, Gauge, Sample, Spread, Window, point::Heap, rings::seconds};

/// The samples, which come with microseconds since 1970, by the second; then the reading, of which nothing can be said to
/// have risen.
#[must_use]
pub fn window(samples: &[(Gauge, u64, f64)], now: SystemTime, reading: &Sample) -> Window {
    let mut by_second: BTreeMap<u32, Vec<(Gauge, f64)>> = BTreeMap::new();
    for (gauge, time_us, value) in samples {
        let second = u32::try_from(time_us / 1_000_000).unwrap_or(u32::MAX);
        by_second.entry(second).or_default().push((*gauge, *value));
    }
    let point = |at, sample: &Sample| {
        let mut heap = Heap::new(at);
        heap.add(sample, &[None; Counter::ALL.len()]);
        heap.point()
    };
    let mut points: Vec<_> =
        by_second.iter().map(|(at, values)| point(*at, &second(values))).collect();
    points.push(point(seconds(now), reading));
    Window { resolution_s: 1, points, gaps: Vec::new() }
}

fn second(values: &[(Gauge, f64)]) -> Sample {
    let mut sample = Sample::default();
    for gauge in Gauge::ALL {
        let of_gauge = || values.iter().filter(|(of, _)| *of == gauge).map(|(_, value)| *value);
        let count = of_gauge().map(|_| 1.0).sum::<f64>();
        if count > 0.0 {
            let (low, high) =
                (of_gauge().fold(f64::MAX, f64::min), of_gauge().fold(f64::MIN, f64::max));
            let mean = of_gauge().sum::<f64>() / count;
            sample.gauges[gauge as usize] = Some(Spread { low, mean, high });
        }
    }
    sample
}
