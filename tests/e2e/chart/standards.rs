//! The Pod Security Standards as far as a pod of this chart could offend against them, and which of them admits which mode.
//! The rules are those of Kubernetes' documentation for 1.25 to 1.37; that they are these, nothing here can show but the
//! cases that each is held against.

use serde_json::{Value, json};

use super::{Helm, MODES};

/// Capabilities that `baseline` lets a container add.
const HARMLESS: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Volumes that `restricted` admits.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// The strictest standard that admits a pod.
fn strictest(pod: &Value) -> &'static str {
    let containers = list(&pod["containers"]);
    if !containers.iter().all(|container| is_baseline(pod, container)) {
        return "privileged";
    }
    let volumes = list(&pod["volumes"]);
    let plain = |volume: &Value| VOLUMES.iter().any(|kind| volume.get(kind).is_some());
    let restricted = volumes.iter().all(plain)
        && containers.iter().all(|container| is_restricted(pod, container));
    if restricted { "restricted" } else { "baseline" }
}

fn is_baseline(pod: &Value, container: &Value) -> bool {
    let security = &container["securityContext"];
    let added = list(&security["capabilities"]["add"]);
    let seccomp = either(pod, security, "/seccompProfile/type");
    let host = ["hostNetwork", "hostPID", "hostIPC"].iter().any(|field| pod[field] == true);
    let ports = list(&container["ports"]);
    !host
        && !list(&pod["volumes"]).iter().any(|volume| volume.get("hostPath").is_some())
        && !ports.iter().any(|port| port.get("hostPort").is_some_and(|port| port != 0))
        && security["privileged"] != true
        && added.iter().all(|name| HARMLESS.iter().any(|harmless| name == harmless))
        && seccomp != "Unconfined"
        && either(pod, security, "/appArmorProfile/type") != "Unconfined"
        && either(pod, security, "/seLinuxOptions").is_null()
        && matches!(security["procMount"].as_str(), None | Some("Default"))
        && list(&pod["securityContext"]["sysctls"]).is_empty()
}

fn is_restricted(pod: &Value, container: &Value) -> bool {
    let security = &container["securityContext"];
    let capabilities = &security["capabilities"];
    let seccomp = either(pod, security, "/seccompProfile/type");
    security["allowPrivilegeEscalation"] == false
        && either(pod, security, "/runAsNonRoot") == true
        && either(pod, security, "/runAsUser") != 0
        && (seccomp == "RuntimeDefault" || seccomp == "Localhost")
        && list(&capabilities["drop"]).iter().any(|name| name == "ALL")
        && list(&capabilities["add"]).iter().all(|name| name == "NET_BIND_SERVICE")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// What the container says, else what the pod says.
fn either(pod: &Value, security: &Value, pointer: &str) -> Value {
    let of_pod = || pod["securityContext"].pointer(pointer);
    security.pointer(pointer).or_else(of_pod).cloned().unwrap_or(Value::Null)
}

#[test]
fn the_namespace_enforces_the_strictest_standard_that_admits_the_pods() {
    const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
    const ADMIN: [&str; 2] =
        ["resource.kubernetes.io/admin-access", "resource.k8s.io/admin-access"];
    for helm in Helm::all("the_namespace_enforces_the_strictest_standard_that_admits_the_pods") {
        for (mode, values) in MODES {
            let mut arguments = values.to_vec();
            arguments.extend(["--set", "namespace.create=true,namespace.name=elsewhere"]);
            let rendered = helm.render(&arguments);
            let namespace = &rendered.find("Namespace")["metadata"];
            assert_eq!(namespace["name"], "elsewhere");
            assert_eq!(rendered.find("DaemonSet")["metadata"]["namespace"], "elsewhere");
            let labels = &namespace["labels"];
            for pod in [rendered.pod(), &rendered.find("Pod")["spec"]] {
                assert_eq!(labels[ENFORCE], strictest(pod), "{mode}");
            }
            // What the table in docs/security.md says.
            let level = match *mode {
                mode if mode.contains("rootless") => "restricted",
                mode if ["ebpf", "kernel log", "pod resources", "privileged", "volume mount"]
                    .iter()
                    .any(|it| mode.contains(it)) =>
                {
                    "privileged"
                }
                _ => "baseline",
            };
            assert_eq!(labels[ENFORCE], level, "{mode}");
            let admin = ADMIN.map(|label| labels.get(label).is_some());
            let wanted = [mode.starts_with("dra"), *mode == "dra before v1"];
            assert_eq!(admin, wanted, "{mode}");
        }
    }
}

#[test]
fn each_rule_of_the_standards_tells_a_pod_that_breaks_it() {
    let cases = [
        ("/hostNetwork", json!(true), "privileged"),
        ("/hostPID", json!(true), "privileged"),
        ("/hostIPC", json!(true), "privileged"),
        ("/volumes", json!([{"name": "x", "hostPath": {"path": "/x"}}]), "privileged"),
        ("/volumes", json!([{"name": "x", "nfs": {}}]), "baseline"),
        ("/volumes", json!([{"name": "x", "emptyDir": {}}]), "restricted"),
        ("/securityContext", json!({"sysctls": [{"name": "x"}]}), "privileged"),
        ("/containers/0/ports", json!([{"hostPort": 1}]), "privileged"),
        ("/containers/0/securityContext/privileged", json!(true), "privileged"),
        ("/containers/0/securityContext/capabilities/add", json!(["BPF"]), "privileged"),
        ("/containers/0/securityContext/capabilities/add", json!(["CHOWN"]), "baseline"),
        ("/containers/0/securityContext/capabilities/drop", json!(["BPF"]), "baseline"),
        ("/containers/0/securityContext/seccompProfile/type", json!("Unconfined"), "privileged"),
        ("/containers/0/securityContext/seccompProfile", json!(null), "baseline"),
        ("/containers/0/securityContext/seLinuxOptions", json!({"type": "spc_t"}), "privileged"),
        (
            "/containers/0/securityContext/appArmorProfile",
            json!({"type": "Unconfined"}),
            "privileged",
        ),
        ("/containers/0/securityContext/procMount", json!("Unmasked"), "privileged"),
        ("/containers/0/securityContext/allowPrivilegeEscalation", json!(true), "baseline"),
        ("/containers/0/securityContext/runAsNonRoot", json!(false), "baseline"),
        ("/containers/0/securityContext/runAsUser", json!(0), "baseline"),
    ];
    for helm in Helm::all("each_rule_of_the_standards_tells_a_pod_that_breaks_it") {
        let rendered = helm.render(&["--set", "rootless=true"]);
        for (pointer, value, level) in &cases {
            let mut pod = rendered.pod().clone();
            let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
            pod.pointer_mut(parent).expect("it is there")[field] = value.clone();
            assert_eq!(strictest(&pod), *level, "{pointer} = {value}");
        }
    }
}
