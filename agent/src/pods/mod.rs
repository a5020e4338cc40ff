//! Whose process it is: from the names of its cgroup's directories to the pod and the container, as people call them.
//!
//! ```text
//!  names of cgroup directories ─► place ─► uid, container id ─┬─► Pods ─► event::Pod
//!  the kubelet's log directories ────────► names ─────────────┤
//!  the kubelet's PodResources ─► kubelet ─► allocation ───────┘
//! ```
//!
//! It needs neither the host's PIDs nor the API server. Where no log directory is mounted, a pod is known by its uid,
//! and by name where PodResources leaves no choice ([`allocation::name_by_elimination`]). A pod that was named once keeps its
//! name here when it is gone: its processes are told of later than they live.

pub mod allocation;
mod bounded;
pub mod kubelet;
pub mod names;
pub mod place;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

pub use allocation::{Allocation, Given, Gpu};
pub use kubelet::KubeletError;
pub use names::{Names, PodName};
pub use place::{Place, Qos, Runtime, of_proc_cgroup, place, place_of_path, places};

pub(crate) use self::bounded::Bounded;
use crate::event::Pod;

/// How many containers are remembered; the oldest goes first.
const MOST_CONTAINERS: usize = 4096;
/// How long a container's names are looked for: the kubelet makes its entries a moment after it starts.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is known of the pods of this node. Shared by all who have processes to name.
#[derive(Debug)]
pub struct Pods {
    root: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    names: Names,
    /// Written when a container is first asked for, and again when more is known of it.
    containers: Bounded<Place, Seen>,
    /// What the kubelet said last. `None` before it was asked.
    kubelet: Option<Result<Vec<Allocation>, KubeletError>>,
}

#[derive(Debug)]
struct Seen {
    pod: Arc<Pod>,
    first: Instant,
}

impl Pods {
    /// Reads the log directories below `root`: `/`, or where the node's file system is mounted.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        let known = Known {
            names: Names::new(&root),
            containers: Bounded::new(MOST_CONTAINERS),
            kubelet: None,
        };
        Self { root, known: Mutex::new(known) }
    }

    /// The pod of a process, by the names of its cgroup's directories, the innermost first. `None` where it runs in no
    /// container.
    pub fn pod<'a>(
        &self,
        names_leaf_first: impl IntoIterator<Item = &'a str>,
        now: Instant,
    ) -> Option<Arc<Pod>> {
        let mut places = places(names_leaf_first);
        let mut known = self.known();
        // A pod in a pod: the one of the kubelet that this agent is mounted to.
        let names = &mut known.names;
        let mut ours = |Place { pod_uid, container_id, .. }: &Place| {
            pod_uid.as_ref().is_some_and(|uid| names.pod(uid, now).is_some())
                || container_id.as_ref().is_some_and(|id| names.container(id, now).is_some())
        };
        let at = if places.len() > 1 { places.iter().position(&mut ours) } else { None };
        let place = (!places.is_empty()).then(|| places.swap_remove(at.unwrap_or(0)))?;
        Some(known.pod(place, now))
    }

    /// The pod of a process by the text of its `/proc/PID/cgroup`: of its hierarchies the one that tells most.
    pub fn pod_of_proc(&self, text: &str, now: Instant) -> Option<Arc<Pod>> {
        let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        // So the kernel marks a cgroup that is gone.
        let paths = paths.map(|path| path.strip_suffix(" (deleted)").unwrap_or(path));
        let pods = paths.filter_map(|path| self.pod(path.rsplit('/'), now));
        pods.max_by_key(|pod| (pod.uid.is_some(), pod.container_id.is_some()))
    }

    /// Takes what [`kubelet::list`] said. What it said before is forgotten, also where it failed now.
    pub fn kubelet_said(&self, said: Result<Vec<Allocation>, KubeletError>) {
        self.known().kubelet = Some(said);
    }

    /// Asks the kubelet, where its socket is mounted; false where it is not.
    pub async fn ask_kubelet(&self) -> bool {
        let socket = self.kubelet_socket();
        if !socket.exists() {
            // It was there, and what it said then may no longer be so.
            if let Some(said) = &mut self.known().kubelet {
                *said = Err(KubeletError::NotMounted(socket));
            }
            return false;
        }
        self.kubelet_said(kubelet::list(&socket).await);
        true
    }

    /// Why the kubelet did not say what it was asked for last.
    #[must_use]
    pub fn kubelet_error(&self) -> Option<KubeletError> {
        self.known().kubelet.as_ref()?.as_ref().err().cloned()
    }

    /// The kubelet's socket, as seen from here.
    #[must_use]
    pub fn kubelet_socket(&self) -> PathBuf {
        self.root.join(kubelet::SOCKET)
    }

    /// What was given of a GPU, and to whom, as the kubelet said last; `None` where it did not say.
    #[must_use]
    pub fn holders_of(&self, gpu: &Gpu<'_>) -> Option<Vec<Allocation>> {
        let known = self.known();
        let Some(Ok(allocations)) = &known.kubelet else { return None };
        Some(allocation::holders_of(allocations, gpu).into_iter().cloned().collect())
    }

    /// Names the pod that computes on a GPU, where there is no choice; `uids` are those of the processes that do. True where
    /// it is named now by this.
    pub fn name_by_elimination(&self, gpu: &Gpu<'_>, uids: &[&str], now: Instant) -> bool {
        let holders = self.holders_of(gpu).unwrap_or_default();
        let holders: Vec<&Allocation> = holders.iter().collect();
        let Some(name) = allocation::name_by_elimination(&holders, uids) else { return false };
        let Some(uid) = uids.first() else { return false };
        let mut known = self.known();
        if known.names.pod(uid, now).is_some() {
            return false;
        }
        known.names.learn(uid, name.clone());
        for seen in known.containers.values_mut() {
            if seen.pod.uid.as_deref() == Some(uid) && seen.pod.name.is_none() {
                let pod = Arc::make_mut(&mut seen.pod);
                pod.namespace = Some(name.namespace.clone());
                pod.name = Some(name.name.clone());
            }
        }
        true
    }

    /// How pods are named, and what to do where they are not.
    #[must_use]
    pub fn describe(&self) -> String {
        let known = self.known();
        let by_directory = match known.names.read_from() {
            Ok(from) => {
                let from: Vec<_> =
                    from.into_iter().map(|path| path.display().to_string()).collect();
                format!("Pods are named from {}.", from.join(" and "))
            }
            Err((directory, why)) => format!(
                "Pods are known by uid and not by name, as {} cannot be read ({why}): mount the node's \
                 /var/log/containers read-only below {} (chart: `ebpf.podNames=true`).",
                directory.display(),
                self.root.display()
            ),
        };
        let by_kubelet = match &known.kubelet {
            None => "The kubelet was not asked which pods were given which GPU (chart: `podResources.enabled=true`)."
                .to_owned(),
            Some(Ok(_)) => "The kubelet says which pods were given which GPU.".to_owned(),
            Some(Err(error)) => {
                format!("Which pods were given which GPU is not known: {error}.")
            }
        };
        format!("{by_directory} {by_kubelet}")
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn pod(&mut self, place: Place, now: Instant) -> Arc<Pod> {
        let seen = self.containers.get(&place);
        if let Some(seen) = seen
            && (is_whole(&seen.pod) || now.saturating_duration_since(seen.first) > PATIENCE)
        {
            return Arc::clone(&seen.pod);
        }
        let first = seen.map_or(now, |seen| seen.first);
        let before = seen.map(|seen| Arc::clone(&seen.pod));
        let mut pod = self.named(&place, now);
        // What was found once and is gone by now.
        if let Some(before) = &before {
            if pod.name.is_none() {
                pod.namespace.clone_from(&before.namespace);
                pod.name.clone_from(&before.name);
            }
            pod.container = pod.container.or_else(|| before.container.clone());
        }
        let pod = before.filter(|before| **before == pod).unwrap_or_else(|| Arc::new(pod));
        self.containers.insert(place, Seen { pod: Arc::clone(&pod), first });
        pod
    }

    /// A place with all the names that are known of it.
    fn named(&mut self, place: &Place, now: Instant) -> Pod {
        let container = place.container_id.as_deref().and_then(|id| self.names.container(id, now));
        let pod = place.pod_uid.as_deref().and_then(|uid| self.names.pod(uid, now));
        // Where both are there and differ, the uid is right: a link may be left from before.
        let container = container.filter(|of| pod.as_ref().is_none_or(|pod| *pod == of.pod));
        let name = pod.or_else(|| container.as_ref().map(|of| of.pod.clone()));
        let container = container.map(|named| named.container).or_else(|| {
            place.container_id.as_ref()?;
            self.names.only_container(name.as_ref()?, place.pod_uid.as_deref()?)
        });
        let (namespace, name) = name.map(|pod| (pod.namespace, pod.name)).unzip();
        let (uid, container_id) = (place.pod_uid.clone(), place.container_id.clone());
        Pod { uid, namespace, name, container, container_id }
    }
}

/// Nothing is left to be found.
fn is_whole(pod: &Pod) -> bool {
    pod.namespace.is_some() && pod.name.is_some() && pod.container.is_some()
}

#[cfg(test)]
mod tests;
