//! Arguments that several tools share: which GPU, how much detail, which kinds and severities.

use rmcp::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};

use crate::{
    gpu::{self, GpuError, GpuName, inventory, reading::Reader},
    mcp::tool::Refusal,
    node::Node,
    xid::{Kind, PciAddress, Severity},
};

/// How much of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// What most questions need.
    #[default]
    Summary,
    /// Everything that is read.
    Full,
}

/// A GPU by its index (3), PCI address ("0000:61:00.0") or UUID ("GPU-…").
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum GpuArgument {
    Index(u32),
    Name(String),
}

impl GpuArgument {
    pub fn text(&self) -> String {
        match self {
            Self::Index(index) => index.to_string(),
            Self::Name(name) => name.clone(),
        }
    }
}

/// Which GPU, and how much of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GpuAndDetail {
    /// One GPU by index, PCI address or UUID; all when left out.
    #[serde(default)]
    pub gpu: Option<GpuArgument>,
    /// `summary` (default), or `full` for every figure that is read.
    #[serde(default)]
    pub detail: Detail,
}

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KindArgument {
    /// An error report of the GPU driver, by number.
    Xid,
    /// An error report of the NVSwitch driver, by number.
    Sxid,
    /// A GPU that fell off the bus.
    BusLoss,
    /// The driver could not bring a GPU up.
    InitFailure,
    /// The driver refuses work until a reset.
    ResetRequired,
    /// A notice about the GPU's system processor.
    Gsp,
    /// A PCIe error of a GPU or of a port above one.
    Aer,
}

impl KindArgument {
    pub fn kind(self) -> Kind {
        match self {
            Self::Xid => Kind::Xid,
            Self::Sxid => Kind::Sxid,
            Self::BusLoss => Kind::BusLoss,
            Self::InitFailure => Kind::InitFailure,
            Self::ResetRequired => Kind::ResetRequired,
            Self::Gsp => Kind::Gsp,
            Self::Aer => Kind::Aer,
        }
    }

    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Xid => Self::Xid,
            Kind::Sxid => Self::Sxid,
            Kind::BusLoss => Self::BusLoss,
            Kind::InitFailure => Self::InitFailure,
            Kind::ResetRequired => Self::ResetRequired,
            Kind::Gsp => Self::Gsp,
            Kind::Aer => Self::Aer,
        }
    }
}

/// How bad, from nothing to do (info) to a node that has to be restarted (fatal).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum SeverityArgument {
    Info,
    Warning,
    Error,
    Critical,
    Fatal,
}

impl SeverityArgument {
    pub fn severity(self) -> Severity {
        match self {
            Self::Info => Severity::Info,
            Self::Warning => Severity::Warning,
            Self::Error => Severity::Error,
            Self::Critical => Severity::Critical,
            Self::Fatal => Severity::Fatal,
        }
    }

    pub fn of(severity: Severity) -> Self {
        match severity {
            Severity::Info => Self::Info,
            Severity::Warning => Self::Warning,
            Severity::Error => Self::Error,
            Severity::Critical => Self::Critical,
            Severity::Fatal => Self::Fatal,
        }
    }
}

/// The GPUs that are asked about: all, or the one that is named.
pub async fn gpus(node: &Node, wanted: Option<&GpuArgument>) -> Result<Vec<GpuName>, GpuError> {
    let names = node
        .gpu
        .ask(|session| {
            let count = inventory::count(session)?;
            let name = |index| match inventory::device(session.nvml, session, index) {
                Ok(device) => inventory::name(&device, index, &mut Reader::new(session.progress)),
                Err(_) => GpuName { index, pci: None, uuid: None },
            };
            Ok((0..count).map(name).collect::<Vec<_>>())
        })
        .await?;
    let Some(wanted) = wanted.map(GpuArgument::text) else { return Ok(names) };
    if let Some(name) = names.iter().find(|name| name.matches(&wanted)) {
        return Ok(vec![name.clone()]);
    }
    let known: Vec<String> =
        names.iter().map(|name| format!("{} ({})", name.index, pci_text(name))).collect();
    Err(GpuError::NoSuchGpu {
        wanted: super::super::render::bounded(&wanted, 64),
        known: known.join(", "),
    })
}

/// The PCI address that events of the wanted GPU carry. An address needs no NVML: it may be of a GPU that is gone.
pub async fn pci(node: &Node, wanted: Option<&GpuArgument>) -> Result<Option<PciAddress>, Refusal> {
    let Some(wanted) = wanted else { return Ok(None) };
    if let Some(address) = gpu::pci_address(&wanted.text()) {
        return Ok(Some(address));
    }
    let names = gpus(node, Some(wanted)).await?;
    names.first().and_then(|name| name.pci).map(Some).ok_or_else(|| Refusal {
        what: format!("NVML does not tell the PCI address of GPU {:?}", wanted.text()),
        next: "Name the GPU by its PCI address (0000:1b:00.0).".to_owned(),
    })
}

pub fn pci_text(name: &GpuName) -> String {
    name.pci.map_or_else(|| "address unknown".to_owned(), |pci| pci.to_string())
}
