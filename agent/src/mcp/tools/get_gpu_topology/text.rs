//! The answer of `get_gpu_topology` for people: the matrix as `nvidia-smi topo -m` shows it, and what there is to say of it.

use std::fmt::Write as _;

use super::{
    answer::{GpuPlace, LinkAnswer, LinksAnswer, NicAnswer, Topology},
    tree::TreeNode,
};
use crate::{gpu::topology::Relation, mcp::tool::Answer};

impl Answer for Topology {
    fn text(&self) -> String {
        let mut text = table(&self.grid());
        for line in self.legend() {
            let _ = write!(text, "\n{line}");
        }
        for nic in &self.nics {
            let _ = write!(text, "\n{}", nic.line());
        }
        if self.nics_left_out > 0 {
            let _ = write!(text, "\nNot shown: {} NICs or virtual functions", self.nics_left_out);
        }
        for line in self.link_lines() {
            let _ = write!(text, "\n{line}");
        }
        if let Some(line) = self.p2p_line() {
            let _ = write!(text, "\n{line}");
        }
        for note in &self.notes {
            let _ = write!(text, "\n{}: {}", note.id, note.summary);
        }
        for gpu in &self.gpus {
            for line in folded(gpu.links.as_deref().unwrap_or_default()) {
                let _ = write!(text, "\nGPU{} {line}", gpu.index);
            }
        }
        for node in self.tree.iter().flatten() {
            branch(&mut text, node, 0);
        }
        for absent in &self.absent {
            let _ = write!(text, "\n{}", absent.line());
        }
        text
    }
}

impl Topology {
    /// The table's cells, its heads included. Rows of NICs have no affinities.
    fn grid(&self) -> Vec<Vec<String>> {
        let mut heads: Vec<&str> = Vec::new();
        for row in &self.matrix {
            // A row lacks its own column, so the first two rows have all of them.
            let own = std::iter::once(row.of.as_str());
            for name in row.entries.iter().map(|entry| entry.to.as_str()).chain(own) {
                if !heads.contains(&name) {
                    heads.push(name);
                }
            }
        }
        heads.sort_by_key(|name| (name.starts_with("NIC"), name.len(), *name));
        let mut head = vec![String::new()];
        head.extend(heads.iter().map(|name| (*name).to_owned()));
        head.extend(["CPU Affinity", "NUMA Affinity", "GPU NUMA ID"].map(ToOwned::to_owned));
        let mut grid = vec![head];
        for row in &self.matrix {
            let cell = |head: &&str| {
                if *head == row.of {
                    return "X".to_owned();
                }
                let entry = row.entries.iter().find(|entry| entry.to == *head);
                entry.and_then(|entry| entry.relation.clone()).unwrap_or_else(|| "?".to_owned())
            };
            let mut line = vec![row.of.clone()];
            line.extend(heads.iter().map(cell));
            if let Some(gpu) = self.gpus.iter().find(|gpu| format!("GPU{}", gpu.index) == row.of) {
                line.extend(gpu.affinities());
            }
            grid.push(line);
        }
        grid
    }

    /// What of the matrix's words occurs, and what it means.
    fn legend(&self) -> Vec<String> {
        let entries = || self.matrix.iter().flat_map(|row| &row.entries);
        let mut legend = Vec::new();
        if entries().any(|entry| entry.nvlinks.is_some()) {
            legend.push("NV#: # NVLinks, bonded".to_owned());
        }
        let all = [
            Relation::Board,
            Relation::Switch,
            Relation::Switches,
            Relation::HostBridge,
            Relation::NumaNode,
            Relation::System,
        ];
        let occurs = |relation: &Relation| {
            entries().any(|entry| entry.relation.as_deref() == Some(relation.name()))
        };
        legend.extend(
            all.iter()
                .filter(|relation| occurs(relation))
                .map(|relation| format!("{}: {}", relation.name(), relation.meaning())),
        );
        if entries().any(|entry| entry.relation.is_none()) {
            legend.push("?: not known; its reason is in the structured answer".to_owned());
        }
        legend
    }

    /// The NVLinks of each GPU, those that are alike in one line.
    fn link_lines(&self) -> Vec<String> {
        let mut alike: Vec<(String, Vec<String>)> = Vec::new();
        for gpu in &self.gpus {
            let Some(line) = gpu.nvlinks.as_ref().map(LinksAnswer::line) else { continue };
            match alike.iter_mut().find(|(known, _)| *known == line) {
                Some((_, gpus)) => gpus.push(gpu.index.to_string()),
                None => alike.push((line, vec![gpu.index.to_string()])),
            }
        }
        let line = |(line, gpus): (String, Vec<String>)| {
            format!("NVLink of GPU {}: {line}", gpus.join(", "))
        };
        alike.into_iter().map(line).collect()
    }

    /// How many pairs may do what.
    fn p2p_line(&self) -> Option<String> {
        let told: Vec<_> = self
            .p2p
            .iter()
            .filter(|p2p| !p2p.pairs.is_empty())
            .map(|p2p| {
                let pairs = p2p.pairs.iter().map(|(status, pairs)| format!("{status} {pairs}"));
                format!("{} {}", p2p.capability, pairs.collect::<Vec<_>>().join(" "))
            })
            .collect();
        (!told.is_empty()).then(|| format!("P2P by ordered pairs of GPUs: {}", told.join(", ")))
    }
}

/// Columns as wide as their widest cell.
fn table(grid: &[Vec<String>]) -> String {
    let columns = grid.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        grid.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let lines = grid.iter().map(|line| {
        let cells = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The links in order, those beside each other that are alike in one line.
fn folded(links: &[LinkAnswer]) -> Vec<String> {
    let alike = |one: &LinkAnswer, other: &LinkAnswer| one.line() == other.line();
    let line = |links: &[LinkAnswer]| match links {
        [] => String::new(),
        [link] => format!("link {} {}", link.link, link.line()),
        [first, .., last] => format!("links {}-{} {}", first.link, last.link, first.line()),
    };
    links.chunk_by(alike).map(line).collect()
}

fn branch(text: &mut String, node: &TreeNode, depth: usize) {
    let _ = write!(text, "\n{:indent$}{} {}", "", node.address, node.kind, indent = 2 * depth);
    if let Some(name) = &node.name {
        let _ = write!(text, " {name}");
    }
    if let Some(numa) = node.numa_node {
        let _ = write!(text, ", NUMA {numa}");
    }
    if let Some(link) = &node.link {
        let _ = write!(text, ", {link}");
    }
    if let Some(most) = node.link_max.as_ref().filter(|most| node.link.as_ref() != Some(most)) {
        let _ = write!(text, " (at most {most})");
    }
    node.children.iter().for_each(|child| branch(text, child, depth + 1));
}

impl GpuPlace {
    fn affinities(&self) -> [String; 3] {
        let absent = if self.error.is_some() { "?" } else { "N/A" };
        let or = |value: Option<String>| value.unwrap_or_else(|| absent.to_owned());
        [
            or(self.cpu_affinity.clone()),
            or(self.numa_affinity.clone()),
            or(self.gpu_numa_node.map(|node| node.to_string())),
        ]
    }
}

impl LinksAnswer {
    fn line(&self) -> String {
        let mut line = format!("{} of {} up", self.up, self.total);
        let list = |numbers: &[u32]| {
            numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        for (what, which) in [("down", &self.down), ("erring", &self.erring)] {
            if !which.is_empty() {
                let _ = write!(line, ", {what} {}", list(which));
            }
        }
        if let Some(version) = &self.version {
            let _ = write!(line, ", version {version}");
        }
        if let Some(speed) = self.speed_mb_s {
            let _ = write!(line, ", each {speed} MB/s and direction");
        }
        line
    }
}

impl LinkAnswer {
    /// But for its number.
    fn line(&self) -> String {
        let mut line = format!("{}, to {}", self.state, self.peer.kind);
        if let Some(index) = self.peer.index {
            let _ = write!(line, " GPU{index}");
        }
        if let Some(pci) = &self.peer.pci_address {
            let _ = write!(line, " {pci}");
        }
        if let Some(speed) = self.speed_mb_s {
            let _ = write!(line, ", {speed} MB/s");
        }
        for (name, count) in self.errors.iter().filter(|(_, count)| **count > 0) {
            let _ = write!(line, ", {name} {count}");
        }
        line
    }
}

impl NicAnswer {
    fn line(&self) -> String {
        let names = [&self.rdma_device, &self.interface].into_iter().flatten();
        let names: Vec<_> = names.map(String::as_str).collect();
        let line = format!("{}: {} {}", self.name, names.join(" "), self.pci_address);
        line.replace(":  ", ": ")
    }
}
