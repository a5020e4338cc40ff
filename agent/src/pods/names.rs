//! Namespace and name of a pod, and a container's name, from the names of the kubelet's log directories: what every node
//! has, without the API server and without a right in the cluster.
//!
//! | below the root | tells |
//! | --- | --- |
//! | `var/log/pods/<namespace>_<pod>_<uid>/` | uid → namespace, pod |
//! | `var/log/pods/<namespace>_<pod>_<uid>/<container>/` | the container, where the pod has one only |
//! | `var/log/containers/<pod>_<namespace>_<container>-<id>.log`, a link | container id → pod, namespace, container |
//!
//! Either alone is enough for whoever runs in a container. The links alone are the less that can be given: mounted without
//! what they point to they have names and no log.
//!
//! Nothing but names is read; no log is opened, no link followed. A name that Kubernetes would not have accepted is not
//! believed, and an entry whose name was cut for its length neither.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{bounded::Bounded, place::is_container_id};

/// How often the directories are read at most.
pub const BETWEEN_READS: Duration = Duration::from_secs(5);
/// How many entries of a directory are looked at, and how many pods are remembered that no directory names.
const MOST: usize = 4096;

/// A pod as people call it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodName {
    pub namespace: String,
    pub name: String,
}

/// A container as people call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerName {
    pub pod: PodName,
    pub container: String,
}

/// What the log directories tell. Read anew when somebody asks for what is not in it.
#[derive(Debug)]
pub struct Names {
    pods_dir: PathBuf,
    containers_dir: PathBuf,
    /// By uid. Replaced with every reading, as `containers`.
    pods: HashMap<String, PodName>,
    /// By the container's id.
    containers: HashMap<String, ContainerName>,
    /// By uid: pods that were named in another way. Written by [`learn`](Self::learn).
    learned: Bounded<String, PodName>,
    /// The last reading that a question caused.
    read: Option<Instant>,
    /// Why `pods_dir` and `containers_dir` could not be read the last time.
    unreadable: [Option<String>; 2],
}

impl Names {
    /// The directories below `root`: `/` or where the node's file system is mounted.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        let mut names = Self {
            pods_dir: root.join("var/log/pods"),
            containers_dir: root.join("var/log/containers"),
            pods: HashMap::new(),
            containers: HashMap::new(),
            learned: Bounded::new(MOST),
            read: None,
            unreadable: [None, None],
        };
        names.read();
        names
    }

    /// Namespace and name of a pod.
    pub fn pod(&mut self, uid: &str, now: Instant) -> Option<PodName> {
        if !self.pods.contains_key(uid) {
            self.read_again(now);
        }
        self.pods.get(uid).or_else(|| self.learned.get(&uid.to_owned())).cloned()
    }

    /// What a container is called, and its pod.
    pub fn container(&mut self, id: &str, now: Instant) -> Option<ContainerName> {
        if !self.containers.contains_key(id) {
            self.read_again(now);
        }
        self.containers.get(id).cloned()
    }

    /// The name of a pod's container, where it is the pod's only one. Read when asked: an init container is followed by
    /// others.
    #[must_use]
    pub fn only_container(&self, pod: &PodName, uid: &str) -> Option<String> {
        let dir = self.pods_dir.join(format!("{}_{}_{uid}", pod.namespace, pod.name));
        let mut containers = entries(&dir).ok()?;
        let only = containers.next()?;
        (containers.next().is_none() && is_label(&only)).then_some(only)
    }

    /// Remembers a name that was found in another way. What the directories say goes before it.
    pub fn learn(&mut self, uid: &str, name: PodName) {
        self.learned.insert(uid.to_owned(), name);
    }

    /// The directories that pods are named from; why the last of them cannot be read where that is none.
    pub fn read_from(&self) -> Result<Vec<&Path>, (&Path, &str)> {
        if let [Some(_), Some(why)] = &self.unreadable {
            return Err((&self.containers_dir, why));
        }
        let directories = [self.pods_dir.as_path(), self.containers_dir.as_path()];
        let read = directories.into_iter().zip(&self.unreadable);
        Ok(read.filter_map(|(path, why)| why.is_none().then_some(path)).collect())
    }

    fn read_again(&mut self, now: Instant) {
        let due = self.read.is_none_or(|read| now.saturating_duration_since(read) >= BETWEEN_READS);
        if due {
            self.read = Some(now);
            self.read();
        }
    }

    fn read(&mut self) {
        let (pods, containers) = (entries(&self.pods_dir), entries(&self.containers_dir));
        self.unreadable =
            [pods.as_ref().err(), containers.as_ref().err()].map(|why| Some(why?.to_string()));
        self.pods = pods.into_iter().flatten().filter_map(|name| pod_directory(&name)).collect();
        self.containers =
            containers.into_iter().flatten().filter_map(|name| container_log(&name)).collect();
    }
}

/// The names in a directory, so many and no more.
fn entries(dir: &Path) -> io::Result<impl Iterator<Item = String> + use<>> {
    let entries = fs::read_dir(dir)?.map_while(Result::ok).take(MOST);
    Ok(entries.filter_map(|entry| entry.file_name().into_string().ok()))
}

/// `<namespace>_<pod>_<uid>`: none of them can have an underscore.
fn pod_directory(name: &str) -> Option<(String, PodName)> {
    let (namespace, rest) = name.split_once('_')?;
    let (pod, uid) = rest.split_once('_')?;
    let plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    let uid_is_plain = matches!(uid.len(), 32 | 36) && uid.bytes().all(plain);
    let known = uid_is_plain.then(|| pod_name(namespace, pod))??;
    Some((uid.to_owned(), known))
}

/// `<pod>_<namespace>_<container>-<id>.log`.
fn container_log(name: &str) -> Option<(String, ContainerName)> {
    let (pod, rest) = name.strip_suffix(".log")?.split_once('_')?;
    let (namespace, rest) = rest.split_once('_')?;
    let (container, id) = rest.rsplit_once('-')?;
    let formed = is_label(container) && is_container_id(id);
    let pod = formed.then(|| pod_name(namespace, pod))??;
    Some((id.to_owned(), ContainerName { pod, container: container.to_owned() }))
}

/// A pod's name in a namespace, if Kubernetes would have it so.
pub(super) fn pod_name(namespace: &str, name: &str) -> Option<PodName> {
    let formed =
        is_label(namespace) && name.len() <= 253 && name.split('.').all(is_label_of_any_length);
    formed.then(|| PodName { namespace: namespace.to_owned(), name: name.to_owned() })
}

/// RFC 1123, in lower case: a namespace's name and a container's.
pub(super) fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_label_of_any_length(text)
}

/// What stands between the dots of a pod's name.
fn is_label_of_any_length(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let [first, .., last] = text.as_bytes() else {
        return matches!(text.as_bytes(), &[only] if alphanumeric(only));
    };
    alphanumeric(*first)
        && alphanumeric(*last)
        && text.bytes().all(|byte| alphanumeric(byte) || byte == b'-')
}

#[cfg(test)]
#[path = "names_test.rs"]
mod tests;
