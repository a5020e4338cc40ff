//! The machine around the agent: what an init does before anything else, as far as the checks need it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    fs::{CWD, FileType, Mode, makedev, mknodat},
    mount::{MountFlags, UnmountFlags, mount, unmount},
    system::{RebootCommand, finit_module, reboot},
};

/// Where the control groups are, on any node.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Mounts what a node has mounted, and has the kernel show all but its debug messages on the console: before 6.0 the
/// program hears no others.
pub fn set_up() -> Result<()> {
    for (what, place) in
        [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp")]
    {
        fs::create_dir_all(place)?;
        mount(what, place, what, MountFlags::empty(), None)
            .with_context(|| format!("mounting {place}"))?;
    }
    mount("cgroup2", CGROUPS, "cgroup2", MountFlags::empty(), None).context("mounting cgroup2")?;
    fs::write("/proc/sys/kernel/printk", "7\n").context("printk")?;
    // Else a process has ten lines in five seconds.
    fs::write("/proc/sys/kernel/printk_devkmsg", "on\n").context("printk_devkmsg")
}

/// Loads the stand-in.
pub fn module() -> Result<()> {
    // From the kernel's command line.
    let parameters = std::ffi::CString::new(std::env::var("STANDIN").unwrap_or_default())?;
    finit_module(File::open("/nvidia.ko")?, &parameters, 0).context("loading /nvidia.ko")
}

/// Makes the device nodes, as the driver's `nvidia-modprobe` does: the majors are in /proc/devices.
pub fn nodes() -> Result<()> {
    let devices = fs::read_to_string("/proc/devices")?;
    let major = |names: &[&str]| {
        let mut lines = devices.lines().filter_map(|line| line.trim().split_once(' '));
        let (number, _) = lines
            .find(|(_, name)| names.contains(name))
            .with_context(|| format!("no {names:?} in /proc/devices"))?;
        Ok::<u32, anyhow::Error>(number.parse()?)
    };
    let nvidia = major(&["nvidia", "nvidia-frontend"])?;
    let (uvm, caps) = (major(&["nvidia-uvm"])?, major(&["nvidia-caps"])?);
    fs::create_dir_all("/dev/nvidia-caps")?;
    for (path, major, minor) in [
        ("/dev/nvidia0", nvidia, 0),
        ("/dev/nvidia1", nvidia, 1),
        ("/dev/nvidia2", nvidia, 2),
        ("/dev/nvidia3", nvidia, 3),
        ("/dev/nvidia-modeset", nvidia, 254),
        ("/dev/nvidiactl", nvidia, 255),
        ("/dev/nvidia-uvm", uvm, 0),
        ("/dev/nvidia-uvm-tools", uvm, 1),
        ("/dev/nvidia-caps/nvidia-cap1", caps, 1),
        ("/dev/nvidia-caps/nvidia-cap2", caps, 2),
    ] {
        let mode = Mode::from_raw_mode(0o666);
        mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(major, minor))
            .with_context(|| format!("making {path}"))?;
    }
    Ok(())
}

/// A pod of the burstable class as the kubelet and containerd name it, by systemd's rules for names.
pub const POD: &str = "5a0f9c5e-6f7b-4c0e-9d57-1f2d3c4b5a69";
pub const CONTAINER: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// The control group of that container, made anew, in the tree of version 2.
pub fn container_v2() -> Result<PathBuf> {
    container(Path::new(CGROUPS))
}

/// The same on a node of version 1: each controller has a tree of its own, and there is no version 2 to be seen.
pub fn container_v1() -> Result<Vec<PathBuf>> {
    unmount(CGROUPS, UnmountFlags::DETACH).context("unmounting cgroup2")?;
    mount("tmpfs", CGROUPS, "tmpfs", MountFlags::empty(), None).context("mounting a tmpfs")?;
    let mut groups = Vec::new();
    for controller in ["memory", "pids", "cpu", "devices"] {
        let tree = Path::new(CGROUPS).join(controller);
        fs::create_dir(&tree)?;
        let option = std::ffi::CString::new(controller)?;
        // A kernel may be built without some of them for version 1.
        match mount("cgroup", &tree, "cgroup", MountFlags::empty(), Some(option.as_c_str())) {
            Ok(()) => groups.push(container(&tree)?),
            Err(_) => fs::remove_dir(&tree)?,
        }
    }
    if groups.is_empty() {
        bail!("this kernel mounts no controller of version 1");
    }
    Ok(groups)
}

fn container(tree: &Path) -> Result<PathBuf> {
    let pod = POD.replace('-', "_");
    let group = tree
        .join("kubepods.slice/kubepods-burstable.slice")
        .join(format!("kubepods-burstable-pod{pod}.slice"))
        .join(format!("cri-containerd-{CONTAINER}.scope"));
    fs::create_dir_all(&group).with_context(|| format!("making {}", group.display()))?;
    Ok(group)
}

/// Ends the machine.
pub fn power_off() -> Result<()> {
    rustix::fs::sync();
    reboot(RebootCommand::PowerOff).context("powering off")
}
