//! The NVLinks of one GPU: state, speed, what they have counted, and what is at their other ends.

use nvml_wrapper::{Device, error::NvmlError};
use nvml_wrapper_sys::bindings::field_id as id;

use crate::{
    gpu::{
        links, pci_address,
        raw::{
            self,
            fields::{Field, Value, field_values},
        },
        reading::{Reader, is_by_design},
        worker::Progress,
    },
    xid::PciAddress,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub number: u32,
    pub state: LinkState,
    /// NVLink's version, as `4.0`; the number where NVML has a newer one than is known here.
    pub version: Option<String>,
    /// In one direction; 0 of a link that is down.
    pub speed_mb_s: Option<u64>,
    pub peer: Peer,
    /// What went wrong on it since the driver was loaded, by name. A counter that the board does not have is not here.
    pub errors: Vec<(&'static str, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    Up,
    /// Up, and saving power.
    Sleep,
    Down,
}

/// What a link goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub kind: PeerKind,
    /// Where it is on the PCI bus. Switches of NVLink 5 are on none.
    pub pci: Option<PciAddress>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerKind {
    Gpu,
    Switch,
    Cpu,
    Unknown,
}

impl Link {
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state != LinkState::Down
    }

    #[must_use]
    pub fn is_erring(&self) -> bool {
        self.errors.iter().any(|(_, count)| *count > 0)
    }
}

impl LinkState {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Sleep => "sleep",
            Self::Down => "down",
        }
    }
}

impl PeerKind {
    /// `NVML_NVLINK_DEVICE_TYPE_*`.
    fn of(number: u32) -> Self {
        match number {
            0 => Self::Gpu,
            1 => Self::Cpu,
            2 => Self::Switch,
            _ => Self::Unknown,
        }
    }
}

/// `NVML_NVLINK_STATE_SLEEP`.
const ASLEEP: u64 = 2;
/// The first of `NVML_NVLINK_VERSION_*` that counts errors as NVLink 5 does.
const VERSION_5: u32 = 7;

/// Reads the links of one GPU: its state and peer link by link, the figures of all in one call.
pub fn links(d: &Device<'_>, progress: &Progress, r: &mut Reader<'_>) -> Option<Vec<Link>> {
    let mut links = Vec::new();
    let mut versions = Vec::new();
    if r.is_lost() {
        return r.read("links", links::STATE, || Err(NvmlError::GpuLost));
    }
    let count = progress.during(links::COUNT, || links::count(d)).ok();
    let states = links::states(d, progress, count);
    for (number, up) in r.read("links", links::STATE, || states)? {
        let link = d.link_wrapper_for(number);
        // A link that is down need not know any of this; that is no absence to be told.
        let version = progress.during("nvmlDeviceGetNvLinkVersion", || link.version()).ok();
        let kind = progress
            .during("nvmlDeviceGetNvLinkRemoteDeviceType", || raw::link_peer_kind(d, number));
        let pci =
            progress.during("nvmlDeviceGetNvLinkRemotePciInfo_v2", || link.remote_pci_info()).ok();
        versions.push(version.unwrap_or(0));
        links.push(Link {
            number,
            state: if up { LinkState::Up } else { LinkState::Down },
            version: version.map(links::version_name),
            speed_mb_s: None,
            peer: Peer {
                kind: kind.map_or(PeerKind::Unknown, PeerKind::of),
                pci: pci.and_then(|pci| pci_address(&pci.bus_id)),
            },
            errors: Vec::new(),
        });
    }
    if !links.is_empty() {
        let newer = versions.iter().any(|version| *version >= VERSION_5);
        figures(d, r, &mut links, newer);
    }
    Some(links)
}

/// What a field tells of a link.
#[derive(Debug, Clone, Copy)]
enum Figure {
    State,
    Speed,
    Error(&'static str),
}

/// The fields that have the link's number as their scope. The older ones of a link's own number tell the same.
const SCOPED: [(Figure, u32); 5] = [
    (Figure::State, id::NVML_FI_DEV_NVLINK_GET_STATE),
    (Figure::Speed, id::NVML_FI_DEV_NVLINK_GET_SPEED),
    (Figure::Error("replay"), id::NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY),
    (Figure::Error("recovery"), id::NVML_FI_DEV_NVLINK_ERROR_DL_RECOVERY),
    (Figure::Error("crc_flit"), id::NVML_FI_DEV_NVLINK_ERROR_DL_CRC),
];

/// Fields of links by number: those of links 0 to 5 begin at the first, those of 6 to 11 at the second; there are no more.
const NUMBERED: [(Figure, u32, u32); 5] = [
    (Figure::Speed, id::NVML_FI_DEV_NVLINK_SPEED_MBPS_L0, id::NVML_FI_DEV_NVLINK_SPEED_MBPS_L6),
    (
        Figure::Error("replay"),
        id::NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_L0,
        id::NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_L6,
    ),
    (
        Figure::Error("recovery"),
        id::NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_L0,
        id::NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_L6,
    ),
    (
        Figure::Error("crc_flit"),
        id::NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_L0,
        id::NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_L6,
    ),
    (
        Figure::Error("crc_data"),
        id::NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_L0,
        id::NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_L6,
    ),
];

/// What NVLink 5 counts. That a recovery succeeded is no error, and one tried is in neither of the two that are.
const COUNTED: [(&str, u32); 10] = [
    ("malformed_packet", id::NVML_FI_DEV_NVLINK_COUNT_MALFORMED_PACKET_ERRORS),
    ("buffer_overrun", id::NVML_FI_DEV_NVLINK_COUNT_BUFFER_OVERRUN_ERRORS),
    ("receive", id::NVML_FI_DEV_NVLINK_COUNT_RCV_ERRORS),
    ("receive_remote", id::NVML_FI_DEV_NVLINK_COUNT_RCV_REMOTE_ERRORS),
    ("receive_general", id::NVML_FI_DEV_NVLINK_COUNT_RCV_GENERAL_ERRORS),
    ("link_integrity", id::NVML_FI_DEV_NVLINK_COUNT_LOCAL_LINK_INTEGRITY_ERRORS),
    ("transmit_discard", id::NVML_FI_DEV_NVLINK_COUNT_XMIT_DISCARDS),
    ("failed_recovery", id::NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_FAILED_EVENTS),
    ("effective", id::NVML_FI_DEV_NVLINK_COUNT_EFFECTIVE_ERRORS),
    ("symbol", id::NVML_FI_DEV_NVLINK_COUNT_SYMBOL_ERRORS),
];

fn questions(link: u32, newer: bool) -> Vec<(Figure, Field)> {
    let scoped = |(figure, id)| (figure, Field { id, scope: link });
    let numbered = |(figure, first, seventh): (Figure, u32, u32)| match link {
        0..6 => Some((figure, Field { id: first + link, scope: 0 })),
        6..12 => Some((figure, Field { id: seventh + link - 6, scope: 0 })),
        _ => None,
    };
    let mut asked: Vec<_> = SCOPED.map(scoped).into();
    if newer {
        asked.extend(COUNTED.map(|(name, id)| scoped((Figure::Error(name), id))));
    } else {
        asked.extend(NUMBERED.into_iter().filter_map(numbered));
    }
    asked
}

fn figures(d: &Device<'_>, r: &mut Reader<'_>, links: &mut [Link], newer: bool) {
    let asked: Vec<(usize, Figure, Field)> = links
        .iter()
        .enumerate()
        .flat_map(|(at, link)| {
            questions(link.number, newer)
                .into_iter()
                .map(move |(figure, field)| (at, figure, field))
        })
        .collect();
    let fields: Vec<_> = asked.iter().map(|(.., field)| *field).collect();
    let Some(values) =
        r.read("link_figures", "nvmlDeviceGetFieldValues", || field_values(d, &fields))
    else {
        return;
    };
    let mut failed = None;
    for ((at, figure, _), value) in asked.into_iter().zip(values) {
        let Some(link) = links.get_mut(at) else { continue };
        match value.map(Value::unsigned) {
            Ok(Some(value)) => link.take(figure, value),
            Ok(None) => {}
            // What this board does not count, it counts under another number or not at all.
            Err(error) if is_by_design(&error) || matches!(error, NvmlError::InvalidArg) => {}
            Err(error) => failed = Some(error),
        }
    }
    if let Some(error) = failed {
        r.read::<()>("link_figures", "nvmlDeviceGetFieldValues", || Err(error));
    }
    if links.iter().any(|link| link.speed_mb_s.is_none()) {
        r.read::<()>("speed_mb_s", "nvmlDeviceGetFieldValues", || Err(NvmlError::NotSupported));
    }
    if links.iter().any(|link| link.errors.is_empty()) {
        r.read::<()>("link_errors", "nvmlDeviceGetFieldValues", || Err(NvmlError::NotSupported));
    }
}

impl Link {
    /// The first field that tells a figure is believed.
    fn take(&mut self, figure: Figure, value: u64) {
        match figure {
            Figure::State if value == ASLEEP && self.is_up() => self.state = LinkState::Sleep,
            Figure::State => {}
            Figure::Speed => self.speed_mb_s = self.speed_mb_s.or(Some(value)),
            Figure::Error(name) if self.errors.iter().any(|(known, _)| *known == name) => {}
            Figure::Error(name) => self.errors.push((name, value)),
        }
    }
}
