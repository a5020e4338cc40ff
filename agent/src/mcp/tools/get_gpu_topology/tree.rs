//! The PCIe tree of an answer: what the flat list of ways is when it is put together.

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use crate::gpu::topology::{
    Matrix, Tree,
    tree::{Device, Ends, Step},
};

/// A host bridge, a bridge, or a device, and what hangs below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TreeNode {
    /// As the kernel names it: `pci0000:15` for a host bridge, else a PCI address.
    pub address: String,
    /// host_bridge, bridge, gpu, nic or nvswitch.
    pub kind: &'static str,
    /// As in the matrix (GPU0, NIC3), of a device that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numa_node: Option<u32>,
    /// The PCIe link above it, as `32.0 GT/s x16`: now and at most. An idle GPU slows its link down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_max: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<TreeNode>,
}

/// The tree by its host bridges, all in the order of their addresses.
pub fn nodes(matrix: &Matrix, tree: &Tree) -> Vec<TreeNode> {
    let mut roots = Vec::new();
    let mut nics = 0;
    for device in &tree.devices {
        let name = match device.kind.name() {
            "nic" => {
                nics += 1;
                Some(format!("NIC{}", nics - 1))
            }
            _ => matrix
                .gpus
                .iter()
                .find(|gpu| gpu.name.pci == Some(device.address))
                .map(|gpu| format!("GPU{}", gpu.name.index)),
        };
        insert(&mut roots, tree, device, &device.way, name);
    }
    sort(&mut roots);
    roots
}

fn insert(
    level: &mut Vec<TreeNode>,
    tree: &Tree,
    device: &Device,
    way: &[Step],
    name: Option<String>,
) {
    let Some((step, rest)) = way.split_first() else {
        let (address, kind) = (device.address.to_string(), device.kind.name());
        let numa_node = device.numa_node;
        level.push(TreeNode { name, numa_node, ..TreeNode::of(address, kind, &device.ends) });
        return;
    };
    let node = match step {
        Step::HostBridge(name) => TreeNode {
            numa_node: device.numa_node,
            ..TreeNode::of(name.clone(), "host_bridge", &Ends::default())
        },
        Step::Bridge(address) => {
            let ends = tree.bridges.get(address).cloned().unwrap_or_default();
            TreeNode::of(address.to_string(), "bridge", &ends)
        }
    };
    let at = level.iter().position(|known| known.address == node.address).unwrap_or_else(|| {
        level.push(node);
        level.len() - 1
    });
    if let Some(node) = level.get_mut(at) {
        insert(&mut node.children, tree, device, rest, name);
    }
}

fn sort(level: &mut [TreeNode]) {
    level.sort_by(|one, other| one.address.cmp(&other.address));
    for node in level {
        sort(&mut node.children);
    }
}

impl TreeNode {
    fn of(address: String, kind: &'static str, ends: &Ends) -> Self {
        let Ends { link, link_max } = ends.clone();
        Self { address, kind, name: None, numa_node: None, link, link_max, children: Vec::new() }
    }
}
