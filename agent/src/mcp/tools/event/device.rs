//! What a process did with a device of the driver's, on the wire.

use std::time::Duration;

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use crate::{
    calls::{self, Call, errno},
    event::{
        Access,
        access::{Did, Failure, Way},
    },
};

/// The part of an event that only those of processes have.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DeviceOfEvent {
    /// As its file is called: `nvidia0`, `nvidiactl`.
    pub device: String,
    /// `opened`, `inherited` from the process that forked it, or `found`: open already when the tracer came, or passed on by
    /// another process. Of `gpu_open`.
    pub how: Option<&'static str>,
    /// How long it was open; null where that began before the tracer came. Of `gpu_close`.
    pub held_ms: Option<u64>,
    /// Closed because the process ended. Of `gpu_close`.
    pub exited: Option<bool>,
    /// Of `call_failed` and `call_stalled`.
    pub call: Option<CallOfEvent>,
    /// So many like it of this pod, or of this process where it has none, went before and were not told.
    pub folded: u64,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CallOfEvent {
    pub name: String,
    /// The ioctl's request number; null for another call.
    pub request: Option<String>,
    /// How long it took; null while it has not come back.
    pub duration_ms: Option<u64>,
    /// How long it has been inside; null where it came back.
    pub inside_ms: Option<u64>,
    /// The system call's error.
    pub errno: Option<i32>,
    /// What the driver's resource manager answered (`NV_STATUS`).
    pub rm_status: Option<String>,
    /// The name of `errno` or of `rm_status`.
    pub failure: Option<&'static str>,
}

impl DeviceOfEvent {
    pub fn of(access: &Access) -> Self {
        let of = Self {
            device: access.device.to_string(),
            how: None,
            held_ms: None,
            exited: None,
            call: None,
            folded: access.folded,
        };
        let call_of = |call: Call| CallOfEvent {
            name: call.name(access.device).to_string(),
            request: match call {
                Call::Ioctl { request, command: _ } => Some(format!("{request:#010x}")),
                Call::Open | Call::Close => None,
            },
            duration_ms: None,
            inside_ms: None,
            errno: None,
            rm_status: None,
            failure: None,
        };
        match access.did {
            Did::Opened(way) => Self { how: Some(name(way)), ..of },
            Did::Closed { held, exited } => {
                Self { held_ms: held.map(ms), exited: Some(exited), ..of }
            }
            Did::Failed { call, failure, took } => {
                let call = CallOfEvent { duration_ms: Some(ms(took)), ..call_of(call) };
                let call = match failure {
                    Failure::Errno(number) => {
                        CallOfEvent { errno: Some(number), failure: errno::name(number), ..call }
                    }
                    Failure::Status(status) => CallOfEvent {
                        rm_status: Some(format!("{status:#010x}")),
                        failure: calls::status(status),
                        ..call
                    },
                };
                Self { call: Some(call), ..of }
            }
            Did::Stalled { call, inside } => {
                let call = CallOfEvent { inside_ms: Some(ms(inside)), ..call_of(call) };
                Self { call: Some(call), ..of }
            }
        }
    }

    /// For a person, before who did it.
    pub fn what(&self) -> String {
        let Self { device, call, .. } = self;
        call.as_ref().map_or_else(
            || device.clone(),
            |call| format!("{} on {device}{}", call.name, call.outcome()),
        )
    }

    /// For a person, behind who did it.
    pub fn rest(&self) -> String {
        let how = match self.how {
            Some("inherited") => ", inherited",
            Some("found") => ", open before",
            _ => "",
        };
        let held = self.held_ms.map_or(String::new(), |held| format!(", after {}", time(held)));
        let exited = if self.exited == Some(true) { ", at its end" } else { "" };
        let folded = match self.folded {
            0 => String::new(),
            folded => format!(", {folded} more before"),
        };
        format!("{how}{held}{exited}{folded}")
    }
}

impl CallOfEvent {
    fn outcome(&self) -> String {
        let number = match (self.errno, &self.rm_status) {
            (Some(errno), _) => format!("errno {errno}"),
            (None, Some(status)) => format!("status {status}"),
            (None, None) => String::new(),
        };
        let failure = self.failure.map_or(number, str::to_owned);
        match (self.duration_ms, self.inside_ms) {
            (Some(took), _) => format!(": {failure} after {}", time(took)),
            (None, Some(inside)) => format!(" for {}", time(inside)),
            (None, None) => String::new(),
        }
    }
}

fn name(way: Way) -> &'static str {
    match way {
        Way::Opened => "opened",
        Way::Inherited => "inherited",
        Way::Found => "found",
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn time(ms: u64) -> String {
    if ms < 1000 {
        return format!("{ms} ms");
    }
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}
