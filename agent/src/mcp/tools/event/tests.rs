use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::{
    calls::{Call, Device},
    event::{
        Access, Attribution, Journal, KnownBy, Party, Pod, Report,
        access::{Did, Failure, Way},
    },
};

/// The answer as JSON and as a line, from behind the time on.
fn told(report: Report) -> (Value, String) {
    let journal = Journal::new();
    journal.append(report);
    let page = journal.read(journal.start(), &crate::event::Filter::default(), 1);
    let answer = AnyEvent::of(&page.events[0]).expect("it can be told");
    let line = answer.line();
    let line = line.split_once("Z  ").map(|(_, rest)| rest.to_owned()).expect("a time");
    (serde_json::to_value(answer).expect("JSON"), line)
}

fn did(did: Did) -> Access {
    Access::example(did)
}

fn report(access: Access) -> Report {
    Report::access(SystemTime::UNIX_EPOCH, access)
}

const IOCTL: Call = Call::Ioctl { request: 0xc020_462a, command: 0 };

#[test]
fn what_a_process_did_is_told_with_who_it_was() {
    let failed =
        |failure| did(Did::Failed { call: IOCTL, failure, took: Duration::from_millis(3) });
    let ms = Duration::from_millis;
    for (access, fields, line) in [
        (
            did(Did::Opened(Way::Opened)),
            json!({"kind": "gpu_open", "severity": "info", "how": "opened", "folded": 0}),
            "info  0000:3b:00.0  gpu_open nvidia0 by python3 (pid 4711, pod ml/train-7)",
        ),
        (
            Access {
                device: Device::Control,
                pci: None,
                folded: 12,
                ..did(Did::Opened(Way::Inherited))
            },
            json!({"how": "inherited", "device": "nvidiactl", "gpu": null, "folded": 12}),
            "info  no address  gpu_open nvidiactl by python3 (pid 4711, pod ml/train-7), inherited, 12 more before",
        ),
        (
            did(Did::Closed { held: Some(ms(12_345)), exited: true }),
            json!({"kind": "gpu_close", "how": null, "held_ms": 12345, "exited": true}),
            "info  0000:3b:00.0  gpu_close nvidia0 by python3 (pid 4711, pod ml/train-7), after 12.3 s, at its end",
        ),
        (
            did(Did::Closed { held: None, exited: false }),
            json!({"held_ms": null, "exited": false, "call": null}),
            "info  0000:3b:00.0  gpu_close nvidia0 by python3 (pid 4711, pod ml/train-7)",
        ),
        (
            failed(Failure::Errno(22)),
            json!({"kind": "call_failed", "severity": "warning", "exited": null, "call": {
                "name": IOCTL.name(Device::Gpu(0)).to_string(), "request": "0xc020462a",
                "duration_ms": 3, "inside_ms": null,
                "errno": 22, "rm_status": null, "failure": "EINVAL"}}),
            "EINVAL after 3 ms by python3 (pid 4711, pod ml/train-7)",
        ),
        (
            failed(Failure::Errno(5)),
            json!({"severity": "error"}),
            "EIO after 3 ms by python3 (pid 4711, pod ml/train-7)",
        ),
        (
            failed(Failure::Status(0x0f)),
            json!({"severity": "error"}),
            "NV_ERR_GPU_IS_LOST after 3 ms by python3 (pid 4711, pod ml/train-7)",
        ),
        (
            failed(Failure::Status(0xffff_0000)),
            json!({"severity": "warning"}),
            "status 0xffff0000 after 3 ms by python3 (pid 4711, pod ml/train-7)",
        ),
        (
            did(Did::Stalled { call: Call::Close, inside: ms(30_000) }),
            json!({"kind": "call_stalled", "severity": "error", "call": {
                "name": "close", "request": null, "duration_ms": null, "inside_ms": 30000,
                "errno": null, "rm_status": null, "failure": null}}),
            "error  0000:3b:00.0  call_stalled close on nvidia0 for 30.0 s by python3 (pid 4711, pod ml/train-7)",
        ),
    ] {
        let (answer, told) = told(report(access));
        for (name, value) in fields.as_object().expect("fields") {
            assert_eq!(&answer[name], value, "{name} of {answer}");
        }
        assert!(told.ends_with(line), "{told}");
        let common = json!({"xid": null, "raw": null, "origin": null, "printed_in": null, "follows": false,
            "sources": ["device_tracer"],
            "process": {"pid": 4711, "name": "python3", "known_by": "in the kernel at that moment"}});
        for (name, value) in common.as_object().expect("fields") {
            assert_eq!(&answer[name], value, "{name} of {answer}");
        }
        assert_eq!(answer["pod"]["name"], "train-7");
        assert!(answer.get("candidates").is_none());
    }
}

/// A process, in a pod of this name in `ml` or in none.
fn party(pid: u32, name: &str, pod: &str) -> Party {
    let (namespace, of) = (Some("ml".to_owned()), Some(pod.to_owned()));
    let pod = (!pod.is_empty()).then(|| Arc::new(Pod { namespace, name: of, ..Pod::default() }));
    Party { pid, name: name.to_owned(), pod }
}

/// What is told of who it was: process, pod, candidates, and the end of the line.
#[track_caller]
fn attributed(line: &str, known_by: KnownBy, parties: Vec<Party>, wanted: &[Value; 3], end: &str) {
    let what = What::Line { text: Bytes::copy_from_slice(line.as_bytes()), cut: false };
    let attribution = Some(Attribution { known_by, parties });
    let (answer, told) = told(Report {
        source: Source::Replay,
        what,
        attribution,
        ..report(did(Did::Opened(Way::Opened)))
    });
    let candidates = answer.get("candidates").cloned().unwrap_or(Value::Null);
    assert_eq!(&[answer["process"].clone(), answer["pod"].clone(), candidates], wanted);
    assert!(told.ends_with(end), "{told}");
    for field in ["device", "how", "held_ms", "exited", "call", "folded"] {
        assert!(answer.get(field).is_none(), "{field} of {answer}");
    }
}

const NAMED: &str = "NVRM: Xid (PCI:0000:3b:00): 13, pid=7, name=python, Graphics Exception";
const UNNAMED: &str =
    "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.";

#[test]
fn a_fault_says_whose_it_may_be_and_how_that_is_known() {
    let pod_as = |name, known_by| {
        json!({"namespace": "ml", "name": name, "uid": null, "container": null, "container_id": null,
            "known_by": known_by})
    };
    let (line, only, several) =
        ("named in the line", "the only holder of the device", "one of several holders");
    let null = || Value::Null;
    attributed(
        NAMED,
        KnownBy::Line,
        vec![party(7, "python3", "a")],
        &[json!({"pid": 7, "name": "python", "known_by": line}), pod_as("a", line), null()],
        " by python (pod ml/a, named in the line)  → RESTART_APP",
    );
    attributed(
        UNNAMED,
        KnownBy::OnlyHolder,
        vec![party(7, "p\u{1b}", "a")],
        &[json!({"pid": 7, "name": "p\\u{1b}", "known_by": only}), pod_as("a", only), null()],
        " by p\\u{1b} (pod ml/a, the only holder)  → RESTART_BM",
    );
    attributed(
        UNNAMED,
        KnownBy::OnlyHolder,
        vec![party(7, "x", "")],
        &[json!({"pid": 7, "name": "x", "known_by": only}), null(), null()],
        " by x (pid 7, the only holder)  → RESTART_BM",
    );
    // Of several nothing tells which, unless all are of one pod.
    attributed(
        UNNAMED,
        KnownBy::OneOfSeveral,
        vec![party(7, "x", "a"), party(8, "y", "a")],
        &[null(), pod_as("a", only), json!([{"pid": 7, "name": "x"}, {"pid": 8, "name": "y"}])],
        " by one of 2 processes (pod ml/a)  → RESTART_BM",
    );
    attributed(
        UNNAMED,
        KnownBy::OneOfSeveral,
        vec![party(7, "x", "a"), party(8, "y", "b"), party(9, "z", "")],
        &[
            null(),
            null(),
            json!([
                {"pid": 7, "name": "x", "pod": pod_as("a", several)},
                {"pid": 8, "name": "y", "pod": pod_as("b", several)},
                {"pid": 9, "name": "z"},
            ]),
        ],
        " by one of 3 processes (pod ml/a, pod ml/b)  → RESTART_BM",
    );
    // The line's own word comes before who had the device open.
    attributed(
        NAMED,
        KnownBy::OnlyHolder,
        vec![party(8, "y", "b")],
        &[json!({"pid": 7, "name": "python", "known_by": line}), null(), null()],
        "  → RESTART_APP",
    );
    attributed(
        NAMED,
        KnownBy::OneOfSeveral,
        vec![party(8, "y", "b"), party(7, "x", "a")],
        &[json!({"pid": 7, "name": "python", "known_by": line}), pod_as("a", line), null()],
        " by python (pod ml/a, named in the line)  → RESTART_APP",
    );
}

#[test]
fn what_tenants_name_their_pods_is_bounded_and_escaped() {
    let long = "x\n".repeat(1000);
    let of = || Some(long.clone());
    let pod = Pod { uid: of(), namespace: of(), name: of(), container: of(), container_id: of() };
    let access = Access {
        party: Party { pid: 1, name: long.clone(), pod: Some(Arc::new(pod)) },
        ..did(Did::Opened(Way::Opened))
    };
    let (answer, line) = told(report(access));
    let size = answer.to_string().len();
    assert!(size < 2 << 10 && line.len() < 1 << 10 && !line.contains('\n'), "{size} {line}");
}
