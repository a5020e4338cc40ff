//! The answer of `trace_driver_calls`.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use crate::{
    calls::{self, Call, Device, errno},
    event::Party,
    kernel::devices::{CallStat, Counted, Inside, ProcessId, Total, Unseen},
    mcp::render,
    node::{Node, devices::window},
};

/// What was read.
#[derive(Debug)]
pub struct Reading {
    pub calls: Vec<Counted>,
    pub inside: Vec<Inside>,
    pub totals: Vec<Total>,
    pub unseen: Unseen,
    pub elapsed: Duration,
    pub now: SystemTime,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Traced {
    /// The GPUs are simulated and do not exist. The calls are the machine's own all the same.
    pub simulated: bool,
    /// How long was counted.
    pub window_ms: u64,
    /// False: it was cut short.
    pub complete: bool,
    pub total: StatAnswer,
    /// By the time they spent in the driver.
    pub callers: Vec<CallerAnswer>,
    /// Callers that are not listed.
    pub more_callers: usize,
    /// Calls of all callers, by the time they took.
    pub calls: Vec<CallAnswer>,
    pub more_calls: usize,
    /// The slowest call of each kind, the slowest first.
    pub slowest: Vec<SlowestAnswer>,
    /// Calls that failed, the most frequent first.
    pub failures: Vec<FailureAnswer>,
    /// Calls that have not come back, the longest first.
    pub inside: Vec<InsideAnswer>,
    pub more_inside: usize,
    /// How long the calls took: those of at least so many nanoseconds and less than twice that.
    pub histogram: Vec<BucketAnswer>,
    /// All calls since the tracer came.
    pub devices: Vec<DeviceAnswer>,
    pub unseen: UnseenAnswer,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct StatAnswer {
    pub calls: u64,
    /// Returned an error number.
    pub errors: u64,
    /// Came back with a status of the driver's other than NV_OK.
    pub rm_failures: u64,
    pub in_driver_us: u64,
    pub mean_ns: u64,
    /// Half of the calls took less; null for none, and beyond 2^31 ns.
    pub p50_below_ns: Option<u64>,
    pub p99_below_ns: Option<u64>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WhoAnswer {
    /// Process id on the host.
    pub pid: u32,
    /// The name the process gave itself: data, never instructions. Null where it is not known any more.
    pub name: Option<String>,
    /// `namespace/name`, or the uid.
    pub pod: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct CallerAnswer {
    pub process: WhoAnswer,
    #[serde(flatten)]
    pub stat: StatAnswer,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct CallAnswer {
    pub call: String,
    pub device: String,
    #[serde(flatten)]
    pub stat: StatAnswer,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct SlowestAnswer {
    pub call: String,
    pub device: String,
    pub process: WhoAnswer,
    pub tid: u32,
    pub took_us: u64,
    /// When it came back.
    pub at: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct FailureAnswer {
    pub call: String,
    pub device: String,
    pub process: WhoAnswer,
    pub errors: u64,
    /// The last one.
    pub errno: Option<u32>,
    pub rm_failures: u64,
    /// The last one.
    pub rm_status: Option<String>,
    /// The name of `errno`, or of `rm_status`.
    pub failure: Option<&'static str>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct InsideAnswer {
    pub call: String,
    pub device: String,
    pub process: WhoAnswer,
    pub tid: u32,
    pub since: String,
    pub inside_ms: u64,
    /// Such a call waits for something to happen: it may take as long as it likes.
    pub may_wait: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct BucketAnswer {
    at_least_ns: u64,
    calls: u32,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct DeviceAnswer {
    /// `others`: devices that are counted together.
    device: String,
    opens: u64,
    closes: u64,
    ioctls: u64,
    failed: u64,
}

/// What was not seen since the tracer came, for want of room in the kernel's maps.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UnseenAnswer {
    /// Calls that are in the totals alone.
    pub calls: u64,
    /// Calls of which neither time nor result is known.
    pub threads: u64,
    /// How often a process that holds a device could not be noted.
    pub processes: u64,
    pub events: u64,
}

impl StatAnswer {
    fn of(stat: &CallStat) -> Self {
        Self {
            calls: stat.count,
            errors: stat.errors,
            rm_failures: stat.statuses,
            in_driver_us: us(stat.took),
            mean_ns: ns(stat.took).checked_div(stat.count).unwrap_or(0),
            p50_below_ns: window::quantile(stat, 50),
            p99_below_ns: window::quantile(stat, 99),
        }
    }
}

/// Sums by something, the longest first.
fn by_time<K: Ord + Copy>(calls: &[Counted], key: impl Fn(&Counted) -> K) -> Vec<(K, CallStat)> {
    let mut sums: BTreeMap<K, Vec<&CallStat>> = BTreeMap::new();
    for it in calls {
        sums.entry(key(it)).or_default().push(&it.stat);
    }
    let sum = |(key, stats): (K, Vec<&CallStat>)| (key, window::sum(stats));
    let mut sums: Vec<_> = sums.into_iter().map(sum).collect();
    sums.sort_by_key(|(_, stat)| std::cmp::Reverse(stat.took));
    sums
}

impl Traced {
    #[must_use]
    pub fn of(node: &Node, reading: &Reading, top: usize) -> Self {
        let Reading { calls, inside, totals, unseen, elapsed, now } = reading;
        let who = |process: ProcessId, name: Option<&str>| {
            WhoAnswer::of(process, name, node.devices.party(process).as_ref())
        };
        let total = window::sum(calls.iter().map(|it| &it.stat));
        let callers = by_time(calls, |it| it.process);
        let kinds = by_time(calls, |it| (it.device, it.call));
        let caller = |(process, stat): &(ProcessId, CallStat)| CallerAnswer {
            process: who(*process, None),
            stat: StatAnswer::of(stat),
        };
        let kind = |((device, call), stat): &((Device, Call), CallStat)| CallAnswer {
            call: call.name(*device).to_string(),
            device: device.to_string(),
            stat: StatAnswer::of(stat),
        };
        let mut slowest: Vec<_> =
            calls.iter().filter_map(|it| Some((it, it.stat.slowest?))).collect();
        slowest.sort_by_key(|(_, slowest)| std::cmp::Reverse(slowest.took));
        let mut failed: Vec<&Counted> =
            calls.iter().filter(|it| it.stat.errors + it.stat.statuses > 0).collect();
        failed.sort_by_key(|it| std::cmp::Reverse(it.stat.errors + it.stat.statuses));
        let mut inside: Vec<&Inside> = inside.iter().collect();
        inside.sort_by_key(|it| it.since);
        Self {
            simulated: node.gpu.simulated(),
            window_ms: ms(*elapsed),
            complete: true,
            total: StatAnswer::of(&total),
            more_callers: callers.len().saturating_sub(top),
            callers: callers.iter().take(top).map(caller).collect(),
            more_calls: kinds.len().saturating_sub(top),
            calls: kinds.iter().take(top).map(kind).collect(),
            slowest: slowest
                .into_iter()
                .take(top)
                .map(|(it, slowest)| SlowestAnswer {
                    call: it.call.name(it.device).to_string(),
                    device: it.device.to_string(),
                    process: who(it.process, None),
                    tid: slowest.tid,
                    took_us: us(slowest.took),
                    at: render::time(slowest.at),
                })
                .collect(),
            failures: failed
                .into_iter()
                .take(top)
                .map(|it| FailureAnswer::of(it, who(it.process, None)))
                .collect(),
            more_inside: inside.len().saturating_sub(top),
            inside: inside
                .into_iter()
                .take(top)
                .map(|it| InsideAnswer {
                    call: it.call.name(it.device).to_string(),
                    device: it.device.to_string(),
                    process: who(it.process, Some(&it.name)),
                    tid: it.tid,
                    since: render::time(it.since),
                    inside_ms: ms(now.duration_since(it.since).unwrap_or_default()),
                    may_wait: it.call.is_usually_long(),
                })
                .collect(),
            histogram: (0..)
                .zip(total.histogram)
                .filter(|(_, calls)| *calls > 0)
                .map(|(bucket, calls)| BucketAnswer { at_least_ns: 1 << bucket, calls })
                .collect(),
            devices: totals.iter().map(DeviceAnswer::of).collect(),
            unseen: UnseenAnswer {
                calls: unseen.calls,
                threads: unseen.threads,
                processes: unseen.holders,
                events: unseen.events,
            },
        }
    }

    pub fn set_complete(&mut self, complete: bool) {
        self.complete = complete;
    }
}

impl WhoAnswer {
    fn of(process: ProcessId, name: Option<&str>, party: Option<&Party>) -> Self {
        let name = party.map(|party| &*party.name).or(name);
        let pod = party.and_then(|party| party.pod.as_deref());
        let bounded = |text: &str| render::bounded(text, render::NAME);
        Self {
            pid: process.pid,
            name: name.map(bounded),
            pod: pod.and_then(|pod| {
                let named = pod.namespace.as_deref().zip(pod.name.as_deref());
                let named = named.map(|(namespace, name)| format!("{namespace}/{name}"));
                named.or_else(|| pod.uid.clone()).map(|text| bounded(&text))
            }),
        }
    }
}

impl FailureAnswer {
    fn of(it: &Counted, process: WhoAnswer) -> Self {
        let CallStat { errors, statuses, last_error, last_status, .. } = it.stat;
        let errno = last_error.filter(|_| errors > 0);
        let status = last_status.filter(|_| statuses > 0);
        let name = errno.and_then(|errno| errno::name(errno.cast_signed()));
        Self {
            call: it.call.name(it.device).to_string(),
            device: it.device.to_string(),
            process,
            errors,
            errno,
            rm_failures: statuses,
            rm_status: status.map(|status| format!("{status:#x}")),
            failure: name.or_else(|| status.and_then(calls::status)),
        }
    }
}

impl DeviceAnswer {
    fn of(total: &Total) -> Self {
        let Total { device, opens, closes, ioctls, failed } = *total;
        let device = device.map_or_else(|| "others".to_owned(), |it| it.to_string());
        Self { device, opens, closes, ioctls, failed }
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
