//! Each helm that is tested with, and what it renders.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde::Deserialize as _;
use serde_json::Value;

pub const NAMESPACE: &str = "gpu-diagnostics";
const RELEASE: &str = "gpu";

/// One of the helms to test with.
#[derive(Debug)]
pub struct Helm(PathBuf);

impl Helm {
    /// All of them; empty, and said, where there is none.
    pub fn all(test: &str) -> Vec<Self> {
        let helms: Vec<Self> = env::var_os("E2E_HELM")
            .map(|list| {
                let named = env::split_paths(&list).filter(|path| !path.as_os_str().is_empty());
                named.map(Self).collect()
            })
            .unwrap_or_default();
        if helms.is_empty() {
            skip(test, "no helm (set E2E_HELM)");
        }
        helms
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new(&self.0)
            .args(arguments)
            .current_dir(chart())
            .env_remove("HELM_NAMESPACE")
            // No cluster is asked, whatever the user's configuration names.
            .env("KUBECONFIG", "/nonexistent")
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", self.0.display()))
    }

    /// The manifests as they would be applied.
    pub fn text(&self, arguments: &[&str]) -> String {
        let out = self.template(arguments);
        assert!(out.status.success(), "{self:?} {arguments:?}: {}", stderr(&out));
        String::from_utf8(out.stdout).expect("YAML is UTF-8")
    }

    pub fn render(&self, arguments: &[&str]) -> Rendered {
        let text = self.text(arguments);
        let documents = serde_norway::Deserializer::from_str(&text)
            .map(|document| Value::deserialize(document).expect("manifests are YAML"))
            .filter(|document| !document.is_null())
            .collect();
        Rendered(documents)
    }

    /// What helm says when it refuses to render.
    pub fn refusal(&self, arguments: &[&str]) -> String {
        let out = self.template(arguments);
        assert!(!out.status.success(), "{self:?} renders with {arguments:?}");
        stderr(&out)
    }

    pub fn template(&self, arguments: &[&str]) -> Output {
        let mut all = vec!["template", RELEASE, ".", "--namespace", NAMESPACE];
        all.extend(arguments);
        self.run(&all)
    }

    /// What helm says after an install. It does not render that without a cluster, so here it is an object's.
    pub fn notes(&self, arguments: &[&str]) -> String {
        let copy = tempfile::tempdir().expect("a temporary directory");
        let templates = copy.path().join("templates");
        fs::create_dir(&templates).expect("made");
        for name in ["Chart.yaml", "values.yaml", "templates/_helpers.tpl"] {
            fs::copy(chart().join(name), copy.path().join(name)).expect("copied");
        }
        let notes = fs::read_to_string(chart().join("templates/NOTES.txt")).expect("it is there");
        let notes = format!("{{{{ define \"notes\" }}}}{notes}{{{{ end }}}}");
        fs::write(templates.join("_notes.tpl"), notes).expect("written");
        let object = "notes: {{ include \"notes\" . | toJson }}";
        fs::write(templates.join("notes.yaml"), object).expect("written");
        let mut all = vec!["template", RELEASE, "--namespace", NAMESPACE];
        let copy = copy.path().to_string_lossy();
        all.push(&copy);
        all.extend(arguments);
        let out = self.run(&all);
        assert!(out.status.success(), "{self:?} {arguments:?}: {}", stderr(&out));
        let object: Value = serde_norway::from_slice(&out.stdout).expect("YAML");
        object["notes"].as_str().expect("a text").to_owned()
    }
}

/// The objects of one rendering.
#[derive(Debug)]
pub struct Rendered(pub Vec<Value>);

impl Rendered {
    pub fn kinds(&self) -> Vec<&str> {
        let mut kinds: Vec<&str> =
            self.0.iter().map(|object| object["kind"].as_str().unwrap_or("")).collect();
        kinds.sort_unstable();
        kinds
    }

    pub fn find(&self, kind: &str) -> &Value {
        let mut found = self.0.iter().filter(|object| object["kind"] == kind);
        let object = found.next().unwrap_or_else(|| panic!("no {kind} in {:?}", self.kinds()));
        assert!(found.next().is_none(), "more than one {kind}");
        object
    }

    pub fn pod(&self) -> &Value {
        &self.find("DaemonSet")["spec"]["template"]["spec"]
    }

    pub fn container(&self) -> &Value {
        let containers = self.pod()["containers"].as_array().expect("containers");
        assert_eq!(containers.len(), 1);
        &containers[0]
    }

    pub fn security(&self) -> &Value {
        &self.container()["securityContext"]
    }

    /// The variables with their values; those taken from elsewhere as `null`.
    pub fn env(&self) -> Vec<(&str, Option<&str>)> {
        let env = self.container()["env"].as_array().expect("NODE_NAME at least");
        env.iter().map(|var| (var["name"].as_str().unwrap_or(""), var["value"].as_str())).collect()
    }
}

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../helm/k8s-gpu-mcp-server")
}

pub fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

pub fn skip(test: &str, why: &str) {
    crate::skip(&format!("chart::{test}"), why);
}
