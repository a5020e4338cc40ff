//! Where a GPU sits: near which CPUs and memory, and where in its rack.

use std::path::Path;

use nvml_wrapper::Device;
use nvml_wrapper_sys::bindings::NVML_AFFINITY_SCOPE_NODE;

use crate::{
    gpu::{
        numbers::{bits, ranges},
        raw,
        reading::Reader,
    },
    xid::PciAddress,
};

#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Of the GPU's own memory, on systems where CPUs reach it as theirs (GB200); elsewhere it is in no node.
    pub numa_node: Option<u32>,
    /// Of the host, nearest to the GPU.
    pub host_numa_node: Option<u32>,
    /// CPUs near the GPU, as the kernel writes lists: `0-31,64-95`.
    pub cpu_affinity: Option<String>,
    pub platform: Option<Platform>,
}

#[derive(Debug, Clone)]
pub struct Platform {
    pub ib_guid: String,
    pub chassis_serial: String,
    pub slot: u32,
    pub tray: u32,
    pub host: u32,
    pub peer_type: u32,
    pub module: u32,
}

/// 4096 CPUs or NUMA nodes, of which no machine has more.
const WORDS: usize = 64;

impl Place {
    /// `host` is where the host's files are.
    pub fn read(d: &Device<'_>, r: &mut Reader<'_>, pci: Option<PciAddress>, host: &Path) -> Self {
        let cpus = r.read("cpu_affinity", "nvmlDeviceGetCpuAffinity", || d.cpu_affinity(WORDS));
        let cpu_affinity = cpus.and_then(|words| {
            let list = ranges(&words);
            if list.is_empty() {
                r.not_available("cpu_affinity", "nvmlDeviceGetCpuAffinity");
            }
            Some(list).filter(|list| !list.is_empty())
        });
        Self {
            numa_node: r.read("numa_node", "nvmlDeviceGetNumaNodeId", || d.numa_node_id()),
            host_numa_node: host_numa_node(d, r, pci, host),
            cpu_affinity,
            platform: r
                .read("platform", "nvmlDeviceGetPlatformInfo", || raw::identity::platform(d))
                .map(Platform::of),
        }
    }
}

/// From NVML where it names one node, else from the kernel, which has one for each device.
fn host_numa_node(
    d: &Device<'_>,
    r: &mut Reader<'_>,
    pci: Option<PciAddress>,
    host: &Path,
) -> Option<u32> {
    let mut nvml = Reader::like(r);
    let words = nvml.read("host_numa_node", "nvmlDeviceGetMemoryAffinity", || {
        d.memory_affinity(WORDS, NVML_AFFINITY_SCOPE_NODE)
    });
    if let [node] = words.as_deref().map(bits).unwrap_or_default()[..] {
        return Some(node);
    }
    let shown = pci.and_then(|pci| {
        let path = host.join(format!("sys/bus/pci/devices/{pci}/numa_node"));
        // -1 where the firmware does not say.
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    });
    if shown.is_none() {
        if words.is_some() {
            nvml.not_available("host_numa_node", "nvmlDeviceGetMemoryAffinity");
        }
        r.adopt(nvml);
    }
    shown
}

impl Platform {
    fn of(platform: raw::identity::Platform) -> Self {
        let serial = platform.chassis_serial.split(|byte| *byte == 0).next().unwrap_or_default();
        Self {
            ib_guid: format!("{:032x}", u128::from_be_bytes(platform.ib_guid)),
            chassis_serial: String::from_utf8_lossy(serial).into_owned(),
            slot: platform.slot.into(),
            tray: platform.tray.into(),
            host: platform.host.into(),
            peer_type: platform.peer_type.into(),
            module: platform.module.into(),
        }
    }
}
