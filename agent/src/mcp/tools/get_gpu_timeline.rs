//! `get_gpu_timeline`: how heat, power, load, memory and clocks went, what held the clocks down, and what happened meanwhile.
//!
//! Arguments, all optional: `gpu` (index, PCI address or UUID), `since` and `until` (a time with its zone, or how far back as
//! `15m`; the last ten minutes when left out), `metrics` (`temperature_celsius`, `memory_temperature_celsius`,
//! `gpu_utilization_percent`, `memory_utilization_percent`, `power_watts`, `memory_used_mib`, `sm_clock_mhz`,
//! `memory_clock_mhz`; when left out temperature, power, GPU utilisation, memory and SM clock), `detail` (`summary`; `full` adds
//! the points and every absence), `points` (60 of a series at most, 2 to 500; where there are more, several become one with
//! their lowest, mean and highest).
//!
//! The recorder (`agent record`; the chart starts it with `ebpf.enabled=true`) reads every GPU once a second and keeps ten
//! minutes of that, and six hours by 15 s with lowest, mean and highest: `resolution_s` says which answered. It takes 130 KiB a
//! GPU, 2.1 MiB for sixteen; a restart begins anew. A session without a recorder has what the driver itself keeps, some seconds
//! of power, utilisation and clocks, and one reading of now: `source: driver_buffers`.
//!
//! - `min` and `max` also have what the driver has sampled between two readings; `p95` is of the points' means, so in 15 s a
//!   short peak is in `max` and not in `p95`. `last` is the newest point. One that did not move is in the text as
//!   `58 throughout`.
//! - `power_watts` is `nvmlDeviceGetPowerUsage`: the average of a second on Ampere and later but for GA100 (A100, A30), where
//!   it is the moment's, as on older boards. The moment's own power and the driver's samples are in `min` and `max`.
//! - Memory is kept in steps of 8 MiB, power of 0.1 W, utilisation of 0.5 %.
//! - `throttle` has what held the clocks (NVML's event reasons) with the number of readings, a second apart, in which it did.
//! - `counters` has by how much each rose in the window. One that has fallen began anew with the driver, and is counted from 0.
//! - `gaps` are where nothing was read, the newest first: a GPU that hangs or is lost, a driver that is unloaded, a recorder that
//!   did not get to run. Where a summary of many GPUs has no room for all, `gaps_left_out` counts the rest. A node's clock that was set is a gap without length.
//! - A metric that the board does not have is in no series, with its reason in `absent`, and is never 0. A GPU that is divided
//!   (MIG) has no utilisation of the whole.
//! - `events` are the window's faults in short, the newest 20. Their `seq` is that of analyze_xid_errors; `next_cursor` goes on
//!   with watch_gpu_events.
//!
//! ```text
//! 2 GPUs from 2026-11-22T06:50:20.573654Z to 2026-11-22T06:53:20.573654Z, as the recorder has read them. Each line: …
//! GPU 0  0000:1b:00.0  111 readings, 1 s each, 2026-11-22T06:51:29Z to 2026-11-22T06:53:19Z
//!   temperature_celsius        ▁▁▅▇██▅▂▁▁▅▇██▅▂▁▁▅▇██▅▂▁▁▅▇██▅▃  46 / 56.5 / 66, p95 66, last 51
//!   power_watts                ▂▅███▇▄▁▂▅███▇▄▁▂▅███▇▄▁▂▅███▇▄▁  122 / 468.4 / 701, p95 671, last 141
//!   gpu_utilization_percent    ▂▆███▇▃▁▂▆███▇▃▁▂▆███▇▃▁▂▆███▇▃▁  0 / 64.3 / 100, p95 100, last 2
//!   memory_used_mib            ▇▁██████▇▁██████▇▁██████▇▁██████  58176 / 68781.8 / 70568, p95 70568, last 70568
//!   sm_clock_mhz               ██▁▁▁▆████▁▁▁▆████▁▁▁▆████▁▁▁▆██  1725 / 1876.2 / 1980, p95 1980, last 1980
//!   clocks held by             sw_power_cap in 48 readings (43.2 %)
//! GPU 1  0000:43:00.0  111 readings, 1 s each, 2026-11-22T06:51:29Z to 2026-11-22T06:53:19Z
//!   temperature_celsius        ▁▁▆███▅▂▁▁▆███▅▂▁▁▆███▅▂▁▁▆███▅▃  69 / 80.1 / 89, p95 89, last 74
//!   power_watts                ▂▅█▆▆▅▃▁▂▅█▆▆▅▃▁▂▅█▆▆▅▃▁▂▅█▆▆▅▃▁  129 / 397.5 / 684, p95 640, last 152
//!   gpu_utilization_percent    ▂▇████▄▁▂▇████▄▁▂▇████▄▁▂▇████▄▁  0 / 66.7 / 100, p95 100, last 3
//!   memory_used_mib            ▇▁██████▇▁██████▇▁██████▇▁██████  58176 / 68781.8 / 70568, p95 70568, last 70568
//!   sm_clock_mhz               ██▅▁▁▁▅███▅▁▁▁▅███▅▁▁▁▅███▅▁▁▁▅█  1095 / 1571.4 / 1980, p95 1980, last 1980
//!   faults                     ···········!····················
//!   clocks held by             sw_power_cap in 16 readings (14.4 %), sw_thermal_slowdown in 48 readings (43.2 %)
//! 1 fault
//! #1 2026-11-22T06:52:09.579712Z  error  0000:43:00.0  Xid 31 The GPU's memory management unit refused an access: …
//! ```

mod answer;
mod counters;
mod series;
mod size;
mod text;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use rmcp::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};

use self::answer::{AbsentOf, EventInShort, GpuTimeline, Known, Source, Timeline, Wanted};
use super::{
    event,
    select::{self, Detail, GpuArgument},
};
use crate::{
    event::Filter,
    gpu::{
        GpuName,
        reading::{Absent, LOST},
        sample,
    },
    mcp::{
        render,
        tool::{Call, Refusal, Tool},
    },
    node::Node,
    timeline::{Gauge, kept},
};

#[derive(Debug)]
pub struct GetGpuTimeline;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// One GPU by index, PCI address or UUID; all when left out.
    #[serde(default)]
    gpu: Option<GpuArgument>,
    /// From here on: a time with its zone (2026-11-21T20:00:00Z), or how far back (90s, 15m, 6h). Ten minutes when left out.
    #[serde(default)]
    since: Option<String>,
    /// Up to here: a time with its zone, or how far back; now when left out.
    #[serde(default)]
    until: Option<String>,
    /// Only these. Left out: temperature, power, GPU utilisation, memory used and SM clock.
    #[serde(default)]
    metrics: Option<Vec<Metric>>,
    /// `summary` (default): statistics and a sparkline each. `full`: the points too, and why anything is absent.
    #[serde(default)]
    detail: Detail,
    /// Most points of a series with `detail: full`; where there are more, several become one.
    #[serde(default = "default_points")]
    #[schemars(range(min = 2, max = 500))]
    points: usize,
}

fn default_points() -> usize {
    60
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    TemperatureCelsius,
    MemoryTemperatureCelsius,
    GpuUtilizationPercent,
    MemoryUtilizationPercent,
    PowerWatts,
    MemoryUsedMib,
    SmClockMhz,
    MemoryClockMhz,
}

impl Metric {
    fn gauge(self) -> Gauge {
        match self {
            Self::TemperatureCelsius => Gauge::Temperature,
            Self::MemoryTemperatureCelsius => Gauge::MemoryTemperature,
            Self::GpuUtilizationPercent => Gauge::GpuUtilization,
            Self::MemoryUtilizationPercent => Gauge::MemoryUtilization,
            Self::PowerWatts => Gauge::Power,
            Self::MemoryUsedMib => Gauge::MemoryUsed,
            Self::SmClockMhz => Gauge::SmClock,
            Self::MemoryClockMhz => Gauge::MemoryClock,
        }
    }
}

/// What is told when no metric is named.
const MAIN: [Metric; 5] = [
    Metric::TemperatureCelsius,
    Metric::PowerWatts,
    Metric::GpuUtilizationPercent,
    Metric::MemoryUsedMib,
    Metric::SmClockMhz,
];
/// How far back, when it is not said.
const BACK: Duration = Duration::from_mins(10);
/// Events that are told, the newest of them.
const EVENTS: usize = 20;
/// What a session by itself cannot know.
const NO_PAST: &str = "The driver keeps samples of some seconds, and not of everything; of the rest there is one reading of now, \
    and of errors no rise. With a recorder the last six hours are known: set ebpf.enabled=true in the chart, or run `agent \
    record`.";

impl Tool for GetGpuTimeline {
    const NAME: &'static str = "get_gpu_timeline";
    const TITLE: &'static str = "GPU timeline";
    const DESCRIPTION: &'static str = "How this node's GPUs went over time: temperature, power, utilisation, memory, clocks as min/mean/max/p95 with a \
        sparkline, for how long what held the clocks down, how error counters rose, gaps with their reason, and the faults of the window. \
        The recorder knows six hours (the last ten minutes by the second); without it only the driver's own last seconds are there, and \
        `source` says so. For what to do about a fault call analyze_xid_errors.";
    type Input = Input;
    type Answer = Timeline;

    async fn call(node: &Node, input: Input, _: &Call) -> Result<Timeline, Refusal> {
        let Input { gpu, since, until, metrics, detail, points } = input;
        select::check_range("points", points as u64, 2, 500)?;
        select::check_named("metrics", metrics.as_deref())?;
        let now = SystemTime::now();
        let read = |name, text: Option<String>| {
            text.map(|text| select::time(name, &text, now)).transpose()
        };
        let until = read("until", until)?.unwrap_or(now).min(now);
        let since = read("since", since)?;
        let since = since.or_else(|| until.checked_sub(BACK)).unwrap_or(SystemTime::UNIX_EPOCH);
        if since >= until {
            return Err(Refusal {
                what: "the window is empty: since is not before until".to_owned(),
                next: "Pass a `since` that is before `until`, and in the past.".to_owned(),
            });
        }
        let window = (since, until);
        let (source, known) = if node.recorder.is_some() {
            (Source::Recorder, recorded(node, gpu.as_ref(), window).await?)
        } else {
            (Source::DriverBuffers, kept(node, gpu.as_ref(), window).await?)
        };
        let metrics = metrics.map_or_else(|| MAIN.to_vec(), distinct);
        let width = size::width(known.len() * metrics.len());
        let wanted = Wanted { metrics: &metrics, window, detail, points, source, width };
        let pci = match (&gpu, known.first()) {
            (Some(_), Some(known)) => known.name.pci,
            _ => None,
        };
        let events = events(node, &Filter { pci, ..Filter::faults() }, window);
        let mut limits = Vec::from_iter(event::unheard(node));
        if source == Source::DriverBuffers {
            limits.insert(0, NO_PAST.to_owned());
        }
        let gpus: Vec<_> =
            known.iter().map(|known| GpuTimeline::of(known, &wanted, &events)).collect();
        let mut timeline = Timeline {
            simulated: node.gpu.simulated(),
            node: node.name.clone(),
            source,
            since: render::time(since),
            until: render::time(until),
            absent: absent(&known, &gpus, &wanted),
            gpus,
            event_count: events.len(),
            events: events.into_iter().rev().take(EVENTS).rev().collect(),
            next_cursor: node.journal.end().to_string(),
            limits,
        };
        if detail == Detail::Summary {
            size::shorten(&mut timeline);
        }
        Ok(timeline)
    }
}

/// Each once, in the order in which they were first named: a request has room for a million of them.
fn distinct(named: Vec<Metric>) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for metric in named {
        if !metrics.contains(&metric) {
            metrics.push(metric);
        }
    }
    metrics
}

/// What the recorder has, which needs no driver that answers.
async fn recorded(
    node: &Node,
    wanted: Option<&GpuArgument>,
    window: (SystemTime, SystemTime),
) -> Result<Vec<Known>, Refusal> {
    let wanted_text = wanted.map(GpuArgument::text);
    let is_wanted = |name: &GpuName| wanted_text.as_ref().is_none_or(|wanted| name.matches(wanted));
    let tracks = node.timelines.known(is_wanted, window);
    if tracks.is_empty() {
        // Either there is no such GPU, or NVML says why there is none at all.
        select::gpus(node, wanted).await?;
        return Err(Refusal {
            what: "the recorder has not read this GPU yet".to_owned(),
            next: "Ask again in some seconds: it looks for GPUs every 30 s, and reads each every second.".to_owned(),
        });
    }
    let known = |track: crate::node::timeline::Known| {
        let crate::node::timeline::Known { name, window, absent } = track;
        Known { name, window: Ok(window), absent }
    };
    Ok(tracks.into_iter().map(known).collect())
}

/// What the driver has kept by itself.
async fn kept(
    node: &Node,
    wanted: Option<&GpuArgument>,
    (since, until): (SystemTime, SystemTime),
) -> Result<Vec<Known>, Refusal> {
    let mut known = Vec::new();
    for (name, kept) in node.gpu.ask_each(select::gpus(node, wanted).await?, sample::kept).await {
        let (window, absent) = match kept {
            Ok(sample::Kept { samples: _, now }) if now.lost => (Err(LOST.to_owned()), now.absent),
            Ok(sample::Kept { samples, now }) => {
                let mut window = kept::window(&samples, SystemTime::now(), &now.sample);
                window.clip(since, until);
                (Ok(window), now.absent)
            }
            Err(error) => (Err(format!("{error}. {}", error.remedy())), Vec::new()),
        };
        known.push(Known { name, window, absent });
    }
    Ok(known)
}

/// The faults of the window, oldest first.
fn events(
    node: &Node,
    filter: &Filter,
    (since, until): (SystemTime, SystemTime),
) -> Vec<EventInShort> {
    let page = node.journal.read(node.journal.start(), filter, usize::MAX);
    let within = page.events.iter().filter(|event| (since..=until).contains(&event.report.time));
    within.filter_map(|event| EventInShort::of(event)).collect()
}

/// Why what was asked for is not there, each reason once.
fn absent(known: &[Known], gpus: &[GpuTimeline], wanted: &Wanted<'_>) -> Vec<AbsentOf> {
    let mut reasons: BTreeMap<(&str, &str, &str), (bool, Vec<u32>)> = BTreeMap::new();
    for (known, gpu) in known.iter().zip(gpus) {
        for Absent { field, call, reason, by_design } in &known.absent {
            if wanted.detail == Detail::Full || gpu.lacks(field) || wanted.lacks_between(field) {
                let of = reasons.entry((field, call, reason)).or_insert((*by_design, Vec::new()));
                of.1.push(known.name.index);
            }
        }
        if wanted.source == Source::DriverBuffers {
            let no_rise = "one reading has no rise: it takes a recorder";
            let of = reasons
                .entry(("counters", "nvmlDeviceGetFieldValues", no_rise))
                .or_insert((true, Vec::new()));
            of.1.push(known.name.index);
        }
    }
    let absent = reasons.into_iter().map(|((field, call, reason), (by_design, gpus))| AbsentOf {
        field: field.to_owned(),
        call: call.to_owned(),
        reason: reason.to_owned(),
        by_design,
        gpus,
    });
    absent.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_has_the_name_of_its_gauge() {
        for gauge in Gauge::ALL {
            let metric: Metric = serde_json::from_value(gauge.name().into()).unwrap();
            assert_eq!(metric.gauge(), gauge);
        }
    }

    #[test]
    fn a_metric_is_told_once_however_often_it_is_named() {
        let [power, clock] = [Metric::PowerWatts, Metric::SmClockMhz];
        assert_eq!(distinct(vec![power, clock, power, power, clock]), [power, clock]);
    }
}
