//! podman with a store of its own, which ends with the test: nothing of the user's is seen or changed.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// The name that `cargo xtask image` gives it.
const IMAGE: &str = concat!("localhost/k8s-gpu-mcp-server:", env!("CARGO_PKG_VERSION"));

#[derive(Debug)]
pub struct Podman {
    dir: TempDir,
}

impl Podman {
    /// One that has loaded the image; `None`, and said, where that cannot be.
    pub fn with_the_image(test: &str) -> Option<Self> {
        let skip = |why: &str| crate::skip(&format!("image::{test}"), why);
        let Some(archive) = archive() else {
            skip("no image (set E2E_IMAGE)");
            return None;
        };
        if !rustix::process::geteuid().is_root() {
            skip("needs root");
            return None;
        }
        let podman = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        if !runs(&mut podman.command()) || !runs(&mut Command::new("runc")) {
            skip("needs podman and runc");
            return None;
        }
        podman.output(&["load", "--quiet", "--input", &archive.to_string_lossy()]);
        Some(podman)
    }

    pub fn command(&self) -> Command {
        let mut podman = Command::new("podman");
        // vfs leaves no mount behind, and runc is what most clusters have.
        podman.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]);
        podman.args(["--runtime", "runc", "--root"]).arg(self.dir.path().join("root"));
        podman.arg("--runroot").arg(self.dir.path().join("run"));
        podman
    }

    /// What it prints when it succeeds, which it must.
    pub fn output(&self, arguments: &[&str]) -> String {
        let mut podman = self.command();
        let out = podman.args(arguments).stdin(Stdio::null()).output().expect("podman starts");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "podman {arguments:?}: {said}");
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// What the image says of itself.
    pub fn about(&self) -> Value {
        let all = self.output(&["image", "inspect", IMAGE]);
        let all: Value = serde_json::from_str(&all).expect("podman prints JSON");
        all[0].clone()
    }

    /// Where its files can be read.
    pub fn files(&self) -> PathBuf {
        self.output(&["image", "mount", IMAGE]).into()
    }

    /// `podman run` with these options, the image and what follows it.
    pub fn run(&self, options: &[String], arguments: &[&str]) -> Command {
        let mut run = self.command();
        // The limits that podman asks for by default are above those of a machine without CAP_SYS_RESOURCE.
        run.args(["run", "--network", "none", "--ulimit", "nofile=1024:1024"]);
        run.args(["--ulimit", "nproc=1024:1024"]).args(options);
        run.arg(IMAGE).args(arguments);
        run
    }

    /// A file or a directory for what a container mounts.
    pub fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Podman's own seccomp profile, with what containerd's RuntimeDefault does otherwise and the agent depends on: bpf and
    /// perf_event_open pass where the container has the capability for it. Podman 4.3 asks for CAP_SYS_ADMIN.
    pub fn seccomp(&self) -> PathBuf {
        let path = self.output(&["info", "--format", "{{.Host.Security.SECCOMPProfilePath}}"]);
        let profile = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut profile: Value = serde_json::from_slice(&profile).expect("a profile is JSON");
        let rules = profile["syscalls"].as_array_mut().expect("rules");
        for (call, capability) in [("bpf", "CAP_BPF"), ("perf_event_open", "CAP_PERFMON")] {
            for rule in rules.iter_mut() {
                let names = rule["names"].as_array_mut().expect("names of system calls");
                names.retain(|name| name != call);
            }
            rules.push(serde_json::json!({
                "names": [call], "action": "SCMP_ACT_ALLOW", "includes": {"caps": [capability]},
            }));
            rules.push(serde_json::json!({
                "names": [call], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": [capability]},
            }));
        }
        let path = self.place("seccomp.json");
        std::fs::write(&path, profile.to_string()).expect("written");
        path
    }
}

/// The archive with the image.
pub fn archive() -> Option<PathBuf> {
    env::var_os("E2E_IMAGE").filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn runs(program: &mut Command) -> bool {
    let quiet = program.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// A container, which goes with this.
#[derive(Debug)]
pub struct Container<'a> {
    podman: &'a Podman,
    id: String,
}

impl<'a> Container<'a> {
    /// Starts one in the background.
    pub fn start(podman: &'a Podman, options: &[String]) -> Self {
        let mut options = options.to_vec();
        options.push("--detach".to_owned());
        let out = podman.run(&options, &[]).output().expect("podman starts");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "podman run {options:?}: {said}");
        Self { podman, id: String::from_utf8_lossy(&out.stdout).trim().to_owned() }
    }

    /// A process beside its first, as `kubectl exec -i` starts one.
    pub fn exec(&self, arguments: &[&str]) -> Command {
        let mut exec = self.podman.command();
        exec.args(["exec", "--interactive", &self.id]).args(arguments);
        exec
    }

    /// Its processes by their ids out here: those in the PID namespace of its first.
    pub fn processes(&self) -> Vec<PathBuf> {
        let first = self.podman.output(&["inspect", "--format", "{{.State.Pid}}", &self.id]);
        let namespace = |process: &Path| std::fs::read_link(process.join("ns/pid")).ok();
        let its = namespace(&Path::new("/proc").join(first)).expect("the container runs");
        let all = std::fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
        all.filter(|process| namespace(process).as_ref() == Some(&its)).collect()
    }

    /// Ends it as the kubelet does, and says how its first process took it.
    pub fn stop(&self) -> String {
        self.podman.output(&["stop", "--time", "20", &self.id]);
        self.podman.output(&["inspect", "--format", "{{.State.ExitCode}}", &self.id])
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Where the test's own output goes.
            let _ = self.podman.command().args(["logs", &self.id]).status();
        }
        // Already gone is as good.
        let _ = self.podman.command().args(["rm", "--force", "--time", "0", &self.id]).output();
    }
}
