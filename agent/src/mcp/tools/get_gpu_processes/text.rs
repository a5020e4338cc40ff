//! The answer of `get_gpu_processes` for people: a line a process.

use std::fmt::Write as _;

use super::answer::{
    Found, GivenAnswer, HolderAnswer, MigAnswer, OnGpuAnswer, PodAnswer, ProcessAnswer,
};
use crate::mcp::{render, tool::Answer};

/// Processes that the text tells.
const TOLD: usize = 40;

impl Answer for Found {
    fn text(&self) -> String {
        let views = match (self.nvml.live, self.ebpf.live) {
            (true, true) => "as NVML and the kernel know them",
            (true, false) => "as NVML knows them",
            (false, _) => "as the kernel knows them",
        };
        let count = self.process_count;
        let noun = if count == 1 { "process" } else { "processes" };
        let mut text = format!("{count} {noun}, {views}");
        for process in self.processes.iter().take(TOLD) {
            let _ = write!(text, "\n{}", process.line());
        }
        let untold = self.processes.len().saturating_sub(TOLD);
        if untold > 0 {
            let _ = write!(text, "\n… and {untold} more in the structured content");
        }
        if let Some(cursor) = &self.next_cursor {
            let _ = write!(text, "\nThere are more: pass cursor {cursor}.");
        }
        for gpu in &self.gpus {
            if let Some(error) = &gpu.error {
                let _ = write!(text, "\nGPU {}: {error}", gpu.index);
            }
            if let Some(given) = gpu.given_to.as_deref().filter(|given| !given.is_empty()) {
                let given: Vec<_> = given.iter().map(GivenAnswer::line).collect();
                let _ = write!(text, "\nGPU {} was given to {}", gpu.index, given.join(", "));
                let untold = gpu.given_count.unwrap_or_default().saturating_sub(given.len());
                if untold > 0 {
                    let _ = write!(text, " and {untold} more");
                }
            }
        }
        for limit in &self.limits {
            let _ = write!(text, "\n{limit}");
        }
        text
    }
}

impl ProcessAnswer {
    fn line(&self) -> String {
        let mut line = self.pid.to_string();
        if self.pid_namespace != "node" {
            line.push_str(" (the agent's number)");
        }
        let _ = write!(line, "  {}", self.name.as_deref().unwrap_or("(gone)"));
        if let Some(pod) = &self.pod {
            let _ = write!(line, "  {}", pod.line());
        }
        for gpu in &self.gpus {
            let _ = write!(line, "  {}", gpu.line());
        }
        if let Some(kernel) = &self.kernel {
            let _ = write!(line, "  {}", kernel.line());
        }
        if !self.holds_without_memory.is_empty() {
            let gpus: Vec<_> = self.holds_without_memory.iter().map(ToString::to_string).collect();
            let _ = write!(line, "  HOLDS WITHOUT MEMORY: GPU {}", gpus.join(", "));
        }
        line
    }
}

impl PodAnswer {
    fn line(&self) -> String {
        let mut line = match (&self.namespace, &self.name, &self.uid) {
            (Some(namespace), Some(name), _) => format!("{namespace}/{name}"),
            (_, _, Some(uid)) => format!("pod {uid}"),
            _ => "a pod".to_owned(),
        };
        if let Some(container) = &self.container {
            let _ = write!(line, " ({container})");
        }
        line
    }
}

impl GivenAnswer {
    fn line(&self) -> String {
        format!("{}/{} ({})", self.namespace, self.pod, self.container)
    }
}

impl OnGpuAnswer {
    fn line(&self) -> String {
        let mut line = format!("GPU {}", self.index);
        if let Some(MigAnswer { gpu_instance: Some(gpu), compute_instance, .. }) = &self.mig {
            let compute = compute_instance.map_or_else(|| "?".to_owned(), |id| id.to_string());
            let _ = write!(line, " MIG {gpu}/{compute}");
        }
        if self.types != ["compute"] {
            let _ = write!(line, " {}", self.types.join("+"));
        }
        match self.memory_bytes {
            Some(bytes) => {
                let _ = write!(line, " {}", render::bytes(bytes));
            }
            None => line.push_str(" memory not told"),
        }
        if let Some(percent) = self.sm_percent {
            let _ = write!(line, " {percent} % SM");
        }
        line
    }
}

impl HolderAnswer {
    fn line(&self) -> String {
        let since = self.since.as_ref().map_or_else(
            || "from before the agent listened".to_owned(),
            |since| format!("since {since}"),
        );
        let mut line = format!(
            "holds {} {since}, {}, {} failed",
            self.devices.join(" "),
            render::count(self.calls, "call"),
            self.errors
        );
        if let Some(longest) = self.inside.first() {
            let _ = write!(line, ", in {} for {} ms", longest.call, longest.for_ms);
            if self.inside_count > 1 {
                let _ = write!(line, " ({} calls under way)", self.inside_count);
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, SystemTime},
    };

    use super::*;
    use crate::{
        calls::{Call, Device},
        event::{Party, Pod},
        mcp::tools::{
            get_gpu_processes::merge::{Namespace, Row},
            select::Detail,
        },
        node::holders::{Held, Holder, InCall},
    };

    fn worker() -> Row {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let inside = |tid, command, since| InCall {
            tid,
            call: Call::Ioctl { request: 0xc020_462a, command },
            device: Device::Control,
            since: at(since),
        };
        let pod = Pod {
            namespace: Some("ml".to_owned()),
            name: Some("train-0".to_owned()),
            container: Some("trainer".to_owned()),
            ..Pod::default()
        };
        let held = |device, since| Held { device, pci: None, since };
        Row {
            on: Vec::new(),
            pod: None,
            holder: Some(Holder {
                party: Party {
                    pid: 4301,
                    name: "pt\n\u{1b}[1m".to_owned(),
                    pod: Some(Arc::new(pod)),
                },
                started: None,
                devices: vec![held(Device::Gpu(0), Some(at(60))), held(Device::Uvm, Some(at(50)))],
                calls: 1,
                errors: 3,
                last_call: None,
                inside: vec![inside(4302, 0, 95), inside(4303, 0x2080_0110, 90)],
            }),
            without_memory: vec![0],
        }
    }

    fn told(row: &Row) -> ProcessAnswer {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        ProcessAnswer::of((Namespace::Node, 4301), row, Detail::Summary, now)
    }

    #[test]
    fn a_line_tells_who_holds_what_since_when_and_what_has_not_come_back() {
        assert_eq!(
            told(&worker()).line(),
            "4301  pt\\n\\u{1b}[1m  ml/train-0 (trainer)  holds /dev/nvidia0 /dev/nvidia-uvm \
             since 1970-01-01T00:00:50.000000Z, 1 call, 3 failed, in NV_ESC_RM_CONTROL NV2080_CTRL_CMD_GPU_GET_NAME_STRING for 10000 ms \
             (2 calls under way)  HOLDS WITHOUT MEMORY: GPU 0"
        );
    }

    #[test]
    fn a_device_from_before_the_tracer_makes_the_beginning_unknown() {
        let mut row = worker();
        if let Some(holder) = &mut row.holder {
            holder.devices[1].since = None;
        }
        let told = told(&row);
        assert!(told.kernel.as_ref().is_some_and(|kernel| kernel.since.is_none()));
        assert!(told.line().contains("from before the agent listened"));
    }
}
