//! Who had to do with an event: a process, its pod, and how that is known.

use std::sync::Arc;

/// The pod and the container that a process runs in, as far as they can be told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Pod {
    /// From the name of its cgroup.
    pub uid: Option<String>,
    pub namespace: Option<String>,
    pub name: Option<String>,
    /// The container's name in the pod's spec.
    pub container: Option<String>,
    /// 64 hexadecimal digits, from the name of its cgroup.
    pub container_id: Option<String>,
}

/// A process. It may be gone by now, its container too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// In the initial PID namespace.
    pub pid: u32,
    /// `task_struct::comm` of its first thread, which the process itself can set.
    pub name: String,
    /// `None` where it runs in no container, or nothing is known of its cgroup.
    pub pod: Option<Arc<Pod>>,
}

/// How it is known that a process has to do with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KnownBy {
    /// The driver's line names it.
    Line,
    /// It was in the kernel at that moment, and did what the event tells.
    Kernel,
    /// No other process had the device open.
    OnlyHolder,
    /// It had the device open, and so had others.
    OneOfSeveral,
}

/// The processes that an event may have to do with: one, or several of which nothing tells which. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribution {
    pub known_by: KnownBy,
    pub parties: Vec<Party>,
}

impl Pod {
    /// Whether both are of one pod, whose containers may differ.
    fn is(&self, other: &Self) -> bool {
        let known = self.uid.is_some() || self.name.is_some();
        known
            && (&self.uid, &self.namespace, &self.name)
                == (&other.uid, &other.namespace, &other.name)
    }

    /// What keeping it costs.
    fn bytes(&self) -> usize {
        let Self { uid, namespace, name, container, container_id } = self;
        let texts = [uid, namespace, name, container, container_id];
        size_of::<Self>() + texts.into_iter().flatten().map(String::len).sum::<usize>()
    }
}

impl Party {
    /// What keeping it costs. A pod that many events share counts with each, as after a restart each has its own.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let pod = self.pod.as_ref().map_or(0, |pod| pod.bytes());
        size_of::<Self>() + self.name.len() + pod
    }
}

impl Attribution {
    /// As many parties as are kept.
    pub const MOST: usize = 8;

    /// No more than [`Attribution::MOST`] parties; while there is room, one of each pod.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let mut pods: Vec<Option<Arc<Pod>>> = Vec::new();
        // Sorting is stable: false before true, the first of each pod before its others.
        self.parties.sort_by_cached_key(|party| {
            let same = |pod: &Option<Arc<Pod>>| match (pod, &party.pod) {
                (Some(pod), Some(other)) => pod.is(other),
                (None, None) => true,
                _ => false,
            };
            let seen = pods.iter().any(same);
            if !seen && pods.len() < Self::MOST {
                pods.push(party.pod.clone());
            }
            seen
        });
        self.parties.truncate(Self::MOST);
        self
    }

    /// The pod, where all of them are of one; its container, where they are of one.
    #[must_use]
    pub fn pod(&self) -> Option<Pod> {
        let (first, rest) = self.parties.split_first()?;
        let mut pod = Pod::clone(first.pod.as_ref()?);
        for party in rest {
            let other = party.pod.as_ref().filter(|other| pod.is(other))?;
            if (&pod.container, &pod.container_id) != (&other.container, &other.container_id) {
                (pod.container, pod.container_id) = (None, None);
            }
        }
        Some(pod)
    }

    /// What keeping it costs.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parties.iter().map(Party::bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(pid: u32, pod: Option<&str>, container: &str) -> Party {
        let pod = pod.map(|uid| {
            let (uid, container) = (Some(uid.to_owned()), Some(container.to_owned()));
            Arc::new(Pod { uid, container, ..Pod::default() })
        });
        Party { pid, name: String::new(), pod }
    }

    #[test]
    fn of_many_holders_one_of_each_pod_is_kept_and_one_pod_is_known_for_certain() {
        let of = |parties: Vec<Party>| {
            Attribution { known_by: KnownBy::OneOfSeveral, parties }.bounded()
        };
        // Workers of one training job, and at the end of the list somebody else.
        let mut parties: Vec<_> = (0..40).map(|pid| party(pid, Some("a"), "main")).collect();
        let job = of(parties.clone());
        assert_eq!((job.parties.len(), job.pod()), (8, parties[0].pod.as_deref().cloned()));
        parties.push(party(40, Some("b"), "main"));
        parties.push(party(41, None, ""));
        let mixed = of(parties);
        let pids: Vec<_> = mixed.parties.iter().map(|party| party.pid).collect();
        assert_eq!((pids, mixed.pod()), (vec![0, 40, 41, 1, 2, 3, 4, 5], None));
        // Two containers of one pod: the pod is known, the container is not.
        let pod = of(vec![party(1, Some("a"), "x"), party(2, Some("a"), "y")]).pod();
        assert_eq!(pod.map(|pod| (pod.uid, pod.container)), Some((Some("a".to_owned()), None)));
        // Of processes whose pods are not known nothing follows.
        assert_eq!(of(vec![party(1, None, ""), party(2, None, "")]).pod(), None);
    }
}
