//! Whose process it is, by cgroups as the kubelet and the runtimes make them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use serde_json::{Value, json};

use super::{Stage, quiet, unavailable};

/// Directories in the cgroup tree, the outermost first. Gone with this value.
struct Cgroup(Vec<PathBuf>);

impl Cgroup {
    fn new(hierarchy: &Path, names: &[String]) -> Result<Self> {
        let mut made = Self(vec![]);
        let mut path = hierarchy.to_owned();
        for name in names {
            path.push(name);
            if !path.exists() {
                fs::create_dir(&path)?;
            }
            made.0.push(path.clone());
        }
        Ok(made)
    }

    fn take(&self, pid: u32) -> Result<()> {
        let innermost = self.0.last().cloned().unwrap_or_default();
        Ok(fs::write(innermost.join("cgroup.procs"), pid.to_string())?)
    }

    fn is_gone(&self) -> bool {
        self.0.last().is_some_and(|path| !path.exists())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Another may still be below it, and then that is the last one to remove it.
        self.0.iter().rev().for_each(|path| drop(fs::remove_dir(path)));
    }
}

/// Where the agent reads a process's cgroup from here: that of the memory controller (v1), and the unified hierarchy.
fn hierarchies() -> Vec<PathBuf> {
    let all =
        ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(PathBuf::from);
    let usable = |path: &PathBuf| {
        let probe = path.join(format!("e2e-{}", std::process::id()));
        path.join("cgroup.procs").exists()
            && fs::create_dir(&probe).and_then(|()| fs::remove_dir(&probe)).is_ok()
    };
    all.into_iter().filter(usable).collect()
}

/// Why pods cannot be made here.
fn no_pods() -> Option<String> {
    unavailable().or_else(|| {
        hierarchies()
            .is_empty()
            .then(|| "no cgroup hierarchy that this test may write to".to_owned())
    })
}

const CONTAINER: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";

/// A uid for each test and hierarchy.
fn uid(number: usize) -> String {
    format!("7a6e7c1a-6f0e-4f0b-9a43-{number:012}")
}

/// As the kubelet's cgroup driver `cgroupfs` names it, below a `--cgroup-root`.
fn cgroupfs(uid: &str) -> Vec<String> {
    let root = format!("e2e{}-kubepods", std::process::id());
    vec![root, "burstable".to_owned(), format!("pod{uid}"), CONTAINER.to_owned()]
}

/// The same of the driver `systemd`, with containerd.
fn systemd(uid: &str) -> Vec<String> {
    let root = format!("e2e{}-kubepods", std::process::id());
    let pod = format!("{root}-besteffort-pod{}.slice", uid.replace('-', "_"));
    let container = format!("cri-containerd-{CONTAINER}.scope");
    vec![format!("{root}.slice"), format!("{root}-besteffort.slice"), pod, container]
}

fn logs(stage: &Stage, pod: &str, uid: &str) -> Result<PathBuf> {
    let logs = stage.path(&format!("var/log/pods/ml_{pod}_{uid}"));
    fs::create_dir_all(logs.join("main"))?;
    Ok(logs)
}

/// What is told of a pod, without how that is known.
fn names(pod: &Value) -> Value {
    json!([pod["namespace"], pod["name"], pod["container"], pod["uid"], pod["container_id"]])
}

#[test]
fn a_process_is_told_with_its_pod_and_still_when_all_that_told_it_is_gone() -> Result<()> {
    const TEST: &str =
        "devices::pods::a_process_is_told_with_its_pod_and_still_when_all_that_told_it_is_gone";
    if let Some(why) = no_pods() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let _quiet = quiet();
    for (number, hierarchy) in hierarchies().iter().enumerate() {
        for (number, driver) in [(number * 4, cgroupfs as fn(&str) -> _), (number * 4 + 1, systemd)]
        {
            let stage = Stage::new()?;
            let [uid, other] = [uid(number), uid(number + 2)];
            let logs = logs(&stage, "train-0", &uid)?;
            let named = json!(["ml", "train-0", "main", uid, CONTAINER]);
            let cgroup = Cgroup::new(hierarchy, &driver(&uid))?;
            let mut before = stage.actor()?;
            before.run("gpu = os.open(nvidia0, os.O_RDONLY)")?;
            cgroup.take(before.pid)?;
            let mut session = stage.session()?;
            let mut after = stage.actor()?;
            cgroup.take(after.pid)?;
            after.run("gpu = os.open(nvidia0, os.O_RDONLY); ask(gpu)")?;
            for pid in [before.pid, after.pid] {
                let events = session.events(pid)?;
                assert!(
                    events.iter().all(|event| names(&event["pod"]) == named),
                    "{hierarchy:?} {events:?}"
                );
                assert_eq!(names(&session.process(pid)?["pod"]), named);
            }
            let of_pod = session.agent.ask("get_gpu_processes", &json!({"pod": "ml/train-0"}))?;
            assert_eq!(of_pod["process_count"], 2, "{of_pod}");
            // One of whom no log directory tells.
            let without = Cgroup::new(hierarchy, &driver(&other))?;
            let mut nameless = stage.actor()?;
            without.take(nameless.pid)?;
            nameless.run("gpu = os.open(nvidia0, os.O_RDONLY)")?;
            let pod = session.process(nameless.pid)?["pod"].take();
            assert_eq!(names(&pod), json!([null, null, null, other, CONTAINER]));
            // The pod goes, and a process of it stays.
            for pid in [before.pid, after.pid] {
                fs::write(hierarchy.join("cgroup.procs"), pid.to_string())?;
            }
            drop(Cgroup(cgroup.0.clone()));
            assert!(cgroup.is_gone());
            fs::remove_dir_all(logs)?;
            assert_eq!(names(&session.process(after.pid)?["pod"]), named);
            let pid = after.pid;
            after.end()?;
            let last = session.events(pid)?.pop().unwrap_or_default();
            assert_eq!((&last["kind"], names(&last["pod"])), (&json!("gpu_close"), named));
        }
    }
    Ok(())
}
