//! Arguments that several tools share: which GPU, how much detail, since when.

use std::time::{Duration, SystemTime};

use rmcp::schemars::{self, JsonSchema};
use serde::Deserialize;

use crate::{
    event::{Cursor, Pod},
    gpu::{self, GpuError, GpuName},
    mcp::{render, tool::Refusal},
    node::Node,
    xid::PciAddress,
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

/// How faults are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// Identical ones folded, and what belongs together as incidents.
    #[default]
    Fault,
    /// Each by itself, oldest first.
    None,
}

/// A GPU by its index (3), PCI address ("0000:61:00.0") or UUID ("GPU-…").
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a GPU's index, PCI address or UUID")]
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

/// From where on a reader wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// After an event that an earlier answer ended with.
    Cursor(Cursor),
    Time(SystemTime),
}

/// Reads the argument `since`: how far back (`15m`), a time, or a cursor.
pub fn since(text: &str, now: SystemTime) -> Result<Since, Refusal> {
    if let Some(time) = point(text, now) {
        return Ok(Since::Time(time));
    }
    text.parse().map(Since::Cursor).map_err(|_| Refusal {
        what: format!("since is {:?}", render::bounded(text, 64)),
        next: format!("{TIMES}, or next_cursor of an earlier answer."),
    })
}

/// Reads the argument `until`: how far back, or a time.
pub fn until(text: &str, now: SystemTime) -> Result<SystemTime, Refusal> {
    time("until", text, now)
}

/// Reads an argument that is a point in time: how far back, or a time.
pub fn time(name: &str, text: &str, now: SystemTime) -> Result<SystemTime, Refusal> {
    point(text, now).ok_or_else(|| Refusal {
        what: format!("{name} is {:?}", render::bounded(text, 64)),
        next: format!("{TIMES}."),
    })
}

const TIMES: &str =
    "Pass a time with its zone (2026-11-21T20:00:00Z), how far back (90s, 15m, 2h, 3d)";

fn point(text: &str, now: SystemTime) -> Option<SystemTime> {
    let seconds = |unit: &str, seconds: u64| {
        let digits = text.strip_suffix(unit)?;
        let count: u32 =
            digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)?.parse().ok()?;
        Some(u64::from(count) * seconds)
    };
    let back = seconds("s", 1)
        .or_else(|| seconds("m", 60))
        .or_else(|| seconds("h", 3600))
        .or_else(|| seconds("d", 86400));
    match back {
        Some(back) => now.checked_sub(Duration::from_secs(back)),
        None => text.parse::<jiff::Timestamp>().ok().map(Into::into),
    }
}

/// The GPUs that are asked about: all, or the one that is named.
pub async fn gpus(node: &Node, wanted: Option<&GpuArgument>) -> Result<Vec<GpuName>, GpuError> {
    let names = node.gpu.names().await?;
    let Some(wanted) = wanted.map(GpuArgument::text) else { return Ok(names) };
    if let Some(name) = names.iter().find(|name| name.matches(&wanted)) {
        return Ok(vec![name.clone()]);
    }
    let known: Vec<String> =
        names.iter().map(|name| format!("{} ({})", name.index, pci_text(name))).collect();
    Err(GpuError::NoSuchGpu { wanted: render::bounded(&wanted, 64), known: known.join(", ") })
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

#[derive(Debug)]
pub enum PodWanted {
    Name {
        namespace: String,
        name: String,
    },
    /// The beginning of a uid.
    Uid(String),
}

impl PodWanted {
    pub fn of(text: &str) -> Result<Self, Refusal> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                Ok(Self::Name { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            None if !text.is_empty() => Ok(Self::Uid(text.to_owned())),
            _ => Err(Refusal {
                what: format!("pod is {:?}", render::bounded(text, 64)),
                next: "Pass namespace/name, or the pod's uid or the beginning of it.".to_owned(),
            }),
        }
    }

    #[must_use]
    pub fn is(&self, pod: &Pod) -> bool {
        match self {
            Self::Name { namespace, name } => {
                pod.namespace.as_ref() == Some(namespace) && pod.name.as_ref() == Some(name)
            }
            Self::Uid(begin) => pod.uid.as_ref().is_some_and(|uid| uid.starts_with(begin)),
        }
    }
}

/// A number that an argument may not be.
pub fn check_range(name: &str, value: u64, min: u64, max: u64) -> Result<(), Refusal> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Refusal {
        what: format!("{name} is {value}"),
        next: format!("Pass {name} from {min} to {max}."),
    })
}

/// A list that names nothing would have an answer of nothing, which looks like good news.
pub fn check_named<T>(name: &str, list: Option<&[T]>) -> Result<(), Refusal> {
    if list.is_none_or(|list| !list.is_empty()) {
        return Ok(());
    }
    Err(Refusal {
        what: format!("{name} is empty"),
        next: format!("Name at least one, or leave {name} out."),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_in_time_is_said_in_three_ways_and_in_no_other() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let at = |seconds| Some(Since::Time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)));
        let read = |text| since(text, now).ok();
        assert_eq!(read("15m"), at(999_100));
        assert_eq!(read("1d"), at(913_600));
        assert_eq!(read("1970-01-02T00:00:00Z"), at(86_400));
        assert_eq!(read("1970-01-02T01:00:00+01:00"), at(86_400));
        assert_eq!(read("1f-7"), Some(Since::Cursor("1f-7".parse().unwrap())));
        for text in [
            "",
            "m",
            "-5m",
            "+5m",
            "5",
            "5w",
            "1.5h",
            "99999999999d",
            "yesterday",
            "2026-11-21",
            "1970-01-02T00:00:00",
        ] {
            let refused = since(text, now).unwrap_err();
            assert!(refused.next.contains("15m") && refused.next.contains("next_cursor"), "{text}");
            assert!(until(text, now).is_err(), "{text}");
        }
        assert!(until("1f-7", now).is_err());
    }
}
