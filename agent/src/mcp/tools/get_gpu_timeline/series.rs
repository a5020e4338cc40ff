//! One metric of one GPU: its statistics, its sparkline, its points.

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use super::{Metric, answer::Wanted, text};
use crate::{
    mcp::tools::select::Detail,
    timeline::{
        Gauge, Spread, Window,
        statistics::{self, Statistics},
    },
};

#[derive(Debug, Serialize, JsonSchema)]
pub struct Series {
    pub metric: Metric,
    /// The lowest and the highest that are known of, also from between two readings where the driver has sampled that.
    pub min: f64,
    pub mean: f64,
    pub max: f64,
    /// Of the points' means.
    pub p95: f64,
    pub last: f64,
    /// From the first sample or gap of the window to its end: the means, from ▁ at `min` to █ at `max`; · where there is none.
    /// Narrower where there are many series, and empty where there is no room.
    pub sparkline: String,
    /// With `detail: full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub points: Option<Points>,
}

/// Columns of equal length.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Points {
    /// Seconds of a point.
    pub step_s: u32,
    /// Where it begins, in seconds from the GPU's `from`. A place that is left out has no value.
    pub at_s: Vec<i64>,
    pub min: Vec<f64>,
    pub mean: Vec<f64>,
    pub max: Vec<f64>,
}

impl Series {
    pub fn of(
        metric: Metric,
        window: &Window,
        (axis, width): ((u32, u32), usize),
        wanted: &Wanted<'_>,
    ) -> Option<Self> {
        let (points, gauge) = (&window.points, metric.gauge());
        let Statistics { min, mean, max, p95, last } = statistics::statistics(points, gauge)?;
        let stretches = statistics::stretches(points, gauge, axis, width);
        Some(Self {
            metric,
            min: rounded(min),
            mean: rounded(mean),
            max: rounded(max),
            p95: rounded(p95),
            last: rounded(last),
            sparkline: text::sparkline(&stretches, (min, max)),
            points: (wanted.detail == Detail::Full)
                .then(|| Points::of(window, gauge, axis, wanted.points)),
        })
    }
}

impl Points {
    fn of(window: &Window, gauge: Gauge, axis: (u32, u32), most: usize) -> Self {
        let Window { resolution_s, points, gaps: _ } = window;
        let first = points.first().map_or(axis.0, |point| point.at);
        let mut columns = Self { step_s: *resolution_s, ..Self::default() };
        if points.len() <= most {
            for (point, spread) in
                points.iter().filter_map(|point| Some((point, point.gauge(gauge)?)))
            {
                columns.add(i64::from(point.at) - i64::from(first), spread);
            }
            return columns;
        }
        let length = axis.1.saturating_sub(axis.0) + 1;
        let count = u32::try_from(most).unwrap_or(u32::MAX);
        let stretches = statistics::stretches(points, gauge, axis, most);
        columns.step_s = length.div_ceil(count);
        for (place, spread) in (0_u64..).zip(stretches) {
            // Where a stretch begins is the first second that is in it.
            let begin = (place * u64::from(length)).div_ceil(most as u64);
            let at = i64::from(axis.0) + i64::try_from(begin).unwrap_or(0) - i64::from(first);
            if let Some(spread) = spread {
                columns.add(at, spread);
            }
        }
        columns
    }

    fn add(&mut self, at_s: i64, Spread { low, mean, high }: Spread) {
        self.at_s.push(at_s);
        self.min.push(rounded(low));
        self.mean.push(rounded(mean));
        self.max.push(rounded(high));
    }
}

/// To one place, as no sensor has more.
pub fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
