//! What the chart renders for the agent's container, as options of podman. Of a security context every field is taken, and one
//! that is not known here fails the test: nothing the chart asks for is left out silently.

use std::{env::consts::ARCH, fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::{Map, Value, json};

use super::podman::Podman;
use crate::chart::helm::Rendered;

/// The agent's container as the chart has it.
#[derive(Debug)]
pub struct Pod {
    command: Value,
    env: Vec<(String, Option<String>)>,
    /// The pod's, and over it the container's.
    pub security: Map<String, Value>,
    mounts: Vec<Value>,
    volumes: Vec<Value>,
}

impl Pod {
    pub fn of(rendered: &Rendered) -> Self {
        let of_pod = rendered.pod().get("securityContext").and_then(Value::as_object);
        let mut security = of_pod.cloned().unwrap_or_default();
        security.extend(rendered.security().as_object().expect("a context").clone());
        let list =
            |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
        let owned =
            |(name, value): (&str, Option<&str>)| (name.to_owned(), value.map(str::to_owned));
        Self {
            command: rendered.container()["command"].clone(),
            env: rendered.env().into_iter().map(owned).collect(),
            security,
            mounts: list(rendered.container().get("volumeMounts")),
            volumes: list(rendered.pod().get("volumes")),
        }
    }

    /// Whether its first process is the recorder.
    pub fn records(&self) -> bool {
        self.command == json!(["/agent", "record"])
    }

    /// The capabilities that it adds, as the kernel names them.
    pub fn capabilities(&self) -> Vec<String> {
        let added = self.security.get("capabilities").and_then(|of| of["add"].as_array());
        added.into_iter().flatten().map(|name| format!("CAP_{}", text(name))).collect()
    }

    /// All that `podman run` takes of it, on simulated GPUs.
    pub fn options(&self, podman: &Podman) -> Vec<String> {
        let mut options = vec![format!("--entrypoint={}", self.command)];
        self.security(podman, &mut options);
        for (name, value) in &self.env {
            options.push(format!("--env={name}={}", value.as_deref().unwrap_or("gpu-node-7")));
        }
        options.push("--env=AGENT_NVML_MODE=simulated".to_owned());
        options.push("--env=NVML_SIM_SCENARIO=/scenario.toml".to_owned());
        // Where the NVIDIA runtime puts the driver's library, and where the agent finds it by itself.
        let library = format!("/usr/lib/{ARCH}-linux-gnu/libnvidia-ml.so.1");
        bind(&mut options, &e2e::simulator(), &library, true);
        bind(&mut options, &e2e::scenario("healthy.toml"), "/scenario.toml", true);
        for mount in &self.mounts {
            let volume = self.volumes.iter().find(|volume| volume["name"] == mount["name"]);
            let volume = volume.unwrap_or_else(|| panic!("{mount} without its volume"));
            let read_only = mount["readOnly"] == true;
            if volume["hostPath"]["type"] == "File" {
                // The driver's library of the node.
                bind(&mut options, &e2e::simulator(), text(&mount["mountPath"]), read_only);
                continue;
            }
            // Of a node's directories none is here; an emptyDir is one that everybody may write to.
            let dir = podman.place(text(&volume["name"]));
            fs::create_dir_all(&dir).expect("made");
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).expect("ours");
            for left in fs::read_dir(&dir).expect("made").flatten() {
                fs::remove_file(left.path()).expect("what another mode's recorder has left");
            }
            bind(&mut options, &dir, text(&mount["mountPath"]), read_only);
        }
        options
    }

    fn security(&self, podman: &Podman, options: &mut Vec<String>) {
        let mut user = None;
        let mut group = None;
        for (field, value) in &self.security {
            match (field.as_str(), value) {
                // To podman it would give a tmpfs on /run and /tmp beside it, which Kubernetes does not have.
                ("readOnlyRootFilesystem", Value::Bool(true)) => {
                    options
                        .extend(["--read-only".to_owned(), "--read-only-tmpfs=false".to_owned()]);
                }
                ("privileged", Value::Bool(true)) => options.push("--privileged".to_owned()),
                ("allowPrivilegeEscalation", Value::Bool(false)) => {
                    options.push("--security-opt=no-new-privileges".to_owned());
                }
                // It keeps the kubelet from starting what runAsUser does not say.
                ("privileged", Value::Bool(false)) | ("runAsNonRoot", Value::Bool(true)) => {}
                ("runAsUser", id) => user = id.as_u64(),
                ("runAsGroup", id) => group = id.as_u64(),
                ("capabilities", Value::Object(named)) => {
                    for (how, names) in named {
                        for name in names.as_array().expect("a list") {
                            options.push(format!("--cap-{how}={}", text(name)));
                        }
                    }
                }
                ("seccompProfile", profile) if *profile == json!({"type": "RuntimeDefault"}) => {
                    let profile = podman.seccomp();
                    options.push(format!("--security-opt=seccomp={}", profile.display()));
                }
                _ => panic!("no option of podman is known here for {field}: {value}"),
            }
        }
        let user = user.expect("the chart says as whom");
        // Where no group is named, runtimes take root's.
        options.push(format!("--user={user}:{}", group.unwrap_or(0)));
    }
}

fn bind(options: &mut Vec<String>, from: &Path, to: &str, read_only: bool) {
    let from = from.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    let how = if read_only { "ro" } else { "rw" };
    options.push(format!("--volume={}:{to}:{how}", from.display()));
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}
