//! What the cluster takes of the machine, and gives back: a network namespace, cgroups, settings of the kernel, folders.
//!
//! There is one cluster on a machine. Who has the folder [`CLAIM`] has it; in it are the namespace and the path of the cluster's
//! own folder, by which any checkout can end it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::cmd;

const CGROUPS: &str = "/sys/fs/cgroup";

const CLAIM: &str = "/run/k8s-gpu-mcp-cluster";

/// The network namespace of everything in it.
pub(crate) const NET: &str = "/run/k8s-gpu-mcp-cluster/net";

/// Begins the name of each node's cgroup.
const CGROUP: &str = "k8s-gpu-mcp-cluster";

/// Over these `tests/cluster/machine/node.sh` mounts what is the node's own.
const PLACES: [&str; 7] = [
    "/var/lib/kubelet",
    "/var/lib/containerd",
    "/run/containerd",
    "/run/netns",
    "/var/lib/cni",
    "/var/log/pods",
    "/var/log/containers",
];

/// A kubelet sets these as it likes them.
const SETTINGS: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// The folder of the cluster that is up, or half up.
pub(crate) fn claimed() -> Option<PathBuf> {
    let folder = fs::read_to_string(Path::new(CLAIM).join("folder")).ok()?;
    Some(PathBuf::from(folder))
}

/// The address of node `number` in the cluster's network; the first is the API server's too.
pub(crate) fn address(number: u8) -> String {
    format!("10.88.78.{number}")
}

/// The cgroup of node `number`, below the root of each hierarchy.
pub(crate) fn cgroup(number: u8) -> String {
    format!("/{CGROUP}-n{number}")
}

/// Takes the machine for the cluster whose folder is `state`.
pub(crate) fn take(state: &Path, nodes: u8) -> Result<()> {
    claim(state)?;
    let settings = SETTINGS.iter().filter_map(|name| {
        let value = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
        Some(format!("{name} {value}"))
    });
    write(&state.join("settings"), &settings.collect::<String>())?;

    let mut made = String::new();
    for place in PLACES.iter().filter(|place| !Path::new(place).exists()) {
        fs::create_dir_all(place).with_context(|| format!("cannot make {place}"))?;
        made.push_str(place);
        made.push('\n');
        write(&state.join("made"), &made)?;
    }

    write(Path::new(NET), "")?;
    cmd::output(Command::new("unshare").arg(format!("--net={NET}")).arg("true"))
        .context("cannot make a network namespace")?;
    // A pair of its own, because the kubelet refuses a loopback address, and not every kernel has the kind `dummy`.
    inside(&["ip", "link", "set", "lo", "up"])?;
    inside(&["ip", "link", "add", "nodes", "type", "veth", "peer", "name", "nodes-peer"])?;
    inside(&["ip", "link", "set", "nodes-peer", "up"])?;
    inside(&["ip", "link", "set", "nodes", "up"])?;
    for number in 1..=nodes {
        inside(&["ip", "address", "add", &format!("{}/32", address(number)), "dev", "nodes"])?;
        make_cgroup(number)?;
    }
    Ok(())
}

/// All of it or nothing is there, and one of two who try at once has it.
fn claim(state: &Path) -> Result<()> {
    let mine = PathBuf::from(format!("{CLAIM}.{}", std::process::id()));
    fs::create_dir_all(&mine).with_context(|| format!("cannot make {}", mine.display()))?;
    write(&mine.join("folder"), &state.display().to_string())?;
    let result = fs::rename(&mine, CLAIM);
    if result.is_err() {
        let _ = fs::remove_dir_all(&mine);
    }
    result.with_context(|| format!("cannot make {CLAIM}: is another cluster coming up?"))
}

/// A command in the cluster's network. Not `ip netns exec`, which mounts another /sys and hides cgroups, tracefs and bpffs.
pub(crate) fn enter(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut cmd = Command::new("nsenter");
    cmd.arg(format!("--net={NET}")).arg(program);
    cmd
}

fn inside(words: &[&str]) -> Result<()> {
    cmd::output(enter(words[0]).args(&words[1..])).map(|_| ())
}

/// Gives everything back; what was never taken is no error.
pub(crate) fn give_back(state: &Path) -> Result<()> {
    let mut kept = Vec::new();
    for dir in hierarchies().iter().flat_map(|root| our_cgroups(root)) {
        if let Err(error) = remove_cgroup(&dir) {
            kept.push(format!("{}: {error}", dir.display()));
        }
    }
    let settings = fs::read_to_string(state.join("settings")).unwrap_or_default();
    for (name, value) in settings.lines().filter_map(|line| line.split_once(' ')) {
        let file = Path::new("/proc/sys").join(name);
        let now = fs::read_to_string(&file).unwrap_or_default();
        if now.trim() != value.trim()
            && let Err(error) = fs::write(&file, value)
        {
            kept.push(format!("{}: {error}", file.display()));
        }
    }
    for place in fs::read_to_string(state.join("made")).unwrap_or_default().lines().rev() {
        // What somebody has put something into since is theirs.
        let _ = fs::remove_dir(place);
    }
    if Path::new(NET).exists() {
        // Not mounted when the cluster got no further than here.
        cmd::succeeds(Command::new("umount").args(["--lazy", NET]));
    }
    match fs::remove_dir_all(CLAIM) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            kept.push(format!("{CLAIM}: {error}"));
        }
        _ => {}
    }
    if !kept.is_empty() {
        bail!("what could not be put back as it was: {}", kept.join(", "));
    }
    Ok(())
}

/// The roots of cgroups: of each hierarchy of version 1, or the one of version 2, or of both.
fn hierarchies() -> Vec<PathBuf> {
    let top = Path::new(CGROUPS);
    if is_version_2(top) {
        return vec![top.to_owned()];
    }
    let entries = fs::read_dir(top).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

fn is_version_2(dir: &Path) -> bool {
    dir.join("cgroup.controllers").exists()
}

/// A kubelet uses a root of its own, and wants it to be there.
fn make_cgroup(number: u8) -> Result<()> {
    for root in hierarchies() {
        // A version 2 beside version 1 has no controllers: the kubelet does not use it, and runc makes its own there.
        if is_version_2(&root) && root != Path::new(CGROUPS) {
            continue;
        }
        let dir = root.join(cgroup(number).trim_start_matches('/'));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        // Empty in a new one of version 1, and then nothing can run in it.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(value) = fs::read(root.join(file)) {
                fs::write(dir.join(file), value)
                    .with_context(|| format!("cannot write {file} in {}", dir.display()))?;
            }
        }
        if is_version_2(&root) {
            let all = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
            for controller in all.split_whitespace() {
                // One that cannot be had is not had; the kubelet says whether it needs it.
                let _ = fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"));
                let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
            }
        }
    }
    Ok(())
}

fn our_cgroups(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(CGROUP));
    ours.map(|entry| entry.path()).collect()
}

/// Removes a cgroup with those below it; the last process of a killed node may take a moment to leave.
fn remove_cgroup(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
