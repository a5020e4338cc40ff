//! The answer of `trace_driver_calls` for people.

use std::fmt::Write as _;

use super::answer::{
    CallAnswer, CallerAnswer, SlowestAnswer, StatAnswer, Traced, UnseenAnswer, WhoAnswer,
};
use crate::mcp::{render, tool::Answer};

impl Answer for Traced {
    fn text(&self) -> String {
        let StatAnswer { calls, errors, rm_failures, in_driver_us, .. } = self.total;
        let mut text = format!(
            "{} in {}, {} in the driver, {errors} errors, {rm_failures} rm_failures; {} inside",
            render::count(calls, "call"),
            time(self.window_ms * 1_000_000),
            time(in_driver_us * 1_000),
            self.inside.len() + self.more_inside,
        );
        if !self.complete {
            text.push_str(" (cut short)");
        }
        for CallerAnswer { process, stat } in &self.callers {
            let calls = render::count(stat.calls, "call");
            let _ = write!(
                text,
                "\n{}  {calls}  {} in the driver",
                process.text(),
                time(stat.in_driver_us * 1000)
            );
        }
        for CallAnswer { call, device, stat } in &self.calls {
            let calls = render::count(stat.calls, "call");
            let _ = write!(text, "\n  {call}  {device}  {calls}  mean {}", time(stat.mean_ns));
            if let Some(p99) = stat.p99_below_ns {
                let _ = write!(text, "  p99 < {}", time(p99));
            }
        }
        if let Some(slowest) = self.slowest.first() {
            let SlowestAnswer { call, device, process, took_us, .. } = slowest;
            let (took, process) = (time(took_us * 1000), process.text());
            let _ = write!(text, "\nslowest: {took} {call} on {device} by {process}");
        }
        for it in &self.failures {
            let count = it.errors + it.rm_failures;
            let number = it.errno.map(|errno| errno.to_string()).or_else(|| it.rm_status.clone());
            let failure = it.failure.map(ToOwned::to_owned).or(number).unwrap_or_default();
            let (call, device, process) = (&it.call, &it.device, it.process.text());
            let _ =
                write!(text, "\nfailed {count} times: {call} on {device}: {failure}, by {process}");
        }
        for it in &self.inside {
            let (call, device, process) = (&it.call, &it.device, it.process.text());
            let waits = if it.may_wait { " (such a call may wait)" } else { "" };
            let inside = time(it.inside_ms * 1_000_000);
            let _ = write!(text, "\ninside for {inside}: {call} on {device} by {process}{waits}");
        }
        let UnseenAnswer { calls, threads, processes, events } = &self.unseen;
        if calls + threads + processes + events > 0 {
            let _ = write!(
                text,
                "\nNot seen since the tracer came: {calls} calls are in the totals alone, {threads} were not followed, {events} \
                 events were lost, and {processes} times a process found no room"
            );
        }
        text
    }
}

impl WhoAnswer {
    fn text(&self) -> String {
        let Self { pid, name, pod } = self;
        let name = name.as_deref().unwrap_or("a process that is gone");
        let pod = pod.as_ref().map_or(String::new(), |pod| format!(", pod {pod}"));
        format!("{name} (pid {pid}{pod})")
    }
}

fn time(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{} us", ns / 1_000),
        10_000_000..10_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{} s", ns / 1_000_000_000),
    }
}
