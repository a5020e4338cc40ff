//! `NVLink` and its fabric in short: how many links, how they are, and which domain they make. What each link does is not
//! here.

use nvml_wrapper::Device;

use crate::gpu::{links, raw, reading::Reader, worker::Session};

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
        let count = r.read("nvlink", links::COUNT, || links::count(d))?;
        let states = links::states(d, session.progress, Some(count));
        let states = r.read("nvlink.up", links::STATE, || states);
        let first = states.as_ref().and_then(|states| states.first()).map_or(0, |(link, _)| *link);
        let call = "nvmlDeviceGetNvLinkVersion";
        let version = if count == 0 {
            r.not_asked("nvlink.version", call, "the board has no link");
            None
        } else {
            r.read("nvlink.version", call, || raw::identity::nvlink_version(d, first))
        };
        let of = |wanted: bool| {
            let states = states.as_ref()?.iter();
            Some(states.map(|(_, up)| u32::from(*up == wanted)).sum())
        };
        Some(Self {
            count,
            version: version.map(links::version_name),
            up: of(true),
            down: of(false),
        })
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
        let place = r.read("fabric", "nvmlDeviceGetGpuFabricInfoV", || raw::fabric(d))?;
        let completed = place.state == COMPLETED;
        if !completed {
            let why = "the registration with the fabric is not completed";
            r.not_asked("fabric.status", "nvmlDeviceGetGpuFabricInfoV", why);
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
const COMPLETED: u32 = 3;

/// `NVML_GPU_FABRIC_STATE_*`.
fn state_name(number: u32) -> String {
    let name = match number {
        0 => "not_supported",
        1 => "not_started",
        2 => "in_progress",
        COMPLETED => "completed",
        _ => return format!("NVML_GPU_FABRIC_STATE {number}"),
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
