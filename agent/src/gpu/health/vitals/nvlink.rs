//! The NVLinks of a GPU, and the fabric that switches make of them.
//!
//! One call tells of all links. Which counters a board has differs by generation; link 0's are asked for in the first call,
//! and of the others only those that it has.

use nvml_wrapper::{Device, error::NvmlError};
use nvml_wrapper_sys::bindings::{NVML_NVLINK_STATE_INACTIVE, field_id as id};

use super::{
    asker::{Asked, Asker, Batch},
    fields,
};
use crate::gpu::{
    raw::{
        self, Fabric,
        fields::{Field, Value},
    },
    reading::is_by_design,
};

#[derive(Debug, Clone, Default)]
pub struct NvLink {
    /// By number; a link that could not be read is not in it.
    pub links: Vec<Link>,
    /// How many links are up that go to a switch.
    pub to_switches: Option<u64>,
    /// `None` where the driver does not tell.
    pub fabric: Option<Fabric>,
}

/// One link. Counters are since the driver was loaded; `None` is one that this generation does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Link {
    pub number: u32,
    pub up: bool,
    /// Before Blackwell.
    pub replays: Option<u64>,
    pub recoveries: Option<u64>,
    pub crc_errors: Option<u64>,
    /// Blackwell and later: how often the link was brought back, and how often that failed.
    pub recovery_events: Option<u64>,
    pub failed_recoveries: Option<u64>,
}

const STATE: u32 = id::NVML_FI_DEV_NVLINK_GET_STATE;
const COUNTERS: [u32; 5] = [
    id::NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY,
    id::NVML_FI_DEV_NVLINK_ERROR_DL_RECOVERY,
    id::NVML_FI_DEV_NVLINK_ERROR_DL_CRC,
    id::NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_EVENTS,
    id::NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_FAILED_EVENTS,
];

/// More links than any board has.
const MOST_LINKS: u64 = 128;

/// What is asked of one link.
pub fn fields(link: u32) -> impl Iterator<Item = Field> {
    std::iter::once(STATE).chain(COUNTERS).map(move |id| Field { id, scope: link })
}

impl NvLink {
    pub fn read(d: &Device<'_>, r: &mut Asker<'_>, batch: &mut Batch) -> Self {
        let count = r.count(batch, fields::LINKS).unwrap_or(0).min(MOST_LINKS);
        let to_switches = r.count(batch, fields::SWITCHED_LINKS);
        let links =
            u32::try_from(count).map_or_else(|_| Vec::new(), |count| links(d, r, batch, count));
        let fabric = r.read("fabric", "nvmlDeviceGetGpuFabricInfoV", || raw::fabric(d));
        Self { links, to_switches, fabric }
    }
}

fn links(d: &Device<'_>, r: &mut Asker<'_>, first: &mut Batch, count: u32) -> Vec<Link> {
    if count == 0 {
        return Vec::new();
    }
    let zero: Vec<_> = fields(0).map(|field| (field.id, first.answer(field))).collect();
    let has = |answer: &Result<Value, NvmlError>| !answer.as_ref().is_err_and(is_by_design);
    let known: Vec<u32> =
        zero.iter().filter(|(_, answer)| has(answer)).map(|(id, _)| *id).collect();
    let rest =
        (1..count).flat_map(|link| known.iter().map(move |id| Field { id: *id, scope: link }));
    let mut batch = r.batch(d, rest.collect());
    let mut zero = zero.into_iter();
    let mut links = Vec::new();
    for number in 0..count {
        let mut answer = |id| match number {
            0 => zero.find(|(of, _)| *of == id).map_or(Err(NvmlError::NotSupported), |(_, it)| it),
            _ => batch.answer(Field { id, scope: number }),
        };
        let up = match answer(STATE) {
            Ok(state) => Ok(state.unsigned() != Some(NVML_NVLINK_STATE_INACTIVE.into())),
            // Drivers that tell it by a function only.
            Err(error) if is_by_design(&error) => {
                r.during("nvmlDeviceGetNvLinkState", || d.link_wrapper_for(number).is_active())
            }
            Err(error) => Err(error),
        };
        let [replays, recoveries, crc_errors, recovery_events, failed_recoveries] =
            COUNTERS.map(|id| answer(id).ok().and_then(Value::unsigned));
        if let Some(up) = r.read(LINK.field, LINK.call, || up) {
            links.push(Link {
                number,
                up,
                replays,
                recoveries,
                crc_errors,
                recovery_events,
                failed_recoveries,
            });
        }
    }
    links
}

const LINK: Asked = Asked { field: "nvlinks", id: STATE, call: "nvmlDeviceGetFieldValues(165)" };
