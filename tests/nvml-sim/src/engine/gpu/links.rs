//! How a GPU is connected: PCIe and NVLink.

use std::collections::BTreeMap;

use nvml_wrapper_sys::bindings as sys;
use serde::Deserialize;

use super::identity::PciAddress;
use crate::engine::code::Code;
use crate::engine::reading::Reading;

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Pcie {
    #[serde(rename = "gen")]
    pub generation: Reading<u32>,
    pub width: Reading<u32>,
    /// What GPU and slot together can do, and what the GPU alone can.
    pub max_gen: Reading<u32>,
    pub max_width: Reading<u32>,
    pub gpu_max_gen: Reading<u32>,
    /// Packets sent again, and how often that counter has wrapped.
    pub replays: Reading<u32>,
    pub replay_rollovers: Reading<u32>,
    pub transmit_kb_s: Reading<u32>,
    pub receive_kb_s: Reading<u32>,
    /// Advanced error reporting.
    pub correctable_errors: Reading<u32>,
    pub non_fatal_errors: Reading<u32>,
    pub fatal_errors: Reading<u32>,
}

impl Pcie {
    /// `nvmlDeviceGetPcieSpeed`: megatransfers a second of a lane at the current generation.
    pub fn lane_speed(&self) -> Result<u32, Code> {
        match self.generation.get()? {
            generation @ 1..=6 => {
                Ok([2_500, 5_000, 8_000, 16_000, 32_000, 64_000][generation as usize - 1])
            }
            _ => Err(Code::NOT_SUPPORTED),
        }
    }
}

named! {
    NvLinkVersion: sys::nvmlNvlinkVersion_t {
        "1.0" = sys::nvmlNvlinkVersion_enum_NVML_NVLINK_VERSION_1_0,
        "2.0" = sys::nvmlNvlinkVersion_enum_NVML_NVLINK_VERSION_2_0,
        "2.2" = sys::nvmlNvlinkVersion_enum_NVML_NVLINK_VERSION_2_2,
        "3.0" = sys::nvmlNvlinkVersion_enum_NVML_NVLINK_VERSION_3_0,
        "3.1" = sys::nvmlNvlinkVersion_enum_NVML_NVLINK_VERSION_3_1,
        "4.0" = sys::nvmlNvlinkVersion_enum_NVML_NVLINK_VERSION_4_0,
        "5.0" = sys::nvmlNvlinkVersion_enum_NVML_NVLINK_VERSION_5_0,
    }
}

named! {
    LinkState: u32 {
        "inactive" = sys::NVML_NVLINK_STATE_INACTIVE,
        "active" = sys::NVML_NVLINK_STATE_ACTIVE,
        "sleep" = sys::NVML_NVLINK_STATE_SLEEP,
    }
}

named! {
    RemoteKind: sys::nvmlIntNvLinkDeviceType_t {
        "gpu" = sys::nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_GPU,
        "cpu" = sys::nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_IBMNPU,
        "switch" = sys::nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_SWITCH,
        "unknown" = sys::nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_UNKNOWN,
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct NvLink {
    pub version: NvLinkVersion,
    /// Of each link, one direction.
    pub speed_mb_s: u32,
    pub remote: RemoteKind,
    pub remote_device_id: u32,
    /// What each link goes to: as many entries as there are links.
    pub remote_addresses: Vec<PciAddress>,
    /// What holds for a link that `links` says nothing about.
    pub link: Link,
    /// Deviations by the number of the link: `links.4.state = "inactive"`.
    #[serde(default)]
    pub links: BTreeMap<String, LinkPatch>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Link {
    pub state: LinkState,
    pub replay_errors: u64,
    pub recovery_errors: u64,
    pub crc_flit_errors: u64,
    pub crc_data_errors: u64,
    /// Of NVLink 5; the counters above are those before it.
    pub counts: Reading<LinkCounts>,
}

/// What a link of NVLink 5 has counted; 0 where it is not said.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct LinkCounts {
    pub malformed_packets: u64,
    pub buffer_overruns: u64,
    pub receive: u64,
    pub receive_remote: u64,
    pub receive_general: u64,
    pub link_integrity: u64,
    pub transmit_discards: u64,
    /// Recoveries tried, and those of them that failed.
    pub recoveries: u64,
    pub failed_recoveries: u64,
    pub effective: u64,
    pub symbol: u64,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct LinkPatch {
    pub state: Option<LinkState>,
    pub replay_errors: Option<u64>,
    pub recovery_errors: Option<u64>,
    pub crc_flit_errors: Option<u64>,
    pub crc_data_errors: Option<u64>,
    pub counts: Option<LinkCounts>,
}

impl NvLink {
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.remote_addresses.len()).unwrap_or(u32::MAX)
    }

    /// A link that the board has not is an invalid argument.
    pub fn link(&self, number: u32) -> Result<Link, Code> {
        if number >= self.count() {
            return Err(Code::INVALID_ARGUMENT);
        }
        let patch = self.links.get(&number.to_string()).cloned().unwrap_or_default();
        Ok(Link {
            state: patch.state.unwrap_or(self.link.state),
            replay_errors: patch.replay_errors.unwrap_or(self.link.replay_errors),
            recovery_errors: patch.recovery_errors.unwrap_or(self.link.recovery_errors),
            crc_flit_errors: patch.crc_flit_errors.unwrap_or(self.link.crc_flit_errors),
            crc_data_errors: patch.crc_data_errors.unwrap_or(self.link.crc_data_errors),
            counts: patch.counts.map_or_else(|| self.link.counts.clone(), Reading::Value),
        })
    }

    pub fn remote_address(&self, number: u32) -> Result<PciAddress, Code> {
        let index = usize::try_from(number).map_err(|_| Code::INVALID_ARGUMENT)?;
        self.remote_addresses.get(index).copied().ok_or(Code::INVALID_ARGUMENT)
    }

    /// The sum of one counter over all links.
    pub fn total(&self, counter: impl Fn(&Link) -> u64) -> Result<u64, Code> {
        (0..self.count()).map(|number| Ok(counter(&self.link(number)?))).sum()
    }

    /// How many links reach an NVSwitch.
    pub fn switched_links(&self) -> Result<u32, Code> {
        let to_switch = self.remote.number()
            == sys::nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_SWITCH;
        (0..self.count()).map(|number| Ok(u32::from(to_switch && self.link(number)?.is_up()))).sum()
    }

    /// The first key of `links` that is no link of this board.
    #[must_use]
    pub fn stray_link(&self) -> Option<&str> {
        let known =
            |key: &str| key.parse::<u32>().is_ok_and(|n| n < self.count() && n.to_string() == key);
        self.links.keys().map(String::as_str).find(|key| !known(key))
    }
}

impl Link {
    pub fn counter(&self, counter: sys::nvmlNvLinkErrorCounter_t) -> Result<u64, Code> {
        match counter {
            sys::nvmlNvLinkErrorCounter_enum_NVML_NVLINK_ERROR_DL_REPLAY => Ok(self.replay_errors),
            sys::nvmlNvLinkErrorCounter_enum_NVML_NVLINK_ERROR_DL_RECOVERY => {
                Ok(self.recovery_errors)
            }
            sys::nvmlNvLinkErrorCounter_enum_NVML_NVLINK_ERROR_DL_CRC_FLIT => {
                Ok(self.crc_flit_errors)
            }
            sys::nvmlNvLinkErrorCounter_enum_NVML_NVLINK_ERROR_DL_CRC_DATA => {
                Ok(self.crc_data_errors)
            }
            known if known < sys::nvmlNvLinkErrorCounter_enum_NVML_NVLINK_ERROR_COUNT => {
                Err(Code::NOT_SUPPORTED)
            }
            _ => Err(Code::INVALID_ARGUMENT),
        }
    }

    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state.number() != sys::NVML_NVLINK_STATE_INACTIVE
    }
}
