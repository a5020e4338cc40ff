//! Which pod and which container a process is in, told by the names of its cgroup's directories. Pure.
//!
//! Four kinds of names tell something; the runtimes and the kubelet's cgroup drivers make them:
//!
//! | name | what |
//! | --- | --- |
//! | `kubepods[-burstable\|-besteffort]-pod<uid>.slice`, before it the slices of `--cgroup-root` | a pod, systemd driver; `_` stands for `-` in the uid |
//! | `pod<uid>` below `burstable`, `besteffort` or `kubepods` | a pod, cgroupfs driver |
//! | `[<runtime>-]<64 hex>[.scope]` | a container |
//! | `<pod's slice>:<runtime>:<id>` | both: a runtime with the cgroupfs driver under a kubelet with systemd's, and Kata |
//!
//! The rules:
//!
//! - **The container is the directory directly below its pod's.** What it makes below itself (an init system, containers of its
//!   own) is part of it, and what stands above the pod (a node that is itself a container) is not it.
//! - **The outermost pod comes first.** A tenant who may write below his container can make directories of any name there,
//!   another pod's too. So who reads only some of the names has to leave out the innermost, not the outermost. A pod inside of a pod is then the second place ([`places`]): right only for who knows that pod, as
//!   the agent does where its kubelet runs in a pod.
//! - **A uid is a UUID or, of a static pod, 32 hexadecimal digits**; anything else is no pod. A container's id that was cut
//!   off is none.
//! - **`conmon` is no container**: it watches one.
//! - **Without a pod the outermost container counts**: that is the one that this node's runtime knows.

/// Where a process runs, as far as names tell. At least one of pod and container is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// As the kubelet writes it: a UUID, or the 32 digits of a static pod.
    pub pod_uid: Option<String>,
    pub qos: Option<Qos>,
    /// 64 hexadecimal digits.
    pub container_id: Option<String>,
    pub runtime: Option<Runtime>,
}

/// The kubelet's quality-of-service class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

/// Who runs the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Runtime {
    Containerd,
    CriO,
    Docker,
    Podman,
}

/// The place that names tell, the innermost directory's first; of several, the outermost.
#[must_use]
pub fn place<'a>(names_leaf_first: impl IntoIterator<Item = &'a str>) -> Option<Place> {
    places(names_leaf_first).into_iter().next()
}

/// Every pod on the way, the outermost first; where there is none, the outermost container.
#[must_use]
pub fn places<'a>(names_leaf_first: impl IntoIterator<Item = &'a str>) -> Vec<Place> {
    // What leads out of a cgroup namespace (`..`) names nothing.
    let mut names: Vec<&str> =
        names_leaf_first.into_iter().filter(|name| !matches!(*name, "" | "." | "..")).collect();
    names.reverse();
    let parent = |at: usize| at.checked_sub(1).and_then(|above| names.get(above)).copied();

    let pods = names.iter().enumerate().filter_map(|(at, name)| {
        let (uid, qos, within) = pod(name, parent(at))?;
        let container = within.or_else(|| names.get(at + 1).copied()).and_then(container);
        let (container_id, runtime) = container.unzip();
        Some(Place {
            pod_uid: Some(uid),
            qos,
            container_id: container_id.map(str::to_owned),
            runtime: runtime.flatten(),
        })
    });
    let mut places: Vec<Place> = pods.collect();
    if places.is_empty() {
        places.extend(names.iter().enumerate().find_map(|(at, name)| {
            let (id, runtime) = container(name)?;
            let runtime = runtime.or((parent(at) == Some("docker")).then_some(Runtime::Docker));
            Some(Place { container_id: Some(id.to_owned()), runtime, ..Place::default() })
        }));
    }
    places
}

/// The place that a path in a cgroup hierarchy tells.
#[must_use]
pub fn place_of_path(path: &str) -> Option<Place> {
    // So the kernel marks a cgroup that is gone.
    place(path.strip_suffix(" (deleted)").unwrap_or(path).rsplit('/'))
}

/// The place that the text of `/proc/PID/cgroup` tells: of its hierarchies the one that tells most, as a runtime need not
/// have put its container into all of them.
#[must_use]
pub fn of_proc_cgroup(text: &str) -> Option<Place> {
    let told = |place: &Place| (place.pod_uid.is_some(), place.container_id.is_some());
    // hierarchy:controllers:path
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.filter_map(place_of_path).reduce(
        |best, other| {
            if told(&other) > told(&best) { other } else { best }
        },
    )
}

/// The pod of a directory: uid, class, and the container where one name tells both.
fn pod<'a>(name: &'a str, parent: Option<&str>) -> Option<(String, Option<Qos>, Option<&'a str>)> {
    if let Some((slice, rest)) = name.split_once(".slice") {
        let (above, escaped) = slice.rsplit_once("-pod")?;
        let uid = uid(&escaped.replace('_', "-"))?;
        let qos = qos(above.rsplit('-').next()?)?;
        let kubepods = match qos {
            Qos::Guaranteed => above,
            Qos::Burstable | Qos::BestEffort => above.rsplit_once('-')?.0,
        };
        let within = match rest {
            "" => None,
            rest => Some(rest.strip_prefix(':')?),
        };
        return is_kubepods(kubepods).then_some((uid, Some(qos), within));
    }
    let uid = uid(name.strip_prefix("pod")?)?;
    match parent {
        // The way up was longer than what was read of it.
        None => Some((uid, None, None)),
        Some(parent) => qos(parent).map(|qos| (uid, Some(qos), None)),
    }
}

/// The class of the pods below a directory, by the last word of its name.
fn qos(word: &str) -> Option<Qos> {
    match word {
        "burstable" => Some(Qos::Burstable),
        "besteffort" => Some(Qos::BestEffort),
        word => is_kubepods(word).then_some(Qos::Guaranteed),
    }
}

fn is_kubepods(name: &str) -> bool {
    name.rsplit('-').next() == Some("kubepods")
}

fn uid(text: &str) -> Option<String> {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    let formed = matches!(groups.as_slice(), [32] | [8, 4, 4, 4, 12]);
    (formed && text.split('-').all(is_hex)).then(|| text.to_owned())
}

/// A container's id and who runs it.
fn container(name: &str) -> Option<(&str, Option<Runtime>)> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    if is_container_id(name) {
        return Some((name, None));
    }
    let (maker, id) = name.rsplit_once(['-', ':'])?;
    let runtime = match maker {
        "cri-containerd" | "nerdctl" => Runtime::Containerd,
        "crio" => Runtime::CriO,
        "docker" => Runtime::Docker,
        "libpod" | "libpod-payload" => Runtime::Podman,
        _ => return None,
    };
    is_container_id(id).then_some((id, Some(runtime)))
}

/// Whether `text` has the form of a container's id.
pub(super) fn is_container_id(text: &str) -> bool {
    text.len() == 64 && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
#[path = "place_test.rs"]
mod tests;
