//! `watch_gpu_events`: listens, and tells each event as it happens.
//!
//! Arguments: `kinds`, `gpu`, `min_severity`, `since` (cursor), `duration_s` (30, at most 3600), `max_events` (100, at
//! most 1000). Without `since` it listens from now; with the `next_cursor` of an earlier answer it continues without a gap.
//! A caller with a progress token gets each event as a progress notification the moment it is heard. The answer holds
//! the events, the next cursor, and how many were lost where.
//!
//! Besides faults there is what processes do with the driver's devices, where the agent traces that: `gpu_open` and
//! `gpu_close` (a process has its first file of a device, and its last no more), `call_failed` (the first time that a call of
//! a process fails in some way; `error` where it says that the GPU or the driver is in trouble, else `warning`) and
//! `call_stalled` (a call does not come back; always `error`). Without `kinds` only those that are an `error` are told, as in
//! `gpu://events` and to its subscribers: name the kinds to hear the rest. Of what a pod does in a storm a part is told:
//! `folded` says how many went before. Faults are kept apart from these and are never evicted because of them; a restart of
//! the recorder keeps faults alone, and counts the others as lost in the journal.
//!
//! `process` and `pod` say with `known_by` how they are known: the line names it (`named in the line`), it did what is told
//! (`in the kernel at that moment`), or no other had the device open (`the only holder of the device`). Where several had it
//! open (`one of several holders`) they are the `candidates`; `pod` is set even then if all of them are of one.
//!
//! ```text
//! 2 events in 0.5 s (ended by max_events), lost: 0 in the journal, 0 in the ring buffer, 0 in the kernel's log, 0 device events. Continue with since: 660d0580b9a82-7
//! #6 2026-11-21T21:50:06.100251Z  info  0000:df:00.0  gpu_open nvidia0 by python3 (pid 4711, pod ml/train-7)
//! #7 2026-11-21T21:50:07.426868Z  fatal  0000:df:00.0  Xid 79 The GPU does not answer on PCIe any more. by python3 (pod ml/train-7, the only holder)  → RESTART_BM
//! ```

use std::time::{Duration, Instant};

use rmcp::{
    model::ProgressNotificationParam,
    schemars::{self, JsonSchema},
};
use serde::{Deserialize, Serialize};

use super::{
    event::AnyEvent,
    kinds::{EventKindArgument, SeverityArgument},
    select::{self, GpuArgument},
};
use crate::{
    event::{Cursor, Filter, Kinds},
    mcp::{
        render,
        tool::{Answer, Call, Refusal, Tool},
    },
    node::Node,
};

#[derive(Debug)]
pub struct WatchGpuEvents;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Only these kinds. Left out: faults, and calls that stalled or failed so that the GPU or the driver is in trouble;
    /// `gpu_open`, `gpu_close` and every `call_failed` come when they are named.
    #[serde(default)]
    kinds: Option<Vec<EventKindArgument>>,
    /// Only this GPU, by index, PCI address or UUID.
    #[serde(default)]
    gpu: Option<GpuArgument>,
    /// Only events at least this bad.
    #[serde(default)]
    min_severity: Option<SeverityArgument>,
    /// `next_cursor` of an earlier answer: continue there. Left out: listen from now.
    #[serde(default)]
    since: Option<String>,
    /// How long to listen, in seconds; 0 answers at once with what is there.
    #[serde(default = "default_duration_s")]
    #[schemars(range(min = 0, max = 3600))]
    duration_s: u32,
    /// Answer as soon as this many events are there.
    #[serde(default = "default_max_events")]
    #[schemars(range(min = 1, max = 1000))]
    max_events: usize,
}

fn default_duration_s() -> u32 {
    30
}

fn default_max_events() -> usize {
    100
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Watched {
    /// The GPUs are simulated and do not exist. The kernel's lines are the machine's own all the same.
    simulated: bool,
    /// What was asked for was listened to the whole time. False: silence means nothing; see get_agent_status.
    listening: bool,
    events: Vec<AnyEvent>,
    /// Pass as `since` to continue without a gap.
    next_cursor: String,
    lost: Lost,
    /// Why it ended: `max_events`, `max_bytes`, `duration`, `cancelled` or `client_closing`.
    ended_by: EndedBy,
    listened_ms: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Lost {
    /// Evicted from the journal before this call could read them.
    journal: u64,
    /// Driver lines lost between the kernel and the journal since the agent started.
    ring_buffer: u64,
    /// Records of the kernel's log, of anybody, that were overwritten before they were read while nothing else heard them.
    kernel_log: u64,
    /// What processes did, lost between the kernel and the journal since the agent started.
    device_events: u64,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    MaxEvents,
    MaxBytes,
    Duration,
    Cancelled,
    ClientClosing,
}

/// An answer is at most 32 KiB; the rest of it takes less than this.
const EVENTS_BYTES: usize = 30 << 10;

impl Tool for WatchGpuEvents {
    const NAME: &'static str = "watch_gpu_events";
    const TITLE: &'static str = "Watch GPU events";
    const DESCRIPTION: &'static str = "Listens for GPU events (Xid, SXid, bus loss, …; by `kinds` also who opens a GPU and whose driver calls fail or hang) and tells each as it happens: as progress notification if the \
        call has a progress token, and in the answer, which comes after duration_s or max_events. Pass next_cursor as `since` to continue \
        without a gap. For what happened already, call analyze_xid_errors.";
    type Input = Input;
    type Answer = Watched;

    async fn call(node: &Node, input: Input, call: &Call) -> Result<Watched, Refusal> {
        let Input { kinds, gpu, min_severity, since, duration_s, max_events } = input;
        select::check_range("duration_s", u64::from(duration_s), 0, 3600)?;
        select::check_range("max_events", max_events as u64, 1, 1000)?;
        select::check_named("kinds", kinds.as_deref())?;
        let cursor =
            since.map(|since| since.parse::<Cursor>()).transpose().map_err(|error| Refusal {
                what: error.to_string(),
                next: "Leave `since` out to listen from now.".to_owned(),
            })?;
        let filter = Filter {
            kinds: kinds.map_or(Kinds::Unasked, |kinds| {
                Kinds::These(kinds.into_iter().map(EventKindArgument::kind).collect())
            }),
            codes: None,
            pci: select::pci(node, gpu.as_ref()).await?,
            min_severity: min_severity.map(SeverityArgument::severity),
        };
        // From the call on, even if the tracer is only just being attached.
        let cursor = cursor.unwrap_or_else(|| node.journal.end());
        node.sources.settled().await;
        let mut watch = Watch {
            node,
            filter,
            cursor,
            limit: max_events,
            events: Vec::new(),
            bytes: 0,
            lost: 0,
        };
        let started = Instant::now();
        let listening = node.sources.hears(&watch.filter);
        let ended_by = watch.until(call, Duration::from_secs(duration_s.into())).await;
        Ok(Watched {
            simulated: node.gpu.simulated(),
            listening: listening && node.sources.hears(&watch.filter),
            next_cursor: watch.cursor.to_string(),
            lost: Lost {
                journal: watch.lost,
                ring_buffer: node.sources.dropped(),
                kernel_log: node.sources.unread(),
                device_events: node.sources.dropped_device_events(),
            },
            events: watch.events,
            ended_by,
            listened_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }
}

/// One call under way.
struct Watch<'a> {
    node: &'a Node,
    filter: Filter,
    cursor: Cursor,
    limit: usize,
    events: Vec<AnyEvent>,
    bytes: usize,
    lost: u64,
}

impl Watch<'_> {
    async fn until(&mut self, call: &Call, duration: Duration) -> EndedBy {
        let mut newest = self.node.journal.watch();
        let mut closing = call.closing.clone();
        let end = tokio::time::sleep(duration);
        tokio::pin!(end);
        loop {
            newest.mark_unchanged();
            if let Some(full) = self.take(call).await {
                return full;
            }
            tokio::select! {
                biased;
                _ = newest.changed() => {}
                () = call.context.ct.cancelled() => return EndedBy::Cancelled,
                () = closing.closed() => return EndedBy::ClientClosing,
                () = &mut end => return EndedBy::Duration,
            }
        }
    }

    /// Takes what is there; the reason to end when there is room for no more.
    async fn take(&mut self, call: &Call) -> Option<EndedBy> {
        loop {
            let page = self.node.journal.read(self.cursor, &self.filter, 1);
            let Some(event) = page.events.first() else {
                (self.cursor, self.lost) = (page.next, self.lost + page.lost);
                return None;
            };
            if let Some(answer) = AnyEvent::of(event)
                && let Ok(json) = serde_json::to_string(&answer)
            {
                if self.bytes + json.len() >= EVENTS_BYTES {
                    return Some(EndedBy::MaxBytes);
                }
                self.bytes += json.len() + 1;
                self.tell(call, event.seq, json).await;
                self.events.push(answer);
            }
            (self.cursor, self.lost) = (page.next, self.lost + page.lost);
            if self.events.len() == self.limit {
                return Some(EndedBy::MaxEvents);
            }
        }
    }

    async fn tell(&self, call: &Call, seq: u64, event: String) {
        let Some(token) = call.context.meta.get_progress_token() else { return };
        let count = f64::from(u32::try_from(self.events.len() + 1).unwrap_or(u32::MAX));
        let progress = ProgressNotificationParam::new(token, count).with_message(event);
        if let Err(error) = call.context.peer.notify_progress(progress).await {
            tracing::debug!(%error, seq, "The client cannot be told of an event; it is in the answer.");
        }
    }
}

impl Answer for Watched {
    fn text(&self) -> String {
        let mut text = format!(
            "{} in {}.{} s (ended by {}), lost: {} in the journal, {} in the ring buffer, {} in the kernel's log, {} device events. Continue with since: {}",
            render::count(self.events.len() as u64, "event"),
            self.listened_ms / 1000,
            self.listened_ms % 1000 / 100,
            serde_json::to_value(self.ended_by)
                .ok()
                .and_then(|name| name.as_str().map(ToOwned::to_owned))
                .unwrap_or_default(),
            self.lost.journal,
            self.lost.ring_buffer,
            self.lost.kernel_log,
            self.lost.device_events,
            self.next_cursor
        );
        if !self.listening {
            text.push_str(
                "\nNot all that was asked for was listened to: silence means nothing. get_agent_status says why.",
            );
        }
        for event in &self.events {
            text.push('\n');
            text.push_str(&event.line());
        }
        text
    }
}
