//! What the pods may do, by which way they come by the GPUs, and what people may do to the pods.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{ACKNOWLEDGED, DRA, Helm, MODES};

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
