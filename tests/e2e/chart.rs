//! The Helm chart: linted, rendered with every combination of values that changes what the pods may do, and checked
//! against the schemas of the Kubernetes versions that it is for.
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

mod helm;
mod pod;

use std::{
    collections::BTreeSet,
    env, fs,
    io::{Seek as _, Write as _},
    process::{Command, Stdio},
};

use helm::{Helm, NAMESPACE, skip, stderr};
use serde_json::{Value, json};

const ACKNOWLEDGED: &str =
    "gpuAccess.privileged.acknowledge=I understand that these pods can take over their nodes";
const DRA: &[&str] = &["--api-versions", "resource.k8s.io/v1", "--set", "gpuAccess.method=dra"];

/// The combinations that differ in what the pods may do, by name.
const MODES: &[(&str, &[&str])] = &[
    ("default", &[]),
    ("default runtime", &["--set", "gpuAccess.runtimeClass.name="]),
    ("ebpf", &["--set", "ebpf.enabled=true"]),
    ("kernel log", &["--set", "xid.kernelLog=true"]),
    ("ebpf, kernel log", &["--set", "ebpf.enabled=true,xid.kernelLog=true"]),
    ("rootless", &["--set", "rootless=true"]),
    ("no gpu", &["--set", "gpuAccess.method=none"]),
    ("no gpu, ebpf", &["--set", "gpuAccess.method=none,ebpf.enabled=true"]),
    ("dra", DRA),
    (
        "dra, rootless",
        &["--api-versions", "resource.k8s.io/v1", "--set", "gpuAccess.method=dra,rootless=true"],
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
            // `helm lint` has no --api-versions, so what needs it is only rendered.
            if values.contains(&"--api-versions") {
                continue;
            }
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
        assert_eq!(rendered.kinds(), ["DaemonSet", "NetworkPolicy", "Role", "ServiceAccount"]);
        for object in &rendered.0 {
            let labels = &object["metadata"]["labels"];
            assert_eq!(object["metadata"]["namespace"], NAMESPACE);
            assert_eq!(labels["app.kubernetes.io/name"], "k8s-gpu-mcp-server");
            assert_eq!(labels["app.kubernetes.io/component"], "gpu-diagnostics");
        }
        assert_eq!(rendered.find("ServiceAccount")["automountServiceAccountToken"], false);

        let policy = &rendered.find("NetworkPolicy")["spec"];
        assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
        assert!(policy.get("ingress").is_none() && policy.get("egress").is_none());

        let daemonset = &rendered.find("DaemonSet")["spec"];
        let selector = &daemonset["selector"]["matchLabels"];
        assert_eq!(policy["podSelector"]["matchLabels"], *selector);
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
fn each_mode_has_the_rights_it_needs_and_no_other() {
    for helm in Helm::all("each_mode_has_the_rights_it_needs_and_no_other") {
        for (mode, values) in MODES.iter().filter(|(mode, _)| !mode.starts_with("privileged")) {
            let rendered = helm.render(values);
            let security = rendered.security();
            let mut capabilities = json!({"drop": ["ALL"]});
            if let Some(added) = match (mode.contains("ebpf"), mode.contains("kernel log")) {
                (true, true) => Some(json!(["BPF", "PERFMON", "SYSLOG"])),
                (true, false) => Some(json!(["BPF", "PERFMON"])),
                (false, true) => Some(json!(["SYSLOG"])),
                (false, false) => None,
            } {
                capabilities["add"] = added;
            }
            assert_eq!(security["capabilities"], capabilities, "{mode}");
            assert_eq!(security["privileged"], false, "{mode}");
            assert_eq!(security["allowPrivilegeEscalation"], false, "{mode}");
            assert_eq!(security["seccompProfile"], json!({"type": "RuntimeDefault"}), "{mode}");
            if mode.contains("rootless") {
                assert_eq!(security["runAsNonRoot"], true, "{mode}");
                assert_eq!(security["runAsUser"], 65532, "{mode}");
            } else {
                assert_eq!(security["runAsUser"], 0, "{mode}");
            }
        }
    }
}

#[test]
fn where_ebpf_is_on_the_pod_records_in_a_volume_of_its_own_and_else_it_has_none() {
    let test = "where_ebpf_is_on_the_pod_records_in_a_volume_of_its_own_and_else_it_has_none";
    let recorder = json!({"name": "recorder", "emptyDir": {"sizeLimit": "64Mi"}});
    let nvml = json!({"name": "nvml", "hostPath": {
        "path": "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
        "type": "File",
    }});
    let mount = json!({"name": "recorder", "mountPath": "/run/k8s-gpu-mcp-server"});
    for helm in Helm::all(test) {
        for (mode, values) in MODES {
            let rendered = helm.render(values);
            let records = mode.contains("ebpf");
            let role = if records { "record" } else { "pause" };
            assert_eq!(rendered.container()["command"], json!(["/agent", role]), "{mode}");
            let wanted = [(records, &recorder), (mode.starts_with("privileged"), &nvml)];
            let wanted: Vec<&Value> =
                wanted.into_iter().filter_map(|(has, volume)| has.then_some(volume)).collect();
            let volumes = rendered.pod().get("volumes").and_then(Value::as_array);
            let volumes: Vec<&Value> = volumes.into_iter().flatten().collect();
            assert_eq!(volumes, wanted, "{mode}");
            let mounts = rendered.container().get("volumeMounts").and_then(Value::as_array);
            let mounts: Vec<&Value> = mounts.into_iter().flatten().collect();
            assert_eq!(mounts.len(), wanted.len(), "{mode}");
            assert_eq!(mounts.contains(&&mount), records, "{mode}");
        }
    }
    // The agent finds it there without being told.
    let help = Command::new(e2e::agent_path()).arg("--help").output().expect("the agent runs");
    let help = String::from_utf8_lossy(&help.stdout);
    assert!(help.contains("[default: /run/k8s-gpu-mcp-server/agent.sock]"), "{help}");
}

#[test]
fn gpu_access_is_by_one_way_at_a_time() {
    for helm in Helm::all("gpu_access_is_by_one_way_at_a_time") {
        for (mode, values) in MODES {
            let rendered = helm.render(values);
            let others = ["no gpu", "dra", "privileged"];
            let asks_runtime = !others.iter().any(|other| mode.starts_with(other));
            let names: BTreeSet<&str> = rendered.env().into_iter().map(|(name, _)| name).collect();
            assert_eq!(names.contains("NVIDIA_VISIBLE_DEVICES"), asks_runtime, "{mode}");
            let class = rendered.pod().get("runtimeClassName").and_then(Value::as_str);
            let expected = (asks_runtime && *mode != "default runtime").then_some("nvidia");
            assert_eq!(class, expected, "{mode}");
            let claims = rendered.pod().get("resourceClaims").is_some();
            assert_eq!(claims, mode.starts_with("dra"), "{mode}");
        }
    }
}

#[test]
fn a_claim_watches_all_gpus_and_allocates_none() {
    for helm in Helm::all("a_claim_watches_all_gpus_and_allocates_none") {
        let rendered = helm.render(DRA);
        let template = rendered.find("ResourceClaimTemplate");
        assert_eq!(template["apiVersion"], "resource.k8s.io/v1");
        assert_eq!(
            template["spec"]["spec"]["devices"]["requests"],
            json!([{
                "name": "gpus",
                "exactly": {
                    "deviceClassName": "gpu.nvidia.com",
                    "allocationMode": "All",
                    "adminAccess": true,
                },
            }])
        );
        assert_eq!(
            rendered.pod()["resourceClaims"],
            json!([{"name": "gpus", "resourceClaimTemplateName": template["metadata"]["name"]}])
        );
        assert_eq!(rendered.container()["resources"]["claims"], json!([{"name": "gpus"}]));

        // Where adminAccess is off the API server drops it silently, and the claim would take every GPU.
        let old = ["--set", "gpuAccess.method=dra", "--api-versions", "resource.k8s.io/v1beta1"];
        if !has_the_api_by_itself(&helm) {
            assert!(helm.refusal(&old).contains("needs the API resource.k8s.io/v1"));
        }
    }
}

/// Whether this helm assumes, without a cluster, one that serves `resource.k8s.io/v1`.
fn has_the_api_by_itself(helm: &Helm) -> bool {
    helm.template(&["--set", "gpuAccess.method=dra"]).status.success()
}

#[test]
fn privileged_is_only_had_by_saying_what_it_is() {
    for helm in Helm::all("privileged_is_only_had_by_saying_what_it_is") {
        let refused = helm.refusal(&["--set", "gpuAccess.method=privileged"]);
        assert!(refused.contains("root on the nodes"), "{refused}");
        let half = ["--set", "gpuAccess.method=privileged,gpuAccess.privileged.acknowledge=yes"];
        assert!(helm.refusal(&half).contains("acknowledge"));

        let acknowledged = ["--set", "gpuAccess.method=privileged", "--set-string", ACKNOWLEDGED];
        let rendered = helm.render(&acknowledged);
        let security = rendered.security();
        assert_eq!(security["privileged"], true);
        // The API server refuses a privileged container that may not escalate.
        assert!(security.get("allowPrivilegeEscalation").is_none());
        assert_eq!(rendered.container()["volumeMounts"][0]["readOnly"], true);
        // By its privileges it could load BPF programs and read the kernel's log; it does by its owner's wish alone.
        for (mode, values) in MODES {
            let rendered = helm.render(values);
            for (variable, word) in [("AGENT_EBPF", "ebpf"), ("AGENT_KERNEL_LOG", "kernel log")] {
                let off = mode.starts_with("privileged") && !mode.contains(word);
                assert_eq!(rendered.env().contains(&(variable, Some("off"))), off, "{mode}");
            }
        }
    }
}

#[test]
fn values_that_contradict_each_other_are_refused_in_words() {
    let cases: &[(&[&str], &str)] = &[
        (&["--set", "rootless=true,ebpf.enabled=true"], "capabilities to UID 0 alone"),
        (&["--set", "rootless=true,xid.kernelLog=true"], "capabilities to UID 0 alone"),
        (
            &["--set", "rootless=true,gpuAccess.method=privileged", "--set-string", ACKNOWLEDGED],
            "contradict each other",
        ),
        (&["--set", "extraEnv[0].name=NODE_NAME"], "the chart's own to set"),
        (&["--set", "extraEnv[0].name=NVIDIA_VISIBLE_DEVICES"], "the chart's own to set"),
        (
            &["--set", "rbac.diagnosticians[0].kind=ServiceAccount,rbac.diagnosticians[0].name=x"],
            "needs a namespace",
        ),
        (
            &[
                "--set",
                "namespace.name=kube-system",
                "--set",
                "rbac.diagnosticians[0].kind=Group,rbac.diagnosticians[0].name=sre",
            ],
            "exec into every pod of the namespace kube-system",
        ),
    ];
    for helm in Helm::all("values_that_contradict_each_other_are_refused_in_words") {
        for (values, words) in cases {
            let refused = helm.refusal(values);
            assert!(refused.contains(words), "{values:?}: {refused}");
        }
    }
}

#[test]
fn unknown_and_wrong_values_are_refused_by_the_schema() {
    let cases = [
        "nope=1",
        "gpuAccess.methud=none",
        "gpuAccess.method=hostPath",
        "gpuAccess.privileged.yes=true",
        "ebpf.enable=true",
        "ebpf.enabled=maybe",
        "xid.kernellog=true",
        "xid.kernelLog=auto",
        "image.digest=sha256:abc",
        "image.pullPolicy=Sometimes",
        "resources.limits.nvidia\\.com/gpu=1",
        "resources.requests.nvidia\\.com/gpu=0",
        "securityContext.privileged=true",
        "service.enabled=true",
        "hostPID=true",
        "networkPolicy.enabled=false",
        "rbac.diagnosticians[0].kind=Everybody,rbac.diagnosticians[0].name=x",
        "tolerations[0].opreator=Exists",
        "updateStrategy.type=Recreate",
    ];
    for helm in Helm::all("unknown_and_wrong_values_are_refused_by_the_schema") {
        for value in cases {
            let refused = helm.refusal(&["--set", value]);
            assert!(refused.contains("values don't meet the specifications"), "{value}: {refused}");
        }
    }
}

#[test]
fn a_diagnostician_may_find_the_pods_and_exec_and_nothing_else() {
    let group = "rbac.diagnosticians[0].kind=Group,rbac.diagnosticians[0].name=gpu-sre";
    for helm in Helm::all("a_diagnostician_may_find_the_pods_and_exec_and_nothing_else") {
        let rendered = helm.render(&["--set", group]);
        let role = rendered.find("Role");
        assert_eq!(
            role["rules"],
            json!([
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
                {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]},
            ])
        );
        let binding = rendered.find("RoleBinding");
        assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
        assert_eq!(
            binding["subjects"],
            json!([{
                "kind": "Group",
                "name": "gpu-sre",
                "apiGroup": "rbac.authorization.k8s.io",
            }])
        );
        let without = helm.render(&["--set", "rbac.create=false"]);
        assert!(!without.kinds().contains(&"Role"));
    }
}

#[test]
fn a_digest_wins_over_a_tag() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    for helm in Helm::all("a_digest_wins_over_a_tag") {
        let image = |set: &str| helm.render(&["--set", set]).container()["image"].clone();
        assert_eq!(image("image.tag="), "k8s-gpu-mcp-server:0.1.0");
        assert_eq!(
            image("image.repository=registry.example:5000/gpu/agent,image.tag=1.2"),
            "registry.example:5000/gpu/agent:1.2"
        );
        assert_eq!(
            image(&format!("image.tag=1.2,image.digest={digest}")),
            format!("k8s-gpu-mcp-server@{digest}")
        );
    }
}

#[test]
fn what_users_add_does_not_undo_what_the_chart_says() {
    for helm in Helm::all("what_users_add_does_not_undo_what_the_chart_says") {
        let rendered = helm.render(&[
            "--set-string",
            "podLabels.app\\.kubernetes\\.io/name=mine,podLabels.team=gpu",
            "--set-string",
            "podAnnotations.note=hello",
            "--set",
            "extraEnv[0].name=AGENT_LOG_LEVEL,extraEnv[0].value=info",
            "--set",
            "image.pullSecrets[0].name=registry,priorityClassName=system-node-critical",
            // How an entry of a default map is taken away.
            "--set",
            "nodeSelector.nvidia\\.com/gpu\\.present=null,nodeSelector.pool=gpu",
        ]);
        let metadata = &rendered.find("DaemonSet")["spec"]["template"]["metadata"];
        assert_eq!(metadata["labels"]["app.kubernetes.io/name"], "k8s-gpu-mcp-server");
        assert_eq!(metadata["labels"]["team"], "gpu");
        assert_eq!(metadata["annotations"]["note"], "hello");
        assert!(rendered.env().contains(&("AGENT_LOG_LEVEL", Some("info"))));
        let pod = rendered.pod();
        assert_eq!(pod["imagePullSecrets"], json!([{"name": "registry"}]));
        assert_eq!(pod["priorityClassName"], "system-node-critical");
        assert_eq!(pod["nodeSelector"], json!({"pool": "gpu"}));
    }
}

#[test]
fn the_namespace_enforces_the_strictest_standard_that_admits_the_pods() {
    const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
    const ADMIN: &str = "resource.kubernetes.io/admin-access";
    for helm in Helm::all("the_namespace_enforces_the_strictest_standard_that_admits_the_pods") {
        for (mode, values) in MODES {
            let mut arguments = values.to_vec();
            arguments.extend(["--set", "namespace.create=true,namespace.name=elsewhere"]);
            let rendered = helm.render(&arguments);
            let namespace = &rendered.find("Namespace")["metadata"];
            assert_eq!(namespace["name"], "elsewhere");
            assert_eq!(rendered.find("DaemonSet")["metadata"]["namespace"], "elsewhere");
            let level = match *mode {
                mode if mode.contains("rootless") => "restricted",
                mode if ["ebpf", "kernel log", "privileged"].iter().any(|it| mode.contains(it)) => {
                    "privileged"
                }
                _ => "baseline",
            };
            assert_eq!(namespace["labels"][ENFORCE], level, "{mode}");
            let admin = namespace["labels"].get(ADMIN).is_some();
            assert_eq!(admin, mode.starts_with("dra"), "{mode}");
        }
    }
}

#[test]
fn what_the_notes_and_the_agent_s_remedies_say_to_set_can_be_set() {
    let test = "what_the_notes_and_the_agent_s_remedies_say_to_set_can_be_set";
    let named = |text: &str| -> BTreeSet<String> {
        let ends = |letter: char| letter.is_whitespace() || "`\"".contains(letter);
        let behind = ["--set ", "chart: `"].iter().flat_map(|before| text.split(before).skip(1));
        behind.filter_map(|rest| rest.split(ends).next()).map(str::to_owned).collect()
    };
    let kernel = ["tracer.rs", "kernel_log/mod.rs"].map(|file| {
        fs::read_to_string(e2e::repository().join("agent/src/kernel").join(file))
            .expect("a source of the agent")
    });
    let remedies = named(&kernel.concat());
    assert!(remedies.contains("ebpf.enabled=true") && remedies.contains("xid.kernelLog=true"));
    for helm in Helm::all(test) {
        for value in &remedies {
            helm.render(&["--set", value]);
        }
        for (mode, values) in MODES {
            let notes = helm.notes(values);
            assert!(notes.contains("exec -i <pod> -- /agent"), "{mode}: {notes}");
            let mut on = BTreeSet::new();
            for value in named(&notes) {
                let mut arguments = values.to_vec();
                arguments.extend(["--set", &value]);
                // What is on already is not worth a command.
                assert_ne!(helm.text(&arguments), helm.text(values), "{mode}: {value}");
                on.extend(value.split(',').map(str::to_owned));
            }
            for (value, word) in
                [("ebpf.enabled=true", "ebpf"), ("xid.kernelLog=true", "kernel log")]
            {
                assert_eq!(on.contains(value), !mode.contains(word), "{mode}: {notes}");
            }
        }
    }
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
    // What the chart refuses to render for an older cluster need not be valid there.
    let (new, old): (Vec<_>, Vec<_>) = MODES.iter().partition(|(mode, _)| mode.starts_with("dra"));
    for (modes, oldest) in [(old, 25), (new, 34)] {
        let mut manifests = tempfile::tempfile().expect("a temporary file");
        for (helm, (_, values)) in
            helms.iter().flat_map(|helm| modes.iter().map(move |mode| (helm, mode)))
        {
            let mut arguments = values.to_vec();
            arguments.extend(["--set", "namespace.create=true", "--set"]);
            arguments.push("rbac.diagnosticians[0].kind=Group,rbac.diagnosticians[0].name=sre");
            manifests.write_all(helm.text(&arguments).as_bytes()).expect("written");
        }
        manifests.rewind().expect("a file has a start");
        let out = Command::new(&python)
            .args(["-c", VALIDATE])
            .args((oldest..=37).map(|minor| format!("1.{minor}")))
            .stdin(manifests)
            .output()
            .expect("Python ran a moment ago");
        assert!(out.status.success(), "{}", stderr(&out));
    }
}
