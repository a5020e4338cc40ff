//! The image: what is in it and what it says of itself, and that it does its work with exactly the rights that the chart gives
//! each kind of pod, in a container of podman and runc. What only a cluster can show is not here.
//!
//! | variable | what |
//! | --- | --- |
//! | `E2E_IMAGE` | the OCI archive that `cargo xtask image` leaves |
//! | `E2E_HELM` | for the rights: as for the chart's tests |

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which say what they expect by panicking"
)]

mod pod;
mod podman;

use std::{
    collections::BTreeMap,
    env::{self, consts::ARCH},
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    time::Instant,
};

use e2e::{Agent, PATIENCE};
use pod::Pod;
use podman::{Container, Podman, archive};
use serde_json::{Value, json};

use crate::chart::helm::Helm;

/// What the archive may weigh; as it is carried into a cluster without a registry.
const AT_MOST: u64 = 12_000_000;

/// All that is in it besides directories.
fn expected_files() -> Vec<String> {
    let lib = format!("usr/lib/{ARCH}-linux-gnu");
    let mut files: Vec<String> =
        ["libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "librt.so.1"]
            .into_iter()
            .map(|name| format!("{lib}/{name}"))
            .collect();
    let doc = "usr/share/doc";
    files.extend(["agent", "etc/debian_version", "lib", "lib64"].map(str::to_owned));
    files.push(match ARCH {
        "aarch64" => "usr/lib/ld-linux-aarch64.so.1".to_owned(),
        _ => "usr/lib64/ld-linux-x86-64.so.2".to_owned(),
    });
    files.extend(
        [
            "k8s-gpu-mcp-server/LICENSE",
            "k8s-gpu-mcp-server/agent-ebpf/LICENSE.md",
            "libc6/copyright",
            "libgcc-s1/copyright",
        ]
        .map(|name| format!("{doc}/{name}")),
    );
    files.sort();
    files
}

#[test]
fn in_it_are_the_agent_what_it_loads_and_licences_and_nothing_else() {
    let test = "in_it_are_the_agent_what_it_loads_and_licences_and_nothing_else";
    let Some(podman) = Podman::with_the_image(test) else { return };
    let size = fs::metadata(archive().expect("it was loaded")).expect("a file").len();
    assert!(size <= AT_MOST, "{size} bytes");

    let root = podman.files();
    let mut files = Vec::new();
    walk(&root, &mut |path, about| {
        let name = path.strip_prefix(&root).expect("below it").to_string_lossy().into_owned();
        assert_eq!((about.uid(), about.gid()), (0, 0), "{name}");
        let mode = about.permissions().mode();
        assert!(about.is_symlink() || mode & 0o7022 == 0, "{name}: {mode:o}");
        if !about.is_dir() {
            files.push(name);
        }
    });
    files.sort();
    assert_eq!(files, expected_files());
    assert!(
        fs::read(root.join("agent")).expect("read") == fs::read(e2e::agent_path()).expect("read"),
        "another agent than the one that is tested"
    );
}

fn walk(dir: &Path, see: &mut dyn FnMut(&Path, &fs::Metadata)) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let about = path.symlink_metadata().expect("it is there");
        see(&path, &about);
        if about.is_dir() {
            walk(&path, see);
        }
    }
}

#[test]
fn it_says_what_it_is_and_run_by_hand_it_is_a_session_without_rights() {
    let test = "it_says_what_it_is_and_run_by_hand_it_is_a_session_without_rights";
    let Some(podman) = Podman::with_the_image(test) else { return };
    let about = podman.about();
    assert_eq!(about["Config"]["Entrypoint"], json!(["/agent"]));
    assert_eq!(about["Config"]["User"], "65532:65532");
    assert_eq!(about["Config"].get("ExposedPorts"), None);
    let label = |name: &str| {
        let value = &about["Config"]["Labels"][format!("org.opencontainers.image.{name}")];
        value.as_str().unwrap_or_else(|| panic!("no label {name}: {about}"))
    };
    assert_eq!(label("title"), "k8s-gpu-mcp-server");
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("source"), env!("CARGO_PKG_REPOSITORY"));
    assert_eq!(label("licenses"), env!("CARGO_PKG_LICENSE"));
    assert!(label("description").contains("GPU"));
    // Of a checkout; what is built of an unpacked archive has neither.
    if e2e::repository().join(".git").exists() {
        assert_ne!(label("revision"), "unknown");
        assert_eq!(label("created"), about["Created"].as_str().unwrap_or_default());
    }
    // Whoever builds without xtask gets the same version.
    let recipe = fs::read_to_string(e2e::repository().join("Containerfile")).expect("it is there");
    let version = concat!("ARG VERSION=", env!("CARGO_PKG_VERSION"));
    assert!(recipe.lines().any(|line| line == version), "{version}");

    let options = ["--rm", "--interactive", "--read-only"].map(str::to_owned);
    let mut agent = Agent::spawn(&mut podman.run(&options, &[])).expect("it starts");
    agent.initialize().expect("MCP");
    let status = agent.ask("get_agent_status", &json!({})).expect("an answer");
    assert_eq!((&status["uid"], &status["capabilities"]), (&json!(65532), &json!([])));
    agent.close();
    assert!(agent.wait().expect("it ends").success());
}

/// The combinations of values that differ in the pod's rights.
const MODES: &[(&str, &[&str])] = &[
    ("default", &[]),
    ("ebpf", &["--set", "ebpf.enabled=true"]),
    ("kernel log", &["--set", "xid.kernelLog=true"]),
    ("ebpf, kernel log", &["--set", "ebpf.enabled=true,xid.kernelLog=true"]),
    ("rootless", &["--set", "rootless=true"]),
    ("privileged", &["--set", "gpuAccess.method=privileged", "--set-string", ACKNOWLEDGED]),
];
const ACKNOWLEDGED: &str =
    "gpuAccess.privileged.acknowledge=I understand that these pods can take over their nodes";

#[test]
fn with_the_rights_of_each_kind_of_pod_it_does_what_they_are_for_and_has_no_other() {
    let test = "with_the_rights_of_each_kind_of_pod_it_does_what_they_are_for_and_has_no_other";
    if env::var_os("E2E_HELM").is_none() {
        crate::skip(&format!("image::{test}"), "no helm (set E2E_HELM)");
        return;
    }
    // That all render the same rights is the chart's tests to say.
    let Some(helm) = Helm::all(test).pop() else { return };
    let Some(podman) = Podman::with_the_image(test) else { return };
    let deaf = e2e::no_kernel();
    if let Some(why) = &deaf {
        crate::skip(&format!("image::{test}: hearing the kernel"), why);
    }
    for (number, (mode, values)) in MODES.iter().enumerate() {
        let pod = Pod::of(&helm.render(values));
        let container = Container::start(&podman, &pod.options(&podman));
        let mut session = session(&container, &pod);
        let inventory = session.ask("get_gpu_inventory", &json!({})).expect("an answer");
        assert_eq!(
            (&inventory["gpu_count"], &inventory["simulated"]),
            (&json!(8), &json!(true)),
            "{mode}"
        );
        holds_what_was_given(&container, &pod, mode);

        let status = session.ask("get_agent_status", &json!({})).expect("an answer");
        if pod.security["privileged"] == false {
            assert_eq!(status["capabilities"], json!(pod.capabilities()), "{mode}");
        }
        if deaf.is_none() {
            for (source, word) in [("ebpf", "ebpf"), ("kernel_log", "kernel log")] {
                let live = session.source_is(source, "live").expect("an answer");
                assert_eq!(live, mode.contains(word), "{mode}: {source}: {status}");
            }
            if mode.contains("ebpf") || mode.contains("kernel log") {
                hears(&mut session, number, mode);
            }
        }
        session.close();
        assert!(session.wait().expect("it ends").success(), "{mode}");
        assert_eq!(container.stop(), "0", "{mode}: the end that SIGTERM asks for");
    }
}

/// A session beside the container's first process, and of it where that is the recorder.
fn session(container: &Container<'_>, pod: &Pod) -> Agent {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut session = Agent::spawn(&mut container.exec(&["/agent"])).expect("it starts");
        session.initialize().expect("MCP");
        let status = session.ask("get_agent_status", &json!({})).expect("an answer");
        if status["recorder"].is_object() == pod.records() {
            return session;
        }
        assert!(Instant::now() < end, "no recorder to join: {status}");
        session.close();
        session.wait().expect("it ends");
    }
}

/// What the kernel says of the container's processes, from outside, is what the chart asked for.
fn holds_what_was_given(container: &Container<'_>, pod: &Pod, mode: &str) {
    let number = |name: &String| match name.as_str() {
        "CAP_SYSLOG" => 34,
        "CAP_PERFMON" => 38,
        "CAP_BPF" => 39,
        other => panic!("the number of {other}?"),
    };
    let privileged = pod.security["privileged"] == true;
    let given = if privileged {
        // All that there is to give here.
        status(Path::new("/proc/self"))["CapBnd"].clone()
    } else {
        let bits = pod.capabilities().iter().map(number).fold(0_u64, |bits, n| bits | 1 << n);
        format!("{bits:016x}")
    };
    let processes = container.processes();
    assert_eq!(processes.len(), 2, "{mode}: the first process, and the session's");
    for process in processes {
        let status = status(&process);
        let who = format!("{mode}: {}", status["Name"]);
        let user = pod.security["runAsUser"].to_string();
        assert!(
            status["Uid"].split_whitespace().all(|uid| uid == user),
            "{who}: {}",
            status["Uid"]
        );
        for set in ["CapBnd", "CapPrm", "CapEff"] {
            assert_eq!(status[set], given, "{who}: {set}");
        }
        assert_eq!(status["CapAmb"], format!("{:016x}", 0), "{who}");
        assert_eq!(status["NoNewPrivs"], if privileged { "0" } else { "1" }, "{who}");
        assert_eq!(status["Seccomp"], if privileged { "0" } else { "2" }, "{who}");
        let mounts = fs::read_to_string(process.join("mountinfo")).expect("it runs");
        let root = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let root = root.into_iter().find(|mount| mount[4] == "/").expect("it has a root");
        assert!(root[5].split(',').any(|option| option == "ro"), "{who}: {root:?}");
    }
}

/// `/proc/<pid>/status`.
fn status(process: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(process.join("status")).expect("it runs");
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// A line that the kernel prints now reaches the session in the container.
fn hears(session: &mut Agent, number: usize, mode: &str) {
    // A bus that no other test uses; the kernel's log remembers earlier runs, which were other processes.
    let (bus, pid) = (0xd0 + number, std::process::id());
    e2e::print_to_kernel(&format!("NVRM: Xid (PCI:0000:{bus:x}:00): 79, pid={pid}, name=image"))
        .expect("the kernel takes it");
    let mut since = json!("0-0");
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let arguments = json!({
            "gpu": format!("0000:{bus:x}:00.0"), "since": since, "duration_s": 1, "max_events": 1000,
        });
        let page = session.ask("watch_gpu_events", &arguments).expect("an answer");
        let heard = page["events"].as_array().into_iter().flatten();
        if heard.into_iter().any(|event: &Value| event["process"]["pid"] == pid) {
            return;
        }
        since = page["next_cursor"].clone();
    }
    panic!("{mode}: nothing was heard");
}
