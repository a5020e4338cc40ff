//! `trace_driver_calls`: what processes ask of the NVIDIA driver, and how long it takes, over some seconds.
//!
//! Arguments, all optional: `duration_s` (5, at most 60), `gpu` (calls on this GPU's device alone), `pod` (`namespace/name`, or a uid
//! or the beginning of one), `pid` (as the host counts), `top` (10 of each list, at most 50).
//!
//! Every open, close and ioctl on the driver's devices is counted in the kernel with its time, whether or not anybody
//! asks; this is the difference between two readings. Callers and calls stand by the time they spent in the driver. A call is named by
//! what it asks: the control command of `NV_ESC_RM_CONTROL`, the class of `NV_ESC_RM_ALLOC`, UVM's by their numbers. Times are
//! exact in sums and for the slowest, and to a power of two in quantiles. `errors` returned an error number; `rm_failures` came
//! back, with a status in their parameters that is not NV_OK: a program that asks what a GPU can has some of these.
//! `inside` are calls that have not come back now, the longest first. `devices` are all calls since the tracer came, exact also
//! where a process was not known.
//!
//! ```text
//! 41,208 calls in 5.0 s, 812.3 ms in the driver, 3 errors, 12 rm_failures; 1 inside
//! python3 (pid 4711, pod ml/train-7)  41,190 calls  811.9 ms in the driver
//!   NV_ESC_RM_CONTROL NV2080_CTRL_CMD_GPU_GET_INFO_V2  nvidiactl  20,511 calls  mean 12 us  p99 < 32 us  slowest 1.9 ms
//! inside for 95 s: NV_ESC_RM_CONTROL NV2080_CTRL_CMD_GR_CTXSW_PREEMPTION_BIND on nvidiactl by python3 (pid 4711, pod ml/train-7)
//! ```

mod answer;
mod text;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use rmcp::{
    model::ProgressNotificationParam,
    schemars::{self, JsonSchema},
};
use serde::Deserialize;

use self::answer::{Reading, Traced};
use super::select::{self, GpuArgument, PodWanted};
use crate::{
    kernel::devices::{Counted, Inside, Maps, ProcessId},
    mcp::tool::{Call, Refusal, Tool},
    node::{Node, devices::window},
};

#[derive(Debug)]
pub struct TraceDriverCalls;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// How long to count, in seconds; 0 tells of what is inside now alone.
    #[serde(default = "default_duration_s")]
    #[schemars(range(min = 0, max = 60))]
    duration_s: u32,
    /// Only calls on this GPU's own device, by index, PCI address or UUID. Most calls are on nvidiactl and nvidia-uvm,
    /// whichever GPU they are about.
    #[serde(default)]
    gpu: Option<GpuArgument>,
    /// Only processes of this pod: `namespace/name`, or its uid or the beginning of it.
    #[serde(default)]
    pod: Option<String>,
    /// Only this process, by its id on the host.
    #[serde(default)]
    pid: Option<u32>,
    /// How long each list is at most.
    #[serde(default = "default_top")]
    #[schemars(range(min = 1, max = 50))]
    top: usize,
}

fn default_duration_s() -> u32 {
    5
}

fn default_top() -> usize {
    10
}

impl Tool for TraceDriverCalls {
    const NAME: &'static str = "trace_driver_calls";
    const TITLE: &'static str = "Trace driver calls";
    const DESCRIPTION: &'static str = "Counts for some seconds what processes ask of the NVIDIA driver (opens, ioctls by name), how long the driver takes, \
        what fails, and which calls have not come back: for a training that is slow or hangs, a driver that does not answer, a \
        process that cannot be killed. Needs eBPF.";
    type Input = Input;
    type Answer = Traced;

    async fn call(node: &Node, input: Input, call: &Call) -> Result<Traced, Refusal> {
        let Input { duration_s, gpu, pod, pid, top } = input;
        select::check_range("duration_s", duration_s.into(), 0, 60)?;
        select::check_range("top", top as u64, 1, 50)?;
        let pod = pod.as_deref().map(PodWanted::of).transpose()?;
        let pci = select::pci(node, gpu.as_ref()).await?;
        node.sources.settled().await;
        let maps = node.devices.maps().ok_or_else(|| match node.holders() {
            Err(unseen) => Refusal { what: unseen.reason, next: unseen.remedy },
            Ok(_) => Refusal {
                what: "the device tracer has just started".to_owned(),
                next: "Ask again.".to_owned(),
            },
        })?;
        let wanted = |process: ProcessId| {
            let party = || node.devices.party(process);
            pid.is_none_or(|pid| pid == process.pid)
                && pod.as_ref().is_none_or(|wanted| {
                    party().and_then(|it| it.pod).is_some_and(|it| wanted.is(&it))
                })
        };
        let on = |device| pci.is_none() || node.devices.gpu(device) == pci;
        let started = Instant::now();
        let window = maps.begin_window();
        let (before, _) = read(&maps, window).await?;
        let wait = Duration::from_secs(duration_s.into());
        let complete = sleep(call, wait).await;
        let (after, mut inside) = read(&maps, window).await?;
        let elapsed = started.elapsed();
        let mut calls = window::between(&before, after);
        calls.retain(|it| wanted(it.process) && on(it.device));
        inside.retain(|it| wanted(it.process) && on(it.device));
        let now = SystemTime::now();
        let reading =
            Reading { calls, inside, totals: maps.totals(), unseen: maps.unseen(), elapsed, now };
        let mut traced = Traced::of(node, &reading, top);
        traced.set_complete(complete);
        Ok(traced)
    }
}

/// Reads what is counted and what is inside, off the sessions' thread: some thousand system calls.
async fn read(maps: &Arc<Maps>, window: u32) -> Result<(Vec<Counted>, Vec<Inside>), Refusal> {
    let maps = Arc::clone(maps);
    let read = move || (maps.counted(window), maps.inside());
    tokio::task::spawn_blocking(read).await.map_err(|error| Refusal {
        what: format!("the kernel's counts cannot be read: {error}"),
        next: "Report this with the agent's log.".to_owned(),
    })
}

/// Waits, and says how far it is each second; false where it was cut short.
async fn sleep(call: &Call, wait: Duration) -> bool {
    let mut closing = call.closing.clone();
    let started = Instant::now();
    loop {
        let left = wait.saturating_sub(started.elapsed());
        if left.is_zero() {
            return true;
        }
        tokio::select! {
            biased;
            () = call.context.ct.cancelled() => return false,
            () = closing.closed() => return false,
            () = tokio::time::sleep(left.min(Duration::from_secs(1))) => {}
        }
        if let Some(token) = call.context.meta.get_progress_token() {
            let done = started.elapsed().min(wait);
            let progress = ProgressNotificationParam::new(token, done.as_secs_f64())
                .with_total(wait.as_secs_f64());
            // Whoever does not listen gets the answer.
            let _ = call.context.peer.notify_progress(progress).await;
        }
    }
}
