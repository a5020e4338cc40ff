//! A pod's processes and what they may do and use, as the node sees it and not as the pod tells it.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::release::Pod;

/// A process of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// Its number in the container.
    pub inside: u32,
}

/// The agent's processes in a pod: the container's first one and the sessions.
pub fn agents(pod: &Pod) -> Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ends meanwhile is none.
        if let Some(inside) = of_pod(pid, pod) {
            found.push(Process { pid, inside });
        }
    }
    found.sort_by_key(|process| process.inside);
    Ok(found)
}

fn of_pod(pid: u32, pod: &Pod) -> Option<u32> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let ours =
        read("cgroup")?.contains(&format!("pod{}", pod.uid)) && read("comm")?.trim() == "agent";
    let inside = status(pid, "NSpid").ok()?.split_whitespace().last()?.parse().ok();
    inside.filter(|_| ours)
}

/// The first process of the pod's container.
pub fn first(pod: &Pod) -> Result<u32> {
    let agents = agents(pod)?;
    let first = agents.iter().find(|process| process.inside == 1);
    Ok(first.with_context(|| format!("{} has no process", pod.name))?.pid)
}

/// The sessions in the pod.
pub fn sessions(pod: &Pod) -> Result<Vec<Process>> {
    let agents = agents(pod)?.into_iter();
    Ok(agents.filter(|process| process.inside != 1).collect())
}

/// A line of `/proc/PID/status`.
pub fn status(pid: u32, name: &str) -> Result<String> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(value.with_context(|| format!("{path} has no {name}"))?.trim().to_owned())
}

/// The lines of `/proc/PID/mountinfo`: where, whether it may be written to, and what it is.
pub fn mounts(pid: u32) -> Result<Vec<(String, bool, String)>> {
    let text = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    let mounts = text.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(4);
        let (place, options) = (fields.next()?, fields.next()?);
        let writable = options.split(',').any(|option| option == "rw");
        Some((place.to_owned(), writable, after.split(' ').next()?.to_owned()))
    });
    Ok(mounts.collect())
}

/// A control group of a process's container: what it has taken, and how often its limits were met.
#[derive(Debug)]
pub struct Group(PathBuf);

impl Group {
    /// That of a controller of cgroup v1, or of v2 where the controller is there.
    pub fn of(pid: u32, controller: &str) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let path = |wanted: &str| {
            text.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                fields.next()?.split(',').any(|name| name == wanted).then(|| fields.next())?
            })
        };
        let group = match path(controller) {
            Some(path) => format!("/sys/fs/cgroup/{controller}{path}"),
            None => format!("/sys/fs/cgroup{}", path("").context("no cgroup")?),
        };
        Ok(Self(group.into()))
    }

    /// A file of one number, by its name in either version.
    pub fn number(&self, names: [&str; 2]) -> Result<u64> {
        let texts = names.iter().find_map(|name| fs::read_to_string(self.0.join(name)).ok());
        let text = texts.with_context(|| format!("{names:?} in {}", self.0.display()))?;
        text.trim().parse().with_context(|| format!("{names:?}: {text}"))
    }

    /// A line of a file with names and numbers; 0 where there is no such line.
    pub fn line(&self, file: &str, name: &str) -> u64 {
        let text = fs::read_to_string(self.0.join(file)).unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }
}
