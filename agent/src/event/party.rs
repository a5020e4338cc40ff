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
