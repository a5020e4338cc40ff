//! Whose process it is that has a GPU open: a pod of the cluster, by namespace and name.
//!
//! No driver is needed. As in the other tests of devices the processors' CPUID stands in for a GPU's device, and a
//! `proc/devices` of the test's own calls its major number `nvidia`.

use anyhow::{Context as _, Error, Result};
use e2e::{Agent, stand_in};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, until},
    host,
    release::Release,
};

/// A pod of another namespace opens a device; the agent's session names it, and its end.
pub fn of_the_pod(cluster: &Cluster) -> Result<()> {
    let node = &cluster.gpu_nodes[0];
    let root = stand_in::Host::new()?;
    let release = Release::install(cluster, "names", &["ebpf.enabled=true"])?;
    release.give_root(cluster, &root)?;
    let mut session = release.pod(cluster, node)?.session(cluster)?;

    cluster.apply(&trainer(cluster, node).to_string())?;
    let trainer = until("the trainer has the device", || of_pod(&mut session, "e2e-ml/trainer"))?;
    assert_eq!(trainer["kernel"]["devices"], json!(["/dev/nvidia0"]), "{trainer}");
    let pid = trainer["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).context("pid")?;
    let uid = cluster.get(&["pod", "-n", "e2e-ml", "trainer"])?["metadata"]["uid"].clone();
    let told = &trainer["pod"];
    let names = [&told["namespace"], &told["name"], &told["container"], &told["uid"]];
    assert_eq!(names, [&json!("e2e-ml"), &json!("trainer"), &json!("main"), &uid]);
    // The node's number of the process, not the container's.
    assert!(host::status(pid, "NSpid")?.split_whitespace().count() > 1);

    // What a process wrote names whom it likes; what the kernel prints is whose it says.
    let line =
        |pci: u8| format!("NVRM: Xid (PCI:0000:{pci:02x}:00): 31, pid={pid}, name=load, Ch 8");
    e2e::print_to_kernel(&line(0xc7))?;
    assert_eq!(told_of(&mut session, 0xc7)?["pod"], Value::Null);
    e2e::have_the_kernel_print(&line(0xc8)).map_err(Error::msg)?;
    let event = told_of(&mut session, 0xc8)?;
    assert_eq!(event["pod"]["name"], "trainer", "{event}");

    cluster.kubectl(&["delete", "namespace", "--wait=false", "e2e-ml"])?;
    until("the process is gone", || {
        Ok(of_pod(&mut session, "e2e-ml/trainer")?.is_none().then_some(()))
    })?;
    drop(session);
    release.remove(cluster)
}

/// The first event of a GPU.
fn told_of(session: &mut Agent, pci: u8) -> Result<Value> {
    let gpu = format!("0000:{pci:02x}:00.0");
    let arguments = json!({"gpu": gpu, "since": "0-0", "max_events": 1, "duration_s": 30});
    Ok(session.ask("watch_gpu_events", &arguments)?["events"][0].clone())
}

/// The process that the kernel knows of a pod.
fn of_pod(session: &mut Agent, pod: &str) -> Result<Option<Value>> {
    let page = session.ask("get_gpu_processes", &json!({"pod": pod, "detail": "full"}))?;
    let mut processes = page["processes"].as_array().into_iter().flatten();
    Ok(processes.find(|process| process["kernel"].is_object()).cloned())
}

/// A namespace with a pod that opens the device and keeps it open.
fn trainer(cluster: &Cluster, node: &str) -> Value {
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "e2e-ml"}});
    let load = env!("CARGO_BIN_EXE_device-load");
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "trainer", "namespace": "e2e-ml"},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main",
                "image": cluster.image,
                "imagePullPolicy": "Never",
                "command": ["/load", "hold", stand_in::DEVICE, "--seconds", "600"],
                // A container gets devices of the node only so: there is no runtime that injects this one.
                "securityContext": {"privileged": true, "runAsUser": 0},
                "volumeMounts": [{"name": "load", "mountPath": "/load", "readOnly": true}],
            }],
            "volumes": [{"name": "load", "hostPath": {"path": load, "type": "File"}}],
        },
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [namespace, pod]})
}
