//! What keeps a summary small where much is asked of many GPUs: sparklines get narrower, and what is old is counted and not told.

use super::answer::Timeline;

/// A summary is at most 32 KiB.
const BYTES: usize = 32 << 10;
/// Series that have sparklines of full width: five metrics of sixteen GPUs.
const SERIES: usize = 80;

/// Stretches of a sparkline, at most, where there are so many series.
pub fn width(series: usize) -> u32 {
    if series > SERIES { 12 } else { 32 }
}

/// Leaves out, as long as it is too large, older gaps, then older events, then sparklines.
pub fn shorten(timeline: &mut Timeline) {
    for (gaps, events) in [(4, usize::MAX), (1, usize::MAX), (1, 5), (0, 5)] {
        if length(timeline) <= BYTES {
            return;
        }
        for gpu in &mut timeline.gpus {
            gpu.gaps_left_out += gpu.gaps.len().saturating_sub(gaps);
            gpu.gaps.truncate(gaps);
        }
        let older = timeline.events.len().saturating_sub(events);
        timeline.events.drain(..older);
    }
    if length(timeline) > BYTES {
        let series = timeline.gpus.iter_mut().flat_map(|gpu| &mut gpu.series);
        series.for_each(|series| series.sparkline.clear());
    }
}

fn length(timeline: &Timeline) -> usize {
    serde_json::to_vec(timeline).map_or(0, |json| json.len())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{
        super::{
            Metric,
            answer::{GpuTimeline, Known, Source, Wanted},
        },
        *,
    };
    use crate::{
        gpu::{GpuName, pci_address},
        mcp::tools::select::Detail,
        timeline::{Counter, Gap, Gauge, Rings, Sample},
    };

    /// Sixteen GPUs of which everything is told, each with so many gaps.
    fn sixteen(metrics: &[Metric], reasons: u64, gaps: u32) -> Timeline {
        let at = |second: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + second);
        let mut rings = Rings::default();
        for second in 0..600 {
            let mut sample = Sample { reasons: Some(reasons), ..Sample::default() };
            for gauge in Gauge::ALL {
                let figure = u16::try_from(second % 37).unwrap();
                sample.set(gauge, Some(f64::from(figure) + 1000.0 * f64::from(gauge as u8 / 4)));
            }
            for counter in Counter::ALL {
                sample.counters[counter as usize] = Some(second * 50);
            }
            rings.push(at(second), Duration::from_secs(second), &sample);
        }
        let mut window = rings.window(at(0), at(600));
        let gap = |number| Gap {
            from: 1_800_000_000 + 10 * number,
            to: Some(1_800_000_005 + 10 * number),
            reason: "r".repeat(160).into(),
        };
        window.gaps = (0..gaps).map(gap).collect();
        let wanted = Wanted {
            metrics,
            window: (at(0), at(600)),
            detail: Detail::Summary,
            points: 60,
            source: Source::Recorder,
            width: width(16 * metrics.len()),
        };
        let gpu = |index| {
            let (pci, uuid) = (pci_address("61:00.0"), Some("GPU-".to_owned() + &"0".repeat(36)));
            let name = GpuName { index, pci, uuid, minor: None };
            let known = Known { name, window: Ok(window.clone()), absent: Vec::new() };
            GpuTimeline::of(&known, &wanted, &[])
        };
        Timeline {
            simulated: false,
            node: "node".to_owned(),
            source: Source::Recorder,
            since: String::new(),
            until: String::new(),
            gpus: (0..16).map(gpu).collect(),
            absent: Vec::new(),
            event_count: 0,
            events: Vec::new(),
            next_cursor: String::new(),
            limits: Vec::new(),
        }
    }

    #[test]
    fn a_summary_of_sixteen_gpus_is_bounded_and_tells_the_newest_gaps() {
        let all: Vec<Metric> = Gauge::ALL
            .iter()
            .map(|gauge| serde_json::from_value(gauge.name().into()).unwrap())
            .collect();
        // The reasons are bits: none, two, all.
        for (metrics, reasons) in [(&all[..], 0), (&all, 0b1100), (&all, u64::MAX), (&all[..5], 4)]
        {
            let mut timeline = sixteen(metrics, reasons, 16);
            let before = length(&timeline);
            shorten(&mut timeline);
            let after = length(&timeline);
            assert!(before > BYTES && after <= BYTES, "{reasons:x}: {before} {after}");
            for gpu in &timeline.gpus {
                assert_eq!(gpu.gaps.len() + gpu.gaps_left_out, 16);
                assert_eq!(gpu.series.len(), metrics.len());
                let newest = "2027-01-15T08:02:30Z";
                assert!(gpu.gaps.first().is_none_or(|gap| gap.from == newest), "{:?}", gpu.gaps);
            }
        }
        let mut few = sixteen(&all[..2], 0, 1);
        shorten(&mut few);
        let told = |gpu: &GpuTimeline| (gpu.gaps.len(), gpu.gaps_left_out) == (1, 0);
        assert!(few.gpus.iter().all(told));
    }
}
