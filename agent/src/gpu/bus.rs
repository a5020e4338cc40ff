//! GPUs that the driver has and NVML does not tell of: what a node that has lost one still knows of it.
//!
//! A GPU that fell off the bus is forgotten when the driver is loaded again, and one that does not start is never counted:
//! NVML then has one GPU fewer and no error. The driver's own list, `/proc/driver/nvidia/gpus`, has every function that it
//! is bound to. One whose device file is not in this container was not given to it, and one that the module's setting
//! `NVreg_ExcludedGpus` names is kept from everybody, which is no fault.

use std::{fs, path::Path};

use super::{GpuName, pci_address};
use crate::xid::PciAddress;

/// Where the driver lists its GPUs, below the root of the node's file system.
pub const LISTED: &str = "proc/driver/nvidia/gpus";

/// A GPU as the driver's kernel module lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub pci: PciAddress,
    /// The N of `/dev/nvidiaN`.
    pub minor: u32,
    /// Where the driver knows it.
    pub model: Option<String>,
    /// By the driver's setting nobody may use it.
    pub excluded: bool,
}

/// The driver's own list. A sick driver may keep whoever reads it waiting: for a thread that may.
#[must_use]
pub fn listed(root: &Path) -> Vec<Listed> {
    let entries = fs::read_dir(root.join(LISTED)).into_iter().flatten().filter_map(Result::ok);
    let mut listed: Vec<_> = entries
        .filter_map(|entry| read(pci_address(entry.file_name().to_str()?)?, &entry.path()))
        .collect();
    listed.sort_by_key(|gpu| gpu.pci);
    listed
}

/// `0000:3b:00.0/information`, which has lines `Model: \t\t NVIDIA H100`, `Device Minor: \t 0` and `GPU Excluded:\t No`.
fn read(pci: PciAddress, folder: &Path) -> Option<Listed> {
    let text = fs::read_to_string(folder.join("information")).ok()?;
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(value.trim().to_owned())
    };
    let model = field("Model").filter(|model| !model.is_empty() && model != "Unknown");
    let excluded = field("GPU Excluded").is_some_and(|excluded| excluded == "Yes");
    Some(Listed { pci, minor: field("Device Minor")?.parse().ok()?, model, excluded })
}

/// What NVML does not tell of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Untold {
    /// Their device files are there, so that NVML should.
    pub missing: Vec<Listed>,
    /// Their device files are not in this container.
    pub not_given: Vec<Listed>,
    /// The driver's setting excludes them.
    pub excluded: Vec<Listed>,
}

/// Of the driver's list, the GPUs that NVML does not tell of.
#[must_use]
pub fn untold(listed: Vec<Listed>, dev: &Path, told: &[GpuName]) -> Untold {
    let is_told = |gpu: &Listed| told.iter().any(|name| name.pci == Some(gpu.pci));
    let is_given = |gpu: &Listed| dev.join(format!("nvidia{}", gpu.minor)).exists();
    let untold = listed.into_iter().filter(|gpu| !is_told(gpu));
    let (excluded, usable): (Vec<_>, Vec<_>) = untold.partition(|gpu| gpu.excluded);
    let (missing, not_given) = usable.into_iter().partition(is_given);
    Untold { missing, not_given, excluded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_nvml_does_not_tell_of_is_gone_or_was_not_given_or_is_excluded() {
        let node = tempfile::tempdir().unwrap();
        let dev = tempfile::tempdir().unwrap();
        let addresses = ["0000:1b:00.0", "0000:43:00.0", "0000:52:00.0", "0000:61:00.0"];
        for (minor, address) in addresses.iter().enumerate() {
            let folder = node.path().join(LISTED).join(address);
            fs::create_dir_all(&folder).unwrap();
            let excluded = if minor == 3 { "Yes" } else { "No" };
            let text = format!(
                "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 18\nBus Location: \t {address}\nDevice Minor: \t {minor}\n\
                 GPU Excluded:\t {excluded}\n"
            );
            fs::write(folder.join("information"), text).unwrap();
        }
        for given in ["nvidia1", "nvidia3"] {
            fs::write(dev.path().join(given), "").unwrap();
        }
        let told = GpuName { pci: pci_address("0000:1b:00.0"), ..GpuName::default() };
        let of = |minors: &[u32]| -> Vec<_> {
            listed(node.path()).into_iter().filter(|gpu| minors.contains(&gpu.minor)).collect()
        };
        let found = untold(listed(node.path()), dev.path(), &[told]);
        assert_eq!(found, Untold { missing: of(&[1]), not_given: of(&[2]), excluded: of(&[3]) });
        assert_eq!(found.missing[0].model.as_deref(), Some("NVIDIA H100 80GB HBM3"));
        assert_eq!(listed(dev.path()), []);
    }
}
