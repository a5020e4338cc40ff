//! `NVLink` and its fabric in short: how many links, how they are, and which domain they make. What each link does is not
//! here.

use nvml_wrapper::{Device, error::NvmlError};
use nvml_wrapper_sys::bindings::field_id::NVML_FI_DEV_NVLINK_LINK_COUNT;

use crate::gpu::{
    raw::{
        self,
        fields::{Field, field_value},
    },
    reading::{Reader, is_by_design},
    worker::Session,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NvLinks {
    pub count: u32,
    /// "4.0".
    pub version: Option<String>,
    /// Of those that the board has; one that is switched off for good is in neither.
    pub up: Option<u32>,
    pub down: Option<u32>,
}

impl NvLinks {
    /// `None` is a board without.
    pub fn read(session: &Session<'_>, d: &Device<'_>, r: &mut Reader<'_>) -> Option<Self> {
        let field = Field { id: NVML_FI_DEV_NVLINK_LINK_COUNT, scope: 0 };
        let count = r.read("nvlink", "nvmlDeviceGetFieldValues(91)", || field_value(d, field))?;
        let count = count.unsigned().and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
        let call = "nvmlDeviceGetNvLinkVersion";
        let version = if count == 0 {
            r.not_asked("nvlink.version", call, "the board has no link");
            None
        } else {
            r.read("nvlink.version", call, || raw::identity::nvlink_version(d, 0))
        };
        let (up, down) = states(session, d, r, count).unzip();
        Some(Self { count, version: version.map(version_name), up, down })
    }
}

/// How many links are up and how many down; `None` where one could not be read.
fn states(
    session: &Session<'_>,
    d: &Device<'_>,
    r: &mut Reader<'_>,
    count: u32,
) -> Option<(u32, u32)> {
    let call = "nvmlDeviceGetNvLinkState";
    let (mut up, mut down, mut refused) = (0, 0, None);
    for link in 0..count {
        match session.progress.during(call, || d.link_wrapper_for(link).is_active()) {
            Ok(true) => up += 1,
            Ok(false) => down += 1,
            Err(error) if is_by_design(&error) || matches!(error, NvmlError::InvalidArg) => {
                refused = Some(error);
            }
            Err(error) => return r.read("nvlink.up", call, || Err(error)),
        }
    }
    match refused {
        // None that was refused is counted, and this is no count.
        Some(error) if up + down == 0 => r.read("nvlink.up", call, || Err(error)),
        _ => Some((up, down)),
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fabric {
    /// Of the registration with the fabric manager: "completed".
    pub state: String,
    /// These say something when that is completed, and are `None` before.
    pub status: Option<u32>,
    pub clique_id: Option<u32>,
    pub cluster_uuid: Option<String>,
}

impl Fabric {
    pub fn read(d: &Device<'_>, r: &mut Reader<'_>) -> Option<Self> {
        let place =
            r.read("fabric", "nvmlDeviceGetGpuFabricInfo", || raw::identity::fabric_place(d))?;
        let completed = place.state == COMPLETED;
        if !completed {
            let why = "the registration with the fabric is not completed";
            r.not_asked("fabric.status", "nvmlDeviceGetGpuFabricInfo", why);
        }
        Some(Self {
            state: state_name(place.state),
            status: completed.then_some(place.status),
            clique_id: completed.then_some(place.clique_id),
            cluster_uuid: completed.then(|| uuid(place.cluster_uuid)),
        })
    }
}

/// `NVML_GPU_FABRIC_STATE_COMPLETED`.
const COMPLETED: u8 = 3;

/// `NVML_GPU_FABRIC_STATE_*`.
fn state_name(number: u8) -> String {
    let name = match number {
        0 => "not_supported",
        1 => "not_started",
        2 => "in_progress",
        COMPLETED => "completed",
        _ => return format!("NVML_GPU_FABRIC_STATE {number}"),
    };
    name.to_owned()
}

/// `NVML_NVLINK_VERSION_*`.
fn version_name(number: u32) -> String {
    let name = match number {
        1 => "1.0",
        2 => "2.0",
        3 => "2.2",
        4 => "3.0",
        5 => "3.1",
        6 => "4.0",
        7 => "5.0",
        _ => return format!("NVML_NVLINK_VERSION {number}"),
    };
    name.to_owned()
}

fn uuid(bytes: [u8; 16]) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_written_with_its_dashes() {
        let bytes = std::array::from_fn(|at| u8::try_from(at * 17).unwrap());
        assert_eq!(uuid(bytes), "00112233-4455-6677-8899-aabbccddeeff");
    }
}
