//! What can be set, and what cannot.

use std::{collections::BTreeSet, fs};

use serde_json::json;

use super::{ACKNOWLEDGED, Helm, MODES};

#[test]
fn values_that_contradict_each_other_are_refused_in_words() {
    let cases: &[(&[&str], &str)] = &[
        (
            &["--set", "rootless=true,ebpf.enabled=true"],
            "ebpf.enabled adds capabilities, which Kubernetes gives to UID 0 alone: rootless=false",
        ),
        (
            &["--set", "rootless=true,xid.kernelLog=true"],
            "xid.kernelLog adds a capability, which Kubernetes gives to UID 0 alone: rootless=false",
        ),
        (
            &["--set", "rootless=true,gpuAccess.method=privileged", "--set-string", ACKNOWLEDGED],
            "is root on the node: rootless=false",
        ),
        (
            &["--set", "rootless=true,gpuAccess.request=volumeMount"],
            "admits no host path: gpuAccess.request=env or cdi",
        ),
        (
            &["--set", "rootless=true,podResources.enabled=true"],
            "root alone may use the socket in it: rootless=false",
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
        "gpuAccess.request=annotation",
        "gpuAccess.cdiDevice=all",
        "ebpf.podnames=true",
        "podResources=true",
        "podResources.path=kubelet",
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
fn what_the_notes_and_the_agent_s_remedies_say_to_set_can_be_set() {
    let test = "what_the_notes_and_the_agent_s_remedies_say_to_set_can_be_set";
    let named = |text: &str| -> BTreeSet<String> {
        let ends = |letter: char| letter.is_whitespace() || "`\"".contains(letter);
        let behind = ["--set ", "chart: `"].iter().flat_map(|before| text.split(before).skip(1));
        behind.filter_map(|rest| rest.split(ends).next()).map(str::to_owned).collect()
    };
    let sources = ["kernel/tracer.rs", "kernel/kernel_log/mod.rs", "pods/mod.rs"].map(|file| {
        fs::read_to_string(e2e::repository().join("agent/src").join(file))
            .expect("a source of the agent")
    });
    let remedies = named(&sources.concat());
    for value in [
        "ebpf.enabled=true",
        "xid.kernelLog=true",
        "ebpf.podNames=true",
        "podResources.enabled=true",
    ] {
        assert!(remedies.contains(value), "{value}: {remedies:?}");
    }
    for helm in Helm::all(test) {
        for value in &remedies {
            // One of them is said of what eBPF sees.
            helm.render(&["--set", "ebpf.enabled=true", "--set", value]);
        }
        for (mode, values) in MODES {
            let notes = helm.notes(values);
            for next in ["exec -i <pod> -- /agent", "helm test gpu -n gpu-diagnostics --logs"] {
                assert!(notes.contains(next), "{mode}: {notes}");
            }
            let label = notes.contains("/admin-access=true");
            assert_eq!(label, mode.starts_with("dra"), "{mode}: {notes}");
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
