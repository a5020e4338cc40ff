//! What the pods may do, by which way they come by the GPUs, and what people may do to the pods.

use serde_json::{Value, json};

use super::{ACKNOWLEDGED, DRA, GATE_IS_ON, Helm, MODES};

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
            let env = rendered.env();
            let by = |way: &str| asks_runtime && mode.contains(way);
            let by_env = asks_runtime && !by("volume mount") && !by("cdi");
            assert_eq!(env.contains(&("NVIDIA_VISIBLE_DEVICES", Some("all"))), by_env, "{mode}");
            let utility = env.contains(&("NVIDIA_DRIVER_CAPABILITIES", Some("utility")));
            assert_eq!(utility, asks_runtime, "{mode}");
            // A toolkit that is asked for this by an unprivileged container does not start it.
            assert!(!env.iter().any(|(name, _)| name.starts_with("NVIDIA_MIG")), "{mode}");
            let annotations =
                &rendered.find("DaemonSet")["spec"]["template"]["metadata"]["annotations"];
            for key in ["nvidia.cdi.k8s.io/container.agent", "cdi.k8s.io/k8s-gpu-mcp-server"] {
                let asked = by("cdi").then(|| json!("nvidia.com/gpu=all"));
                assert_eq!(annotations.get(key), asked.as_ref(), "{mode}");
            }
            let class = rendered.pod().get("runtimeClassName").and_then(Value::as_str);
            let without = mode.starts_with("default runtime") || mode.starts_with("device plugin");
            let expected = (asks_runtime && !without).then_some("nvidia");
            assert_eq!(class, expected, "{mode}");
            let claims = rendered.pod().get("resourceClaims").is_some();
            assert_eq!(claims, mode.starts_with("dra"), "{mode}");
        }
    }
}

#[test]
fn a_claim_watches_all_gpus_and_allocates_none() {
    for helm in Helm::all("a_claim_watches_all_gpus_and_allocates_none") {
        let asked = |values: &[&str]| {
            let rendered = helm.render(values);
            let template = rendered.find("ResourceClaimTemplate");
            let claim = json!([{"name": "gpus", "resourceClaimTemplateName": template["metadata"]["name"]}]);
            assert_eq!(rendered.pod()["resourceClaims"], claim);
            assert_eq!(rendered.container()["resources"]["claims"], json!([{"name": "gpus"}]));
            let requests = template["spec"]["spec"]["devices"]["requests"].clone();
            (template["apiVersion"].clone(), requests)
        };
        let exactly = json!({
            "deviceClassName": "gpu.nvidia.com",
            "allocationMode": "All",
            "adminAccess": true,
            "tolerations": [{"operator": "Exists"}],
        });
        let v1 = (json!("resource.k8s.io/v1"), json!([{"name": "gpus", "exactly": exactly}]));
        assert_eq!(asked(DRA), v1);
        let gke = ["--kube-version", "v1.35.1-gke.7", "--set", "gpuAccess.method=dra"];
        assert_eq!(asked(&gke), v1);

        let old = |version| ["--set", "gpuAccess.method=dra", "--kube-version", version];
        let v1beta1 = json!([{
            "name": "gpus",
            "deviceClassName": "gpu.nvidia.com",
            "allocationMode": "All",
            "adminAccess": true,
        }]);
        for version in ["1.32.0", "v1.33.9-eks-1"] {
            // Where adminAccess is off the API server drops it silently, and the claim would take every GPU.
            let refused = helm.refusal(&old(version));
            assert!(refused.contains("takes every GPU"), "{refused}");
            let mut acknowledged = old(version).to_vec();
            acknowledged.extend(["--set-string", GATE_IS_ON]);
            let asked = asked(&acknowledged);
            assert_eq!(asked, (json!("resource.k8s.io/v1beta1"), v1beta1.clone()));
        }
        let mut older = old("1.31.9").to_vec();
        older.extend(["--set-string", GATE_IS_ON]);
        assert!(helm.refusal(&older).contains("needs Kubernetes 1.32"));
    }
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
