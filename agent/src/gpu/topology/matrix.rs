//! What each device is to each other one: the table that people know from `nvidia-smi topo -m`.

use super::{
    links::{Link, PeerKind},
    pairs::Pair,
    place::Place,
    relation::Relation,
    tree::{Device, Tree, TreeAbsent},
};
use crate::gpu::{
    GpuError, GpuName,
    reading::{Absent, LOST},
};

/// What was read of one GPU.
#[derive(Debug)]
pub struct Read {
    pub name: GpuName,
    pub place: Result<Place, GpuError>,
    /// What it is to those that answered; empty for one that did not.
    pub pairs: Result<Vec<Pair>, GpuError>,
}

/// Everything that was read, from which each cell is told.
#[derive(Debug)]
pub struct Matrix {
    pub gpus: Vec<Read>,
    pub tree: Result<Tree, TreeAbsent>,
}

/// A row or a column.
#[derive(Debug, Clone, Copy)]
pub enum Of<'a> {
    Gpu(&'a Read),
    Nic(&'a Device),
}

/// What one device is to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// By PCIe.
    pub relation: Option<Relation>,
    /// NVLinks that are up between the two; those to switches lead to every GPU of the fabric.
    pub nvlinks: u32,
    /// Why there is no relation.
    pub reason: Option<String>,
}

impl Read {
    /// Why nothing can be told of this GPU.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        match &self.place {
            Err(error) => Some(error.to_string()),
            Ok(place) if place.lost => Some(LOST.to_owned()),
            Ok(_) => None,
        }
    }

    /// Its NVLinks, where it has any and answers.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        self.known_links().unwrap_or_default()
    }

    /// `None` where NVML does not tell all of them, or the board has none.
    #[must_use]
    pub fn known_links(&self) -> Option<&[Link]> {
        self.place.as_ref().ok()?.links.as_deref()
    }

    /// Why it may have NVLinks that are not known.
    fn untold_links(&self) -> Option<String> {
        let absent = self.place.as_ref().ok()?.absent.iter();
        let mut failed = absent.filter(|absent| absent.field == "links" && !absent.by_design);
        let Absent { call, reason, .. } = failed.next()?;
        Some(format!("GPU {}: {call}: {reason}", self.name.index))
    }

    /// Whether it is divided (MIG).
    #[must_use]
    pub fn is_divided(&self) -> bool {
        self.place.as_ref().is_ok_and(|place| place.divided)
    }

    fn links_up(&self, to: PeerKind) -> impl Iterator<Item = &Link> {
        self.links().iter().filter(move |link| link.is_up() && link.peer.kind == to)
    }

    /// Links that are up and lead to `other`, without a switch.
    #[must_use]
    pub fn direct_links(&self, other: &Self) -> u32 {
        let to = |link: &&Link| link.peer.pci.is_some() && link.peer.pci == other.name.pci;
        count(self.links_up(PeerKind::Gpu).filter(to))
    }

    /// Links that are up and lead to switches.
    #[must_use]
    pub fn switched_links(&self) -> u32 {
        count(self.links_up(PeerKind::Switch))
    }

    #[must_use]
    pub fn pair(&self, other: &Self) -> Option<&Pair> {
        let pairs = self.pairs.as_ref().ok()?;
        pairs.iter().find(|pair| pair.other == other.name.index)
    }
}

fn count(links: impl Iterator) -> u32 {
    u32::try_from(links.count()).unwrap_or(u32::MAX)
}

impl Matrix {
    #[must_use]
    pub fn cell(&self, one: Of<'_>, other: Of<'_>) -> Cell {
        if let (Of::Gpu(one), Of::Gpu(other)) = (one, other) {
            return self.gpus_cell(one, other);
        }
        let told = |relation, reason: &str| Cell {
            relation,
            nvlinks: 0,
            reason: relation.is_none().then(|| reason.to_owned()),
        };
        match (self.device(one), self.device(other)) {
            (Some(one), Some(other)) => {
                told(one.relation(other), "the kernel does not know the NUMA node of both")
            }
            _ => told(None, "the GPU is not among the kernel's PCI devices"),
        }
    }

    fn gpus_cell(&self, one: &Read, other: &Read) -> Cell {
        let untold = |reason: String| Cell { relation: None, nvlinks: 0, reason: Some(reason) };
        for gpu in [one, other] {
            if let Some(failure) = gpu.failure() {
                return untold(format!("GPU {}: {failure}", gpu.name.index));
            }
        }
        let nvlinks = one.direct_links(other) + one.switched_links().min(other.switched_links());
        // Without its NVLinks a pair would look as if it had none.
        if nvlinks == 0
            && let Some(reason) = one.untold_links().or_else(|| other.untold_links())
        {
            return untold(reason);
        }
        let (relation, reason) = match one.pair(other).map(|pair| &pair.relation) {
            Some(Ok(relation)) => (Some(*relation), None),
            // What NVML does not have the kernel may; what NVML failed to tell is not papered over.
            Some(Err(untold)) if untold.by_design => {
                let ways = self.device(Of::Gpu(one)).zip(self.device(Of::Gpu(other)));
                let relation = ways.and_then(|(one, other)| one.relation(other));
                (relation, relation.is_none().then(|| untold.reason.clone()))
            }
            Some(Err(untold)) => (None, Some(untold.reason.clone())),
            None => {
                let failed = one.pairs.as_ref().err();
                let reason = failed.map_or_else(|| "not asked".to_owned(), ToString::to_string);
                (None, Some(reason))
            }
        };
        Cell { relation, nvlinks, reason }
    }

    fn device<'a>(&'a self, of: Of<'a>) -> Option<&'a Device> {
        match of {
            Of::Gpu(gpu) => self.tree.as_ref().ok()?.gpu(gpu.name.pci?),
            Of::Nic(nic) => Some(nic),
        }
    }
}

impl Cell {
    /// As the matrix writes it; `?` where it is not known.
    #[must_use]
    pub fn text(&self) -> String {
        match self.relation {
            _ if self.nvlinks > 0 => format!("NV{}", self.nvlinks),
            Some(relation) => relation.name().to_owned(),
            None => "?".to_owned(),
        }
    }
}
