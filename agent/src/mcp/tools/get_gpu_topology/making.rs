//! What makes the answer of the matrix.

use std::collections::BTreeMap;

use super::{
    answer::{
        C2cAnswer, EntryAnswer, GpuPlace, LinkAnswer, LinksAnswer, NicAnswer, NoteAnswer,
        P2pAnswer, PeerAnswer, PeerStatus, RowAnswer, Topology,
    },
    tree::nodes,
};
use crate::{
    gpu::{
        reading::Absent,
        topology::{
            Capability, Cell, Link, Matrix, Note, P2pStatus, Pair, PeerKind, Read, Relation,
            matrix::Of,
            notes,
            place::C2c,
            tree::{DEVICES, Device},
        },
    },
    mcp::tools::select::Detail,
    node::Node,
};

/// NICs in the matrix of a summary: as many as a DGX has. With sixteen GPUs they fill 32 KiB.
const MOST_NICS: usize = 12;

impl Topology {
    /// `wanted` is the index of the GPU asked about, or all.
    pub fn of(node: &Node, matrix: &Matrix, wanted: Option<u32>, detail: Detail) -> Self {
        let full = detail == Detail::Full;
        let is_wanted = |index: u32| wanted.is_none_or(|wanted| wanted == index);
        let tree = matrix.tree.as_ref().ok();
        let all_nics = tree.map_or_else(Vec::new, |tree| tree.nics().collect());
        let nics = &all_nics[..all_nics.len().min(if full { usize::MAX } else { MOST_NICS })];
        let columns: Vec<(String, Of<'_>)> = matrix
            .gpus
            .iter()
            .map(|gpu| (format!("GPU{}", gpu.name.index), Of::Gpu(gpu)))
            .chain(nics.iter().enumerate().map(|(at, nic)| (format!("NIC{at}"), Of::Nic(nic))))
            .collect();
        let rows = columns.iter().filter(|(_, of)| match of {
            Of::Gpu(gpu) => is_wanted(gpu.name.index),
            Of::Nic(_) => full && wanted.is_none(),
        });
        let gpus: Vec<_> = matrix.gpus.iter().filter(|gpu| is_wanted(gpu.name.index)).collect();
        let notes = notes(matrix)
            .into_iter()
            .filter(|note| note.gpus.iter().any(|index| is_wanted(*index)));
        let why = matrix.tree.as_ref().err().map(|absent| Absent {
            field: "tree",
            call: DEVICES,
            reason: absent.to_string(),
            by_design: false,
        });
        Self {
            simulated: node.gpu.simulated(),
            node: node.name.clone(),
            matrix: rows
                .map(|row| RowAnswer::of(matrix, row, &columns, full, &is_wanted))
                .collect(),
            p2p: Capability::ALL.map(|what| P2pAnswer::of(&gpus, what)).into(),
            gpus: gpus.iter().map(|gpu| GpuPlace::of(gpu, matrix, full)).collect(),
            nics: nics.iter().enumerate().map(|(at, nic)| NicAnswer::of(at, nic)).collect(),
            nics_left_out: all_nics.len() - nics.len() + tree.map_or(0, |tree| tree.left_out),
            notes: notes.map(Into::into).collect(),
            tree: tree.filter(|_| full).map(|tree| nodes(matrix, tree)),
            absent: why.into_iter().map(Into::into).collect(),
            reasons: Vec::new(),
        }
    }
}

impl RowAnswer {
    fn of(
        matrix: &Matrix,
        row: &(String, Of<'_>),
        columns: &[(String, Of<'_>)],
        full: bool,
        is_wanted: &dyn Fn(u32) -> bool,
    ) -> Self {
        let others = columns.iter().filter(|(name, _)| *name != row.0);
        // Of a GPU that is among the answer's `gpus`.
        let is_told = |of: Of<'_>| matches!(of, Of::Gpu(gpu) if gpu.failure().is_some() && is_wanted(gpu.name.index));
        let entry = |(name, column): &(String, Of<'_>)| {
            let mut cell = matrix.cell(row.1, *column);
            cell.reason.take_if(|_| is_told(row.1) || is_told(*column));
            EntryAnswer::of(name.clone(), cell, full)
        };
        Self { of: row.0.clone(), entries: others.map(entry).collect() }
    }
}

impl EntryAnswer {
    fn of(to: String, cell: Cell, full: bool) -> Self {
        let known = cell.nvlinks > 0 || cell.relation.is_some();
        Self {
            to,
            relation: known.then(|| cell.text()),
            nvlinks: (cell.nvlinks > 0).then_some(cell.nvlinks),
            pcie: cell.relation.filter(|_| full && cell.nvlinks > 0).map(Relation::name),
            reason: cell.reason.filter(|_| full || !known),
        }
    }
}

/// Absences that concern the summary's own values.
const SUMMARY: [&str; 6] =
    ["pci", "uuid", "cpu_affinity", "numa_affinity", "gpu_numa_node", "links"];

impl GpuPlace {
    fn of(gpu: &Read, matrix: &Matrix, full: bool) -> Self {
        let place = gpu.place.as_ref().ok();
        let absent = place.into_iter().flat_map(|place| &place.absent);
        // Of a GPU that is lost its error says it all.
        let in_summary = |field| gpu.failure().is_none() && SUMMARY.contains(&field);
        let told = |absent: &&Absent| full || in_summary(absent.field);
        let links = gpu.known_links().filter(|_| full).map(<[Link]>::iter);
        let asked = full && gpu.failure().is_none();
        let pairs = gpu.pairs.as_ref().ok().filter(|_| asked);
        let unasked = gpu.pairs.as_ref().err().filter(|_| full).map(|error| Absent {
            field: "p2p",
            call: "nvmlDeviceGetP2PStatus",
            reason: error.to_string(),
            by_design: false,
        });
        let remedy = gpu.place.as_ref().err().map(|error| format!(". {}", error.remedy()));
        Self {
            index: gpu.name.index,
            pci_address: gpu.name.pci.map(|pci| pci.to_string()),
            uuid: gpu.name.uuid.clone(),
            error: gpu.failure().map(|failure| failure + &remedy.unwrap_or_default()),
            cpu_affinity: place.and_then(|place| place.cpus.clone()),
            numa_affinity: place.and_then(|place| place.memory_nodes.clone()),
            gpu_numa_node: place.and_then(|place| place.own_node),
            nvlinks: LinksAnswer::of(gpu.links()),
            c2c: place.and_then(|place| place.c2c).map(C2cAnswer::of),
            links: links.map(|links| links.map(|link| LinkAnswer::of(link, matrix)).collect()),
            p2p: pairs.map(|pairs| pairs.iter().map(PeerStatus::of).collect()),
            absent: absent.filter(told).cloned().chain(unasked).map(Into::into).collect(),
        }
    }
}

impl LinksAnswer {
    fn of(links: &[Link]) -> Option<Self> {
        let first = links.first()?;
        let numbers = |wanted: fn(&Link) -> bool| {
            links.iter().filter(|link| wanted(link)).map(|link| link.number).collect()
        };
        let mut speeds = links.iter().filter(|link| link.is_up()).map(|link| link.speed_mb_s);
        let speed = speeds.next().flatten();
        Some(Self {
            total: links.len(),
            up: links.iter().filter(|link| link.is_up()).count(),
            down: numbers(|link| !link.is_up()),
            erring: numbers(Link::is_erring),
            version: first.version.clone(),
            speed_mb_s: speed.filter(|_| speeds.all(|other| other == speed)),
        })
    }
}

impl C2cAnswer {
    fn of(c2c: C2c) -> Self {
        let C2c { enabled, links, links_up, max_bandwidth_mb_s } = c2c;
        Self { enabled, links, links_up, max_bandwidth_mb_s }
    }
}

impl LinkAnswer {
    fn of(link: &Link, matrix: &Matrix) -> Self {
        let peer = matrix.gpus.iter().find(|gpu| {
            link.peer.kind == PeerKind::Gpu
                && link.peer.pci.is_some()
                && gpu.name.pci == link.peer.pci
        });
        Self {
            link: link.number,
            state: link.state.name(),
            version: link.version.clone(),
            speed_mb_s: link.speed_mb_s,
            peer: PeerAnswer {
                kind: match link.peer.kind {
                    PeerKind::Gpu => "gpu",
                    PeerKind::Switch => "nvswitch",
                    PeerKind::Cpu => "cpu",
                    PeerKind::Unknown => "unknown",
                },
                pci_address: link.peer.pci.map(|pci| pci.to_string()),
                index: peer.map(|gpu| gpu.name.index),
                uuid: peer.and_then(|gpu| gpu.name.uuid.clone()),
            },
            errors: link.errors.iter().copied().collect(),
        }
    }
}

impl PeerStatus {
    fn of(pair: &Pair) -> Self {
        let told = |what| pair.p2p(what).ok().map(P2pStatus::name);
        let untold = Capability::ALL.into_iter().find_map(|what| pair.p2p(what).err());
        Self {
            to: format!("GPU{}", pair.other),
            read: told(Capability::Read),
            write: told(Capability::Write),
            nvlink: told(Capability::Nvlink),
            atomics: told(Capability::Atomics),
            pcie: told(Capability::Pcie),
            reason: untold.map(|untold| untold.reason.clone()),
        }
    }
}

impl P2pAnswer {
    fn of(gpus: &[&Read], what: Capability) -> Self {
        let mut pairs = BTreeMap::new();
        for pair in gpus.iter().filter_map(|gpu| gpu.pairs.as_ref().ok()).flatten() {
            let status = pair.p2p(what).map_or("untold", |status| status.name());
            *pairs.entry(status).or_default() += 1;
        }
        Self { capability: what.name(), pairs }
    }
}

impl NicAnswer {
    fn of(at: usize, nic: &Device) -> Self {
        Self {
            name: format!("NIC{at}"),
            pci_address: nic.address.to_string(),
            rdma_device: nic.rdma.clone(),
            interface: nic.interface.clone(),
            numa_node: nic.numa_node,
        }
    }
}

impl From<Note> for NoteAnswer {
    fn from(note: Note) -> Self {
        let Note { id, gpus, summary } = note;
        Self { id, gpus, summary }
    }
}
