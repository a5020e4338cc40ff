//! The answer of `get_gpu_timeline`, and what makes it of points.

use std::time::{Duration, SystemTime};

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use super::{
    super::{
        event::EventAnswer,
        kinds::{EventKindArgument, SeverityArgument},
        select::Detail,
    },
    Metric,
    counters::Counters,
    series::{Series, rounded},
};
use crate::{
    event::Event,
    gpu::{GpuName, reading::Absent},
    mcp::render,
    timeline::{Gap, Gauge, Point, Reason, Window, rings::seconds, statistics},
};

#[derive(Debug, Serialize, JsonSchema)]
pub struct Timeline {
    /// The GPUs are simulated and do not exist. The events are the machine's own all the same.
    pub simulated: bool,
    pub node: String,
    /// `recorder`: read every second for as long as it runs. `driver_buffers`: what the driver keeps by itself, and a reading
    /// of now.
    pub source: Source,
    pub since: String,
    pub until: String,
    pub gpus: Vec<GpuTimeline>,
    /// Why values are absent that were asked for, and on which GPUs.
    pub absent: Vec<AbsentOf>,
    /// Faults in the window.
    pub event_count: usize,
    /// The newest of them, at most 20 and as many as there is room for, oldest first. analyze_xid_errors says more.
    pub events: Vec<EventInShort>,
    /// Pass as `since` to watch_gpu_events to go on from here.
    pub next_cursor: String,
    /// What limits this answer; empty when nothing does.
    pub limits: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Recorder,
    DriverBuffers,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct GpuTimeline {
    pub index: u32,
    pub pci_address: Option<String>,
    pub uuid: Option<String>,
    /// Why nothing of this GPU could be read; null when it could, and from the recorder, whose `gaps` say it.
    pub error: Option<String>,
    /// Seconds of a point: 1, or 15 for a window that begins more than ten minutes ago.
    pub resolution_s: u32,
    /// Readings in the window; of `driver_buffers`, seconds of which the driver has samples, and the reading of now.
    pub samples: u32,
    /// When the first of them was taken; null where there is none, as the next.
    pub from: Option<String>,
    pub to: Option<String>,
    /// Where nothing was read, and why; the newest first.
    pub gaps: Vec<GapAnswer>,
    /// Older ones, for which a summary of many GPUs has no room.
    pub gaps_left_out: usize,
    /// One for each metric that there is any value of.
    pub series: Vec<Series>,
    /// What held the clocks where they were; empty where nothing did, null where that could not be read.
    pub throttle: Option<Vec<HeldAnswer>>,
    /// By how much error counters rose; null where nobody has read them before.
    pub counters: Option<Counters>,
    /// In which stretches of the sparkline there was a fault.
    #[serde(skip)]
    pub marks: Vec<bool>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct GapAnswer {
    pub from: String,
    /// Null while it lasts.
    pub to: Option<String>,
    pub reason: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct HeldAnswer {
    /// As NVML names its bit.
    pub reason: &'static str,
    /// In so many readings, which are a second apart.
    pub samples: u32,
    /// Share of the readings, in percent.
    pub percent: f64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct AbsentOf {
    /// A metric, a counter, `throttle`; with `_between` what the driver has sampled between two readings.
    pub field: String,
    pub call: String,
    pub reason: String,
    /// The board or driver does not have it, as opposed to failing to read it.
    pub by_design: bool,
    pub gpus: Vec<u32>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct EventInShort {
    pub seq: u64,
    pub time: String,
    pub kind: EventKindArgument,
    pub severity: SeverityArgument,
    pub pci_address: Option<String>,
    /// The Xid's or SXid's number and NVIDIA's name for it.
    pub code: Option<u32>,
    pub mnemonic: Option<&'static str>,
    /// `user`: a process wrote the line, and it proves nothing. Null where that is not known.
    pub origin: Option<&'static str>,
    #[serde(skip)]
    pub at: u32,
    #[serde(skip)]
    pub line: String,
}

/// What is known of one GPU.
#[derive(Debug)]
pub struct Known {
    pub name: GpuName,
    /// Or why it could not be read.
    pub window: Result<Window, String>,
    pub absent: Vec<Absent>,
}

/// What was asked for.
#[derive(Debug)]
pub struct Wanted<'a> {
    pub metrics: &'a [Metric],
    pub window: (SystemTime, SystemTime),
    pub detail: Detail,
    pub points: usize,
    pub source: Source,
    /// Stretches of a sparkline, at most.
    pub width: u32,
}

impl Wanted<'_> {
    /// Whether it is what the driver samples of a metric that is wanted.
    pub fn lacks_between(&self, field: &str) -> bool {
        let metric = field.strip_suffix("_between");
        metric.is_some_and(|name| self.metrics.iter().any(|metric| metric.gauge().name() == name))
    }
}

impl GpuTimeline {
    pub fn of(known: &Known, wanted: &Wanted<'_>, events: &[EventInShort]) -> Self {
        let (window, error) = match &known.window {
            Ok(window) => (window.clone(), None),
            Err(error) => (Window::default(), Some(error.clone())),
        };
        let Window { resolution_s, points, gaps } = &window;
        let axis = axis(&window, wanted.window);
        // Of two readings at least, so that one that comes a little late leaves no hole.
        let width = ((axis.1.saturating_sub(axis.0) + 1) / (2 * resolution_s).max(1))
            .clamp(1, wanted.width) as usize;
        let (held, held_of) = statistics::held(points);
        let of_gpu = |event: &&EventInShort| {
            let pci = known.name.pci.map(|pci| pci.to_string());
            event.pci_address.is_some() && event.pci_address == pci
        };
        let mut marks = vec![false; width];
        for place in events
            .iter()
            .filter(of_gpu)
            .filter_map(|event| statistics::place(event.at, axis, width))
        {
            marks[place] = true;
        }
        Self {
            index: known.name.index,
            pci_address: known.name.pci.map(|pci| pci.to_string()),
            uuid: known.name.uuid.clone(),
            error,
            resolution_s: *resolution_s,
            samples: points.iter().map(|point| u32::from(point.samples)).sum(),
            from: points.first().map(|point| time(point.at)),
            to: points.last().map(|point| time(point.at)),
            gaps: gaps.iter().rev().map(GapAnswer::of).collect(),
            gaps_left_out: 0,
            series: wanted
                .metrics
                .iter()
                .filter_map(|metric| Series::of(*metric, &window, (axis, width), wanted))
                .collect(),
            throttle: (held_of > 0).then(|| {
                let of_reason = |reason: &Reason| HeldAnswer {
                    reason: reason.name(),
                    samples: held[*reason as usize],
                    percent: rounded(
                        f64::from(held[*reason as usize]) * 100.0 / f64::from(held_of),
                    ),
                };
                Reason::ALL.iter().map(of_reason).filter(|held| held.samples > 0).collect()
            }),
            counters: (wanted.source == Source::Recorder).then(|| Counters::of(points)),
            marks,
        }
    }

    /// Whether something of this name was asked for and is not there.
    pub fn lacks(&self, field: &str) -> bool {
        let is_metric = Gauge::ALL.iter().any(|gauge| gauge.name() == field);
        (is_metric && self.series.iter().all(|series| series.metric.gauge().name() != field))
            || self.counters.as_ref().is_some_and(|counters| counters.lacks(field))
            || field == "throttle" && self.throttle.is_none()
    }
}

impl GapAnswer {
    fn of(Gap { from, to, reason }: &Gap) -> Self {
        Self { from: time(*from), to: to.map(time), reason: reason.to_string() }
    }
}

impl EventInShort {
    pub fn of(event: &Event) -> Option<Self> {
        let answer = EventAnswer::of(event)?;
        Some(Self {
            line: answer.line(),
            at: seconds(event.report.time),
            seq: answer.seq,
            time: answer.time,
            kind: answer.kind,
            severity: answer.severity,
            pci_address: answer.gpu.map(|gpu| gpu.pci_address),
            code: answer.xid.as_ref().map(|xid| xid.code),
            mnemonic: answer.xid.and_then(|xid| xid.mnemonic),
            origin: answer.origin,
        })
    }
}

/// From the first that is known of in the window to its end.
fn axis(window: &Window, (since, until): (SystemTime, SystemTime)) -> (u32, u32) {
    let (since, until) = (seconds(since), seconds(until));
    let known = window
        .points
        .iter()
        .map(|point: &Point| point.at)
        .chain(window.gaps.iter().map(|gap| gap.from));
    (known.min().unwrap_or(since).clamp(since, until), until)
}

fn time(at: u32) -> String {
    let time = render::time(SystemTime::UNIX_EPOCH + Duration::from_secs(at.into()));
    // Nobody knows more than the second.
    time.replace(".000000", "")
}
