//! The agent with the rights and the root filesystem that the chart gives it, on this machine's kernel.

use std::{
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use e2e::{Agent, PATIENCE};
use serde_json::{Value, json};

/// A recorder that ends with the test.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the chart gives with ebpf.enabled and xid.kernelLog: three capabilities, `/dev/kmsg` out of reach, and `volume`
/// the one place that can be written to.
fn pod(volume: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c"]);
    command.arg(
        "mount --bind /dev/null /dev/kmsg && mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro / && \
         ! touch / 2>/dev/null && exec setpriv --bounding-set -all,+bpf,+perfmon,+syslog --inh-caps -all \
         --no-new-privs \"$@\"",
    );
    command.arg(volume).arg(e2e::agent_path());
    command
}

#[test]
fn with_the_rights_of_the_pod_the_recorder_hears_reads_the_log_and_keeps_its_journal() {
    const TEST: &str =
        "pod::with_the_rights_of_the_pod_the_recorder_hears_reads_the_log_and_keeps_its_journal";
    let volume = tempfile::tempdir().expect("a temporary directory");
    if let Some(why) = e2e::no_kernel() {
        super::skip(TEST, &why);
        return;
    }
    let can = pod(volume.path()).arg("--version").stdout(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        super::skip(TEST, "needs unshare, setpriv and the right to mount");
        return;
    }
    let socket = volume.path().join("agent.sock");
    let mut recorder = pod(volume.path());
    recorder.args(["record", "--socket"]).arg(&socket);
    let mut recorder = Running(recorder.spawn().expect("it ran a moment ago"));
    let end = Instant::now() + PATIENCE;
    while UnixStream::connect(&socket).is_err() {
        assert_eq!(recorder.0.try_wait().expect("its state"), None, "the recorder has ended");
        assert!(Instant::now() < end, "the recorder does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut session = e2e::agent();
    let mut session = Agent::spawn(session.arg("--socket").arg(&socket)).expect("a session");
    session.initialize().expect("MCP");
    for source in ["ebpf", "kernel_log"] {
        assert!(session.source_is(source, "live").expect("an answer"), "{source}");
    }
    let status = session.ask("get_agent_status", &json!({})).expect("an answer");
    assert_eq!(status["capabilities"], json!(["CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG"]));
    assert_eq!(status["recorder"]["journal_failure"], Value::Null, "{status}");
    let sources = status["sources"].as_array().into_iter().flatten();
    let log =
        sources.filter(|it| it["name"] == "kernel_log").filter_map(|it| it["detail"].as_str());
    assert!(log.eq(["syslog(2), with what was printed before"]), "{status}");
    let journal = std::fs::metadata(volume.path().join("journal.redb")).expect("a journal");
    assert_eq!(journal.permissions().mode() & 0o777, 0o600);
}
