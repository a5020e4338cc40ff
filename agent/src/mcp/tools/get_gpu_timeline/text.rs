//! The answer of `get_gpu_timeline` for people: a line a metric.

use std::fmt::Write as _;

use super::{
    answer::{GapAnswer, GpuTimeline, HeldAnswer, Source, Timeline},
    counters::Counters,
    series::Series,
};
use crate::{
    mcp::{render, tool::Answer},
    timeline::Spread,
};

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The means as blocks, from the lowest to the highest figure of the series.
pub fn sparkline(stretches: &[Option<Spread>], (min, max): (f64, f64)) -> String {
    let block = |stretch: &Option<Spread>| {
        let Some(Spread { mean, .. }) = stretch else { return '·' };
        let share = if max > min { (mean - min) / (max - min) } else { 0.0 };
        let step = BLOCKS.iter().rposition(|block| share * 8.0 >= index_of(*block));
        step.map_or(BLOCKS[0], |step| BLOCKS[step])
    };
    stretches.iter().map(block).collect()
}

/// How high a block is, from 0.
fn index_of(block: char) -> f64 {
    f64::from(u32::from(block) - u32::from(BLOCKS[0]))
}

impl Answer for Timeline {
    fn text(&self) -> String {
        let source = match self.source {
            Source::Recorder => "as the recorder has read them",
            Source::DriverBuffers => "as far as the driver keeps samples by itself",
        };
        let count = render::count(self.gpus.len() as u64, "GPU");
        let mut text = format!(
            "{count} from {} to {}, {source}. Each line: its means from ▁ at the lowest to █ at the highest figure, · where there is none; lowest / mean / highest.",
            self.since, self.until
        );
        for gpu in &self.gpus {
            let _ = write!(text, "\n{}", gpu.lines());
        }
        for absent in &self.absent {
            let gpus: Vec<_> = absent.gpus.iter().map(ToString::to_string).collect();
            let _ = write!(
                text,
                "\nno {} of GPU {} ({}: {})",
                absent.field,
                gpus.join(", "),
                absent.call,
                absent.reason
            );
        }
        let _ = write!(text, "\n{}", render::count(self.event_count as u64, "fault"));
        let untold = self.event_count - self.events.len();
        if untold > 0 {
            let _ = write!(text, ", {untold} of them older than these");
        }
        for event in &self.events {
            let _ = write!(text, "\n{}", event.line);
        }
        for limit in &self.limits {
            let _ = write!(text, "\n{limit}");
        }
        text
    }
}

impl GpuTimeline {
    fn lines(&self) -> String {
        let address = self.pci_address.as_deref().unwrap_or("address unknown");
        let mut text = format!("GPU {}  {address}", self.index);
        if let Some(error) = &self.error {
            let _ = write!(text, "  {error}");
            return text;
        }
        let _ = write!(text, "  {}", render::count(self.samples.into(), "reading"));
        if let (Some(from), Some(to)) = (&self.from, &self.to) {
            let _ = write!(text, ", {} s each, {from} to {to}", self.resolution_s);
        }
        for series in &self.series {
            let _ = write!(text, "\n  {}", series.line());
        }
        if self.marks.contains(&true) {
            let marks: String =
                self.marks.iter().map(|mark| if *mark { '!' } else { '·' }).collect();
            let _ = write!(text, "\n  {:<NAME$} {marks}", "faults");
        }
        let held = self.throttle.iter().flatten().map(HeldAnswer::text).collect::<Vec<_>>();
        if !held.is_empty() {
            let _ = write!(text, "\n  {:<NAME$} {}", "clocks held by", held.join(", "));
        }
        let rises = self.counters.iter().flat_map(Counters::all);
        let rises: Vec<_> = rises
            .filter_map(|(counter, rise)| {
                rise.filter(|rise| *rise > 0).map(|rise| format!("{} +{rise}", counter.name()))
            })
            .collect();
        if !rises.is_empty() {
            let _ = write!(text, "\n  {:<NAME$} {}", "rose", rises.join(", "));
        }
        for GapAnswer { from, to, reason } in &self.gaps {
            let to = to.as_deref().unwrap_or("now");
            let _ = write!(text, "\n  {:<NAME$} {from} to {to}: {reason}", "nothing read");
        }
        if self.gaps_left_out > 0 {
            let more = render::count(self.gaps_left_out as u64, "time");
            let _ = write!(text, "\n  {:<NAME$} {more} before", "nothing read");
        }
        text
    }
}

/// Width of the names.
const NAME: usize = 26;

impl Series {
    fn line(&self) -> String {
        let Self { metric, min, mean, max, p95, last, sparkline, points: _ } = self;
        let name = metric.gauge().name();
        if max <= min {
            return format!("{name:<NAME$} {max} throughout");
        }
        format!("{name:<NAME$} {sparkline}  {min} / {mean} / {max}, p95 {p95}, last {last}")
    }
}

impl HeldAnswer {
    fn text(&self) -> String {
        format!("{} in {} readings ({} %)", self.reason, self.samples, self.percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_goes_from_the_lowest_to_the_highest_and_shows_holes() {
        let at = |value| Some(Spread::at(value));
        let stretches = [at(0.0), at(10.0), at(35.0), None, at(50.0), at(79.0), at(80.0)];
        assert_eq!(sparkline(&stretches, (0.0, 80.0)), "▁▂▄·▆██");
        assert_eq!(sparkline(&[at(5.0), at(5.0)], (5.0, 5.0)), "▁▁");
        assert_eq!(sparkline(&[None, None], (0.0, 0.0)), "··");
    }
}
