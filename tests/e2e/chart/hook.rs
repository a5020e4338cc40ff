//! What `helm test` runs: the agent's own `doctor`, in a pod that differs from the agent's in nothing that decides what can
//! be seen.

use std::collections::BTreeSet;

use e2e::{run, simulated};
use serde_json::{Value, json};

use super::{Helm, MODES};

/// A pod's spec without what a test and an agent differ in: the command, how it ends, and the recorder's volume.
fn rights(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let without_recorder = |list: &mut Value| {
        if let Some(list) = list.as_array_mut() {
            list.retain(|item| item["name"] != "recorder");
        }
    };
    without_recorder(&mut spec["volumes"]);
    let container = &mut spec["containers"][0];
    without_recorder(&mut container["volumeMounts"]);
    container["command"] = Value::Null;
    spec["restartPolicy"] = Value::Null;
    spec
}

#[test]
fn the_test_has_the_agent_s_rights_and_is_no_agent_to_anybody() {
    for helm in Helm::all("the_test_has_the_agent_s_rights_and_is_no_agent_to_anybody") {
        for (mode, values) in MODES {
            let rendered = helm.render(values);
            let (test, daemonset) = (rendered.find("Pod"), rendered.find("DaemonSet"));
            let mut agent = rights(rendered.pod());
            // An empty list says what none says.
            for list in ["/volumes", "/containers/0/volumeMounts"] {
                let list = agent.pointer_mut(list).expect("set a moment ago");
                if list.as_array().is_some_and(Vec::is_empty) {
                    *list = Value::Null;
                }
            }
            assert_eq!(rights(&test["spec"]), agent, "{mode}");
            assert_eq!(test["spec"]["restartPolicy"], "Never");
            let annotations = test["metadata"]["annotations"].as_object().expect("annotations");
            let of_agent = &daemonset["spec"]["template"]["metadata"]["annotations"];
            for (key, value) in of_agent.as_object().expect("annotations") {
                assert_eq!(annotations[key], *value, "{mode}");
            }
            assert_eq!(annotations["helm.sh/hook"], "test");

            // The DaemonSet would take a pod with its labels for one of its own, and delete it as one too many.
            let labels = &test["metadata"]["labels"];
            let selector = &daemonset["spec"]["selector"]["matchLabels"];
            assert_ne!(labels["app.kubernetes.io/name"], selector["app.kubernetes.io/name"]);
            let closed = &rendered.find("NetworkPolicy")["spec"]["podSelector"];
            let [instance, name] = ["app.kubernetes.io/instance", "app.kubernetes.io/name"];
            assert_eq!(closed["matchLabels"], json!({instance: labels[instance]}));
            let names = json!([selector[name], labels[name]]);
            assert_eq!(
                closed["matchExpressions"],
                json!([{"key": name, "operator": "In", "values": names}])
            );
        }
    }
}

#[test]
fn the_test_asks_for_what_the_values_give() {
    for helm in Helm::all("the_test_asks_for_what_the_values_give") {
        for (mode, values) in MODES {
            let rendered = helm.render(values);
            let command = rendered.find("Pod")["spec"]["containers"][0]["command"].clone();
            let command: Vec<&str> =
                command.as_array().expect("a command").iter().filter_map(Value::as_str).collect();
            let expected: BTreeSet<&str> = match command.as_slice() {
                ["/agent", "doctor"] => BTreeSet::new(),
                ["/agent", "doctor", "--expect", expected] => expected.split(',').collect(),
                other => panic!("{mode}: {other:?}"),
            };
            let given = [
                ("nvml", !mode.starts_with("no gpu")),
                ("ebpf", mode.contains("ebpf")),
                ("kernel_log", mode.contains("kernel log")),
            ];
            let given = given.into_iter().filter_map(|(name, is)| is.then_some(name)).collect();
            assert_eq!(expected, given, "{mode}");
            // The agent knows the command, and keeps its word: here nothing is given but simulated GPUs.
            let exit = run(simulated().args(["--ebpf", "off"]).args(&command[1..]))
                .expect("the agent runs");
            let had = expected.iter().all(|name| *name == "nvml");
            assert_eq!(exit.code, Some(if had { 0 } else { 3 }), "{mode}: {}", exit.stderr);
        }
    }
}
