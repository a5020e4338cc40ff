//! The Helm chart: linted, rendered with every combination of values that changes what the pods may do, and checked
//! against the schemas of the Kubernetes versions that it is for. What the pods may do is in `access`, and which Pod Security
//! Standard admits it in `standards`; what can be set in `values`, what `helm test` runs in `hook`, and what the agent does
//! with the pod's rights in `pod`.
//!
//! | variable | what |
//! | --- | --- |
//! | `E2E_HELM` | one or more `helm` binaries, separated as in `PATH`; each test runs with each |
//! | `E2E_PYTHON` | for the schemas: a Python that has `kubernetes_validate` |

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which say what they expect by panicking"
)]

mod access;
pub mod helm;
mod hook;
mod pod;
mod standards;
mod values;

use std::{
    env,
    io::{Seek as _, Write as _},
    process::{Command, Stdio},
};

use helm::{Helm, NAMESPACE, skip, stderr};
use serde_json::{Value, json};

const ACKNOWLEDGED: &str =
    "gpuAccess.privileged.acknowledge=I understand that these pods can take over their nodes";
const DRA: &[&str] = &["--kube-version", "1.34.0", "--set", "gpuAccess.method=dra"];
/// As `--set-string`: the sentence has blanks.
const GATE_IS_ON: &str = "gpuAccess.dra.acknowledge=The feature gate DRAAdminAccess is on";

/// The combinations that differ in what the pods may do, by name: a name says what is on.
const MODES: &[(&str, &[&str])] = &[
    ("default", &[]),
    ("default runtime", &["--set", "gpuAccess.runtimeClass.name="]),
    ("volume mount", &["--set", "gpuAccess.request=volumeMount"]),
    ("cdi", &["--set", "gpuAccess.request=cdi"]),
    ("cdi, rootless", &["--set", "gpuAccess.request=cdi,rootless=true"]),
    ("device plugin", &["--set", "gpuAccess.method=devicePlugin"]),
    (
        "device plugin, volume mount",
        &["--set", "gpuAccess.method=devicePlugin,gpuAccess.request=volumeMount"],
    ),
    ("ebpf", &["--set", "ebpf.enabled=true"]),
    ("ebpf, no names", &["--set", "ebpf.enabled=true,ebpf.podNames=false"]),
    ("pod resources", &["--set", "podResources.enabled=true"]),
    ("ebpf, pod resources", &["--set", "ebpf.enabled=true,podResources.enabled=true"]),
    ("kernel log", &["--set", "xid.kernelLog=true"]),
    ("ebpf, kernel log", &["--set", "ebpf.enabled=true,xid.kernelLog=true"]),
    ("rootless", &["--set", "rootless=true"]),
    ("no gpu", &["--set", "gpuAccess.method=none"]),
    ("no gpu, ebpf", &["--set", "gpuAccess.method=none,ebpf.enabled=true"]),
    ("dra", DRA),
    ("dra, rootless", &["--kube-version", "1.34.0", "--set", "gpuAccess.method=dra,rootless=true"]),
    ("dra, ebpf", &["--kube-version", "1.37.0", "--set", "gpuAccess.method=dra,ebpf.enabled=true"]),
    (
        "dra before v1",
        &["--kube-version", "1.32.0", "--set", "gpuAccess.method=dra", "--set-string", GATE_IS_ON],
    ),
    ("privileged", &["--set", "gpuAccess.method=privileged", "--set-string", ACKNOWLEDGED]),
    (
        "privileged, ebpf",
        &["--set", "gpuAccess.method=privileged,ebpf.enabled=true", "--set-string", ACKNOWLEDGED],
    ),
    (
        "privileged, ebpf, kernel log",
        &[
            "--set",
            "gpuAccess.method=privileged,ebpf.enabled=true,xid.kernelLog=true",
            "--set-string",
            ACKNOWLEDGED,
        ],
    ),
];

#[test]
fn lint_has_no_complaint() {
    for helm in Helm::all("lint_has_no_complaint") {
        for (mode, values) in MODES {
            let mut arguments = vec!["lint", "--strict", "."];
            arguments.extend(*values);
            let out = helm.run(&arguments);
            assert!(
                out.status.success(),
                "{helm:?}, {mode}: {}",
                String::from_utf8_lossy(&out.stdout)
            );
        }
    }
}

#[test]
fn a_default_install_is_these_objects_and_no_other() {
    for helm in Helm::all("a_default_install_is_these_objects_and_no_other") {
        let rendered = helm.render(&[]);
        assert_eq!(
            rendered.kinds(),
            ["DaemonSet", "NetworkPolicy", "Pod", "Role", "ServiceAccount"]
        );
        for object in &rendered.0 {
            let labels = &object["metadata"]["labels"];
            assert_eq!(object["metadata"]["namespace"], NAMESPACE);
            let test = if object["kind"] == "Pod" { "-test" } else { "" };
            assert_eq!(labels["app.kubernetes.io/name"], format!("k8s-gpu-mcp-server{test}"));
            assert_eq!(labels["app.kubernetes.io/component"], "gpu-diagnostics");
        }
        assert_eq!(rendered.find("ServiceAccount")["automountServiceAccountToken"], false);

        let policy = &rendered.find("NetworkPolicy")["spec"];
        assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
        assert!(policy.get("ingress").is_none() && policy.get("egress").is_none());

        let daemonset = &rendered.find("DaemonSet")["spec"];
        let selector = &daemonset["selector"]["matchLabels"];
        for (key, value) in selector.as_object().expect("labels") {
            assert_eq!(daemonset["template"]["metadata"]["labels"][key], *value);
        }
    }
}

#[test]
fn the_default_pod_runs_on_gpu_nodes_and_asks_for_next_to_nothing() {
    for helm in Helm::all("the_default_pod_runs_on_gpu_nodes_and_asks_for_next_to_nothing") {
        let rendered = helm.render(&[]);
        let pod = rendered.pod();
        assert_eq!(pod["nodeSelector"], json!({"nvidia.com/gpu.present": "true"}));
        assert_eq!(
            pod["tolerations"],
            json!([{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}])
        );
        assert_eq!(pod["runtimeClassName"], "nvidia");

        let container = rendered.container();
        assert_eq!(container["command"], json!(["/agent", "pause"]));
        assert_eq!(
            container["resources"],
            json!({
                "requests": {"cpu": "1m", "memory": "10Mi"},
                "limits": {"cpu": "100m", "memory": "50Mi"},
            })
        );
        assert_eq!(
            rendered.env(),
            [
                ("NODE_NAME", None),
                ("NVIDIA_VISIBLE_DEVICES", Some("all")),
                ("NVIDIA_DRIVER_CAPABILITIES", Some("utility")),
            ]
        );
        assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["fieldPath"], "spec.nodeName");
    }
}

#[test]
fn whatever_the_mode_nothing_listens_and_no_gpu_is_taken() {
    for helm in Helm::all("whatever_the_mode_nothing_listens_and_no_gpu_is_taken") {
        for (mode, values) in MODES {
            let rendered = helm.render(values);
            let kinds = rendered.kinds();
            assert!(!kinds.contains(&"Service") && !kinds.contains(&"ClusterRole"), "{mode}");
            let pod = rendered.pod();
            for field in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"] {
                assert!(pod.get(field).is_none(), "{mode}: {field}");
            }
            assert_eq!(pod["automountServiceAccountToken"], false, "{mode}");
            assert_eq!(pod["enableServiceLinks"], false, "{mode}");
            let container = rendered.container();
            assert!(container.get("ports").is_none(), "{mode}");
            assert_eq!(rendered.security()["readOnlyRootFilesystem"], true, "{mode}");
            for which in ["requests", "limits"] {
                let named = container["resources"][which].as_object().expect("resources");
                assert_eq!(named.keys().collect::<Vec<_>>(), ["cpu", "memory"], "{mode}: {which}");
            }
        }
    }
}

#[test]
fn a_mode_mounts_what_it_needs_and_only_the_recorder_can_write() {
    let test = "a_mode_mounts_what_it_needs_and_only_the_recorder_can_write";
    let host = |name: &str, path: &str, r#type: &str| json!({"name": name, "hostPath": {"path": path, "type": r#type}});
    for helm in Helm::all(test) {
        for (mode, values) in MODES {
            let rendered = helm.render(values);
            let records = mode.contains("ebpf");
            let role = if records { "record" } else { "pause" };
            assert_eq!(rendered.container()["command"], json!(["/agent", role]), "{mode}");
            let wanted = [
                (
                    records,
                    json!({"name": "recorder", "emptyDir": {"sizeLimit": "64Mi"}}),
                    "/run/k8s-gpu-mcp-server",
                ),
                (
                    mode.starts_with("privileged"),
                    host("nvml", "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1", "File"),
                    "/driver/libnvidia-ml.so.1",
                ),
                (
                    mode.contains("volume mount"),
                    host("all-gpus", "/dev/null", "CharDevice"),
                    "/var/run/nvidia-container-devices/all",
                ),
                (
                    records && !mode.contains("no names"),
                    host("pod-names", "/var/log/containers", "Directory"),
                    "/var/log/containers",
                ),
                (
                    mode.contains("pod resources"),
                    host("pod-resources", "/var/lib/kubelet/pod-resources", "Directory"),
                    "/var/lib/kubelet/pod-resources",
                ),
            ];
            let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
            for (_, volume, at) in wanted.into_iter().filter(|(has, ..)| *has) {
                let mut mount = json!({"name": volume["name"], "mountPath": at});
                if volume.get("hostPath").is_some() {
                    mount["readOnly"] = json!(true);
                }
                volumes.push(volume);
                mounts.push(mount);
            }
            let list = |object: &Value, name: &str| {
                object.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
            };
            assert_eq!(list(rendered.pod(), "volumes"), volumes, "{mode}");
            assert_eq!(list(rendered.container(), "volumeMounts"), mounts, "{mode}");
        }
    }
    // The agent looks for them there without being told.
    let help = Command::new(e2e::agent_path()).arg("--help").output().expect("the agent runs");
    let help = String::from_utf8_lossy(&help.stdout);
    assert!(help.contains("[default: /run/k8s-gpu-mcp-server/agent.sock]"), "{help}");
}

/// Validates the documents on stdin, equal ones once, against the schema of each Kubernetes version named as an argument.
const VALIDATE: &str = r#"
import json, sys, yaml, kubernetes_validate as kv
docs = {json.dumps(d, sort_keys=True): d for d in yaml.safe_load_all(sys.stdin) if d}
for d in docs.values():
    for v in sys.argv[1:]:
        try: kv.validate(d, v, strict=True)
        except Exception as e: sys.exit(f"{d['kind']} for {v}: {e}")
"#;

#[test]
fn every_kubernetes_from_1_25_to_1_37_knows_every_field() {
    let test = "every_kubernetes_from_1_25_to_1_37_knows_every_field";
    let helms = Helm::all(test);
    if helms.is_empty() {
        return;
    }
    let python = env::var_os("E2E_PYTHON").unwrap_or_else(|| "python3".into());
    let has_schemas = Command::new(&python)
        .args(["-c", "import yaml, kubernetes_validate"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !has_schemas {
        skip(test, "the Python of E2E_PYTHON has no kubernetes_validate");
        return;
    }
    // What the chart renders for one version's API need not be valid for another's.
    for (versions, of) in [
        (25..=37, &(|mode: &str| !mode.starts_with("dra")) as &dyn Fn(&str) -> bool),
        (32..=33, &|mode| mode == "dra before v1"),
        (34..=37, &|mode| mode.starts_with("dra") && mode != "dra before v1"),
    ] {
        let mut manifests = tempfile::tempfile().expect("a temporary file");
        for (helm, (_, values)) in helms.iter().flat_map(|helm| {
            MODES.iter().filter(|(mode, _)| of(mode)).map(move |mode| (helm, mode))
        }) {
            let mut arguments = values.to_vec();
            arguments.extend(["--set", "namespace.create=true", "--set"]);
            arguments.push("rbac.diagnosticians[0].kind=Group,rbac.diagnosticians[0].name=sre");
            manifests.write_all(helm.text(&arguments).as_bytes()).expect("written");
        }
        manifests.rewind().expect("a file has a start");
        let out = Command::new(&python)
            .args(["-c", VALIDATE])
            .args(versions.map(|minor| format!("1.{minor}")))
            .stdin(manifests)
            .output()
            .expect("Python ran a moment ago");
        assert!(out.status.success(), "{}", stderr(&out));
    }
}
