//! The driver's device files, where NVML is refused by them: which file, and what it would take.
//!
//! NVML needs `/dev/nvidiactl` and each GPU's `/dev/nvidiaN`, for reading and writing; no capability and no UID in particular.
//! The driver makes them with mode 0666 (`NVreg_DeviceFileMode`), container runtimes copy that. NVML's own error names
//! neither file nor mode.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nvml_wrapper::error::NvmlError;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{kernel_module, reading};

/// What stands between this process and the driver, and what to do; `None` where it is not the files.
#[must_use]
pub fn refusal(error: &NvmlError) -> Option<(String, String)> {
    let (dev, host) = (Path::new("/dev"), Path::new("/"));
    match error {
        NvmlError::NoPermission => denied(dev),
        NvmlError::DriverNotLoaded => missing(dev, host),
        _ => None,
    }
    .map(|(why, remedy)| (format!("{}: {why}", reading::reason(error)), remedy))
}

/// The files that this process may not open.
fn denied(dev: &Path) -> Option<(String, String)> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let may = |path: &PathBuf| {
        accessat(CWD, path, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS).is_ok()
    };
    let shown = |path: PathBuf| {
        let meta = fs::metadata(&path).ok()?;
        let mode = meta.mode() & 0o7777;
        Some(format!(
            "{} (mode {mode:04o}, UID {}, GID {})",
            path.display(),
            meta.uid(),
            meta.gid()
        ))
    };
    let closed: Vec<_> =
        files(dev).into_iter().filter(|path| !may(path)).filter_map(shown).collect();
    let who = format!("UID {}, GID {}", uid.as_raw(), gid.as_raw());
    if closed.is_empty() {
        let why = format!(
            "{who} may open the device files by their modes, so the container's device cgroup refuses them"
        );
        let remedy = "Set gpuAccess.method so that the container runtime gives this container the devices; a mount of the \
                      files alone does not.";
        return (!files(dev).is_empty()).then(|| (why, remedy.to_owned()));
    }
    let remedy = "Run the agent as UID 0 (no capability is needed), or in the group that owns the files \
                  (supplementalGroups), or have the driver make them for all (module option NVreg_DeviceFileMode=0666).";
    Some((format!("{who} may not open {}", closed.join(", ")), remedy.to_owned()))
}

/// The driver is loaded on the node, and its files are not in this container.
fn missing(dev: &Path, host: &Path) -> Option<(String, String)> {
    let module = kernel_module::read(host).ok()?;
    let control = dev.join("nvidiactl");
    if control.exists() {
        return None;
    }
    let (flavour, version) = (module.flavour.name(), module.version.unwrap_or_default());
    let module = format!("{flavour} kernel module {version}");
    Some((
        format!("the node's kernel has the driver ({}), and {} is not there", module.trim_end(), control.display()),
        "Set gpuAccess.method so that the NVIDIA runtime, CDI or a claim injects the device files (runtimeClassName: nvidia)."
            .to_owned(),
    ))
}

/// `nvidiactl` and `nvidia0`, `nvidia1`, …
fn files(dev: &Path) -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let rest = name.strip_prefix("nvidia").unwrap_or_default();
        rest == "ctl" || !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit())
    };
    let entries = fs::read_dir(dev).into_iter().flatten().filter_map(Result::ok);
    let mut files: Vec<_> = entries.map(|entry| entry.path()).filter(is_one).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_s_files_are_told_from_others() {
        let dev = tempfile::tempdir().unwrap();
        for name in
            ["nvidia0", "nvidia12", "nvidiactl", "nvidia-uvm", "nvidia", "nvidia0p1", "null"]
        {
            fs::write(dev.path().join(name), "").unwrap();
        }
        let names = ["nvidia0", "nvidia12", "nvidiactl"].map(|name| dev.path().join(name));
        assert_eq!(files(dev.path()), names);
    }

    #[test]
    fn a_driver_without_files_is_not_a_driver_that_is_not_loaded() {
        let root = tempfile::tempdir().unwrap();
        let module = root.path().join(kernel_module::PATH);
        assert_eq!(missing(root.path(), root.path()), None);
        fs::create_dir_all(module.parent().unwrap()).unwrap();
        let line = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release";
        fs::write(&module, format!("{line}\nGCC version: x\n")).unwrap();
        let (why, remedy) = missing(root.path(), root.path()).unwrap();
        assert!(
            why.contains("(open kernel module 580.95.05)") && why.contains("nvidiactl"),
            "{why}"
        );
        assert!(!why.contains("GCC") && remedy.contains("gpuAccess"), "{why}");
        fs::write(root.path().join("nvidiactl"), "").unwrap();
        assert_eq!(missing(root.path(), root.path()), None);
    }
}
