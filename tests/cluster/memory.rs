//! The limits of the chart, 100m and 50Mi, in a storm of Xids with sessions open.

use std::{
    fs::OpenOptions,
    io::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use e2e::{Agent, PATIENCE, measure::Unlimited, stand_in::Host};
use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    figures,
    host::{self, Group},
    release::{Pod, Release},
};

const SESSIONS: usize = 5;
const LINES: u64 = 10_000;
const GPU: &str = "0000:c8:00.0";

/// Nothing is killed, nothing restarted, and every line is counted.
pub fn in_a_storm(cluster: &Cluster) -> Result<()> {
    // Every recorder of the machine hears the storm.
    cluster.clear()?;
    let _unlimited = Unlimited::new()?;
    let release = Release::install(cluster, "memory", &["ebpf.enabled=true"])?;
    // As on a node with the driver: its devices are followed, which takes maps and ring buffers of their own.
    release.give_root(cluster, &Host::new()?)?;
    let pod = release.pod(cluster, &cluster.gpu_nodes[0])?;
    let limit = |pod: &Value| pod["spec"]["containers"][0]["resources"]["limits"].clone();
    let object = cluster.get(&["pod", "-n", &pod.namespace, &pod.name])?;
    assert_eq!(limit(&object), json!({"cpu": "100m", "memory": "50Mi"}));
    let meter = Meter::of(&pod)?;
    assert_eq!(meter.memory.number(["memory.limit_in_bytes", "memory.max"])?, 50 << 20);
    meter.say("idle", &pod)?;

    let mut sessions = (0..SESSIONS).map(|_| pod.session(cluster)).collect::<Result<Vec<_>>>()?;
    for session in &mut sessions {
        ask_all(session)?;
    }
    meter.say(&format!("{SESSIONS} sessions, each asked every tool in full"), &pod)?;

    for session in &mut sessions {
        let arguments = json!({"gpu": GPU, "duration_s": 60, "max_events": 1000});
        let params = json!({"name": "watch_gpu_events", "arguments": arguments});
        session.start("tools/call", &params)?;
    }
    let before = counted(&mut sessions[0])?;
    let started = Instant::now();
    storm()?;
    let written = started.elapsed();
    let end = Instant::now() + PATIENCE * 2;
    let counted = loop {
        let now = counted(&mut sessions[0])?;
        if now.0 + now.1 >= LINES + before.1 || Instant::now() > end {
            break now;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    figures::add(
        format!("{LINES} Xids in {}, all told after", figures::time(written)),
        figures::time(started.elapsed()),
    );
    meter.say("under the storm", &pod)?;
    figures::add("of them counted, lost", format!("{}, {}", counted.0, counted.1 - before.1));

    let object = cluster.get(&["pod", "-n", &pod.namespace, &pod.name])?;
    let status = &object["status"]["containerStatuses"][0];
    assert_eq!((&status["restartCount"], &status["ready"]), (&json!(0), &json!(true)), "{status}");
    assert_eq!(meter.memory.line("memory.oom_control", "oom_kill"), 0);
    assert_eq!(meter.memory.line("memory.events", "oom_kill"), 0);
    assert_eq!(counted, (LINES, before.1), "counted and lost of {LINES}");
    // The sessions live, and each has its events.
    for session in &mut sessions {
        let arguments = json!({"gpu": GPU, "since": "0-0", "max_events": 1000, "duration_s": 0});
        let page = session.ask("watch_gpu_events", &arguments)?;
        assert!(page["events"].as_array().is_some_and(|events| !events.is_empty()), "{page}");
    }
    drop(sessions);
    release.remove(cluster)
}

/// As fast as the kernel takes them.
fn storm() -> Result<()> {
    let mut log = OpenOptions::new().write(true).open("/dev/kmsg")?;
    for number in 0..LINES {
        let xid = [13, 31, 43, 45][usize::try_from(number % 4)?];
        let line = format!(
            "NVRM: Xid (PCI:0000:c8:00): {xid}, pid={number}, name=e2e, Ch 00000008, intr 00000000\n"
        );
        log.write_all(line.as_bytes())?;
    }
    Ok(())
}

/// Events of the storm that the analysis has, and lines that were lost before they came there.
fn counted(session: &mut Agent) -> Result<(u64, u64)> {
    let analysis = session.ask("analyze_xid_errors", &json!({"gpu": GPU, "limit": 1}))?;
    let number =
        |name: &str| analysis[name].as_u64().with_context(|| format!("{name}: {analysis}"));
    Ok((number("event_count")?, number("lost")?))
}

/// Every tool, in full where it knows that.
fn ask_all(session: &mut Agent) -> Result<()> {
    let tools = session.request("tools/list", &json!({}))?["result"]["tools"].clone();
    for tool in tools.as_array().context("tools")? {
        let mut arguments = json!({});
        let properties = &tool["inputSchema"]["properties"];
        if properties["detail"].is_object() {
            arguments["detail"] = json!("full");
        }
        if properties["duration_s"].is_object() {
            arguments["duration_s"] = json!(0);
        }
        // What is refused, such as calls that nobody traces, has cost what it costs.
        session.call(tool["name"].as_str().context("name")?, &arguments)?;
    }
    Ok(())
}

/// What the container has taken, by the counters that its limits go by.
struct Meter {
    memory: Group,
    cpu: Group,
}

impl Meter {
    fn of(pod: &Pod) -> Result<Self> {
        let pid = host::first(pod)?;
        Ok(Self { memory: Group::of(pid, "memory")?, cpu: Group::of(pid, "cpu")? })
    }

    fn say(&self, when: &str, pod: &Pod) -> Result<()> {
        let memory = &self.memory;
        let all = memory.number(["memory.usage_in_bytes", "memory.current"])?;
        let peak = memory.number(["memory.max_usage_in_bytes", "memory.peak"])?;
        let met = memory.number(["memory.failcnt", "memory.swap.max"]).unwrap_or(0);
        let stat = |names: [&str; 2]| {
            figures::mib(names.iter().map(|name| memory.line("memory.stat", name)).sum())
        };
        let kernel = memory
            .number(["memory.kmem.usage_in_bytes", ""])
            .unwrap_or_else(|_| memory.line("memory.stat", "kernel"));
        let resident: Vec<String> = host::agents(pod)?
            .iter()
            .map(|process| Ok(format!("{:.1}", e2e::measure::mib(process.pid, "VmRSS")?)))
            .collect::<Result<_>>()?;
        figures::add(
            format!("memory of the pod, {when}"),
            format!(
                "{} of 50 (peak {}): anonymous {}, files {}, kernel {}; resident of each process {} MiB; the limit was met \
                 {met} times; throttled {} of {} periods",
                figures::mib(all),
                figures::mib(peak),
                stat(["rss", "anon"]),
                stat(["cache", "file"]),
                figures::mib(kernel),
                resident.join(", "),
                self.cpu.line("cpu.stat", "nr_throttled"),
                self.cpu.line("cpu.stat", "nr_periods"),
            ),
        );
        Ok(())
    }
}
