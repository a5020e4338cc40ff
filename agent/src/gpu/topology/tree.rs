//! The PCIe tree as the kernel names it: what stands between the CPU and each GPU, NIC and NVSwitch.
//!
//! `/sys/bus/pci/devices` has a link for every device, whose target is the way to it: the host bridge, then every bridge.
//! A device is touched for the speed and width that its link has now and for nothing else: the kernel reads them from the
//! device's PCI configuration space. No mount is needed in a pod: `/sys` shows all of the machine's devices there.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::relation::Relation;
use crate::xid::PciAddress;

/// Where the kernel lists its PCI devices, below the root of the node's file system.
pub const DEVICES: &str = "sys/bus/pci/devices";

/// The devices that matter here, NICs as the matrix has them, and what is above them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// By kind, then as people count them: RDMA devices by name before other NICs, all else by address.
    pub devices: Vec<Device>,
    /// What is known of the bridges on the ways.
    pub bridges: BTreeMap<PciAddress, Ends>,
    /// Virtual functions, which are parts of a device that is here.
    pub left_out: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub address: PciAddress,
    pub kind: DeviceKind,
    /// The host bridge, then bridge by bridge.
    pub way: Vec<Step>,
    pub numa_node: Option<u32>,
    /// Of a NIC: its RDMA device (`mlx5_0`), and its network interface where this network namespace has it.
    pub rdma: Option<String>,
    pub interface: Option<String>,
    pub ends: Ends,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceKind {
    Gpu,
    Nic,
    NvSwitch,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// As the kernel calls it: `pci0000:15`.
    HostBridge(String),
    Bridge(PciAddress),
}

/// A device's link to what is above it, as `32.0 GT/s x16`: now, and at most. Unknown of a device that is on no link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ends {
    pub link: Option<String>,
    pub link_max: Option<String>,
}

/// Why there is no tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeAbsent {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// They are simulated, or the kernel's list is of another machine.
    #[error("none of the GPUs that NVML lists is there")]
    NoGpu,
}

impl DeviceKind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpu => "gpu",
            Self::Nic => "nic",
            Self::NvSwitch => "nvswitch",
        }
    }

    /// By class and vendor. A NIC is whatever the kernel calls a network controller.
    fn of(class: u32, vendor: u32) -> Option<Self> {
        const NVIDIA: u32 = 0x10de;
        match class >> 8 {
            0x0300 | 0x0302 if vendor == NVIDIA => Some(Self::Gpu),
            0x0680 if vendor == NVIDIA => Some(Self::NvSwitch),
            0x0200..=0x02ff => Some(Self::Nic),
            _ => None,
        }
    }
}

impl Tree {
    /// Reads what is below `root`. Blocks for some files of each device. `gpus` are those that NVML lists.
    pub fn read(root: &Path, gpus: &[PciAddress]) -> Result<Self, TreeAbsent> {
        let folder = root.join(DEVICES);
        let mut tree = Self { devices: Vec::new(), bridges: BTreeMap::new(), left_out: 0 };
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let Some(kind) = kind(&path) else { continue };
            if fs::symlink_metadata(path.join("physfn")).is_ok() {
                tree.left_out += 1;
            } else {
                tree.devices.extend(Device::read(&path, kind));
            }
        }
        if !tree.devices.iter().any(|d| d.kind == DeviceKind::Gpu && gpus.contains(&d.address)) {
            return Err(TreeAbsent::NoGpu);
        }
        tree.devices.sort_by_cached_key(|device| {
            (
                device.kind,
                device.rdma.is_none(),
                device.rdma.as_deref().map(counted),
                device.address,
            )
        });
        for step in tree.devices.iter().flat_map(|device| &device.way) {
            if let Step::Bridge(address) = step {
                let ends = || Ends::read(&folder.join(address.to_string()));
                tree.bridges.entry(*address).or_insert_with(ends);
            }
        }
        Ok(tree)
    }

    #[must_use]
    pub fn gpu(&self, address: PciAddress) -> Option<&Device> {
        self.devices.iter().find(|d| d.kind == DeviceKind::Gpu && d.address == address)
    }

    pub fn nics(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| device.kind == DeviceKind::Nic)
    }
}

impl Device {
    fn read(path: &Path, kind: DeviceKind) -> Option<Self> {
        let way = fs::read_link(path).ok()?;
        let mut steps: Vec<Step> = way.iter().filter_map(|name| Step::of(name.to_str()?)).collect();
        let Some(Step::Bridge(address)) = steps.pop() else { return None };
        Some(Self {
            address,
            kind,
            way: steps,
            // -1 is a device of no node.
            numa_node: text(path, "numa_node").and_then(|node| node.parse().ok()),
            rdma: first_name(&path.join("infiniband")),
            interface: first_name(&path.join("net")),
            ends: Ends::read(path),
        })
    }

    /// How near another device is. `None` where the kernel does not know the NUMA node of one of two that share no host
    /// bridge.
    #[must_use]
    pub fn relation(&self, other: &Self) -> Option<Relation> {
        let shared = self.way.iter().zip(&other.way).take_while(|(one, other)| one == other);
        match shared.count() {
            0 => match (self.numa_node?, other.numa_node?) {
                (one, other) if one == other => Some(Relation::NumaNode),
                _ => Some(Relation::System),
            },
            1 => Some(Relation::HostBridge),
            // A switch is a bridge towards the CPU and one towards each device: below the last that is shared there is one.
            shared if self.way.len().max(other.way.len()) <= shared + 1 => Some(Relation::Switch),
            _ => Some(Relation::Switches),
        }
    }
}

impl Step {
    fn of(name: &str) -> Option<Self> {
        if name.starts_with("pci") && name.contains(':') {
            return Some(Self::HostBridge(name.to_owned()));
        }
        name.contains('.').then(|| PciAddress::parse(name.as_bytes()).map(Self::Bridge))?
    }
}

impl Ends {
    fn read(path: &Path) -> Self {
        let end = |which: &str| {
            let speed = text(path, &format!("{which}_link_speed"))?;
            let width = text(path, &format!("{which}_link_width"))?;
            // A bridge that is on no link has width 0.
            (width != "0").then(|| format!("{} x{width}", speed.trim_end_matches(" PCIe")))
        };
        Self { link: end("current"), link_max: end("max") }
    }
}

fn kind(path: &Path) -> Option<DeviceKind> {
    let number = |file| u32::from_str_radix(text(path, file)?.strip_prefix("0x")?, 16).ok();
    DeviceKind::of(number("class")?, number("vendor")?)
}

/// The one line of a file of a device.
fn text(path: &Path, file: &str) -> Option<String> {
    fs::read_to_string(path.join(file)).ok().map(|text| text.trim().to_owned())
}

fn first_name(folder: &PathBuf) -> Option<String> {
    let names = fs::read_dir(folder).ok()?;
    names.flatten().filter_map(|entry| entry.file_name().into_string().ok()).min()
}

/// A name in the order of its number: `mlx5_2` before `mlx5_10`.
fn counted(name: &str) -> (String, u64) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem.to_owned(), name[stem.len()..].parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(way: &[&str], numa_node: Option<u32>) -> Device {
        Device {
            address: PciAddress::parse(b"0000:01:00.0").unwrap(),
            kind: DeviceKind::Nic,
            way: way.iter().map(|step| Step::of(step).unwrap()).collect(),
            numa_node,
            rdma: None,
            interface: None,
            ends: Ends::default(),
        }
    }

    #[test]
    fn without_a_host_bridge_in_common_it_is_the_numa_nodes_that_tell() {
        for (one, other, expected) in [
            (Some(0), Some(0), Some(Relation::NumaNode)),
            (Some(0), Some(1), Some(Relation::System)),
            (Some(0), None, None),
            (None, Some(0), None),
            (None, None, None),
        ] {
            let relation = device(&["pci0000:00"], one).relation(&device(&["pci0000:80"], other));
            assert_eq!(relation, expected, "{one:?} {other:?}");
        }
        let both = device(&["pci0000:00"], None).relation(&device(&["pci0000:00"], None));
        assert_eq!(both, Some(Relation::HostBridge), "whose NUMA node nobody needs to know");
    }
}
