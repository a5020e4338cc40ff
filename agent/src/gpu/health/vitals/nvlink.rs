//! The NVLinks of a GPU, and the fabric that switches make of them.
//!
//! One call tells of all links. Which counters a board has differs by generation; link 0's are asked for in the first call,
//! and of the others only those that it has. Where link 0 is not known to be up, all are: one that is down may tell none.

use nvml_wrapper::{Device, error::NvmlError};
use nvml_wrapper_sys::bindings::NVML_NVLINK_STATE_INACTIVE;

use super::{
    asker::{Asked, Asker, Batch},
    fields,
};
use crate::gpu::{
    links,
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
    /// These are all that the board has, but for those that it has switched off for good.
    pub are_all: bool,
    /// How many links are up that go to a switch.
    pub to_switches: Option<u64>,
    /// A GPU of this node with as many links has some up that go to switches. Set by [`compare`](super::compare).
    pub peers_on_switches: bool,
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
    pub crc_errors: Option<u64>,
    /// How often the link was brought back.
    pub recoveries: Option<u64>,
    /// How often that failed; Blackwell and later.
    pub failed_recoveries: Option<u64>,
}

impl NvLink {
    pub fn read(d: &Device<'_>, r: &mut Asker<'_>, batch: &mut Batch) -> Self {
        let count = r.count(batch, fields::LINKS);
        let to_switches = r.count(batch, fields::SWITCHED_LINKS);
        let count = count.and_then(|count| u32::try_from(count.min(links::MOST.into())).ok());
        let (links, are_all) =
            count.map_or((Vec::new(), false), |count| of_board(d, r, batch, count));
        let fabric = r.read("fabric", "nvmlDeviceGetGpuFabricInfoV", || raw::fabric(d));
        Self { links, are_all, to_switches, peers_on_switches: false, fabric }
    }
}

/// The links, and whether these are all.
fn of_board(d: &Device<'_>, r: &mut Asker<'_>, first: &mut Batch, count: u32) -> (Vec<Link>, bool) {
    if count == 0 {
        for counter in [fields::LINK_REPLAYS, CRC_ERRORS, RECOVERIES, FAILED] {
            r.reader().not_asked(counter.field, counter.call, "the board has no NVLink");
        }
        return (Vec::new(), true);
    }
    let zero: Vec<_> = fields::of_link(0).map(|field| (field.id, first.answer(field))).collect();
    let known = worth_asking(&zero);
    let rest =
        (1..count).flat_map(|link| known.iter().map(move |id| Field { id: *id, scope: link }));
    let batch = r.batch(d, rest.collect());
    let mut answers = Answers { zero, batch, failed: false };
    let links: Vec<_> = (0..count).filter_map(|number| answers.link(d, r, number)).collect();
    let are_all = !links.is_empty() && !answers.failed;
    (links, are_all)
}

/// By what link 0 answered, the fields that the others may have.
fn worth_asking(zero: &[(u32, Result<Value, NvmlError>)]) -> Vec<u32> {
    let is_up = zero.iter().any(|(id, answer)| {
        *id == fields::LINK_STATE.id && answer.as_ref().is_ok_and(|state| is_active(*state))
    });
    let has = |answer: &Result<Value, NvmlError>| !answer.as_ref().is_err_and(is_by_design);
    zero.iter().filter(|(_, answer)| !is_up || has(answer)).map(|(id, _)| *id).collect()
}

fn is_active(state: Value) -> bool {
    state.unsigned() != Some(NVML_NVLINK_STATE_INACTIVE.into())
}

const CRC_ERRORS: Asked = fields::LINK_CRC_ERRORS;
const RECOVERIES: Asked = fields::LINK_RECOVERIES;
const FAILED: Asked = fields::LINK_FAILED_RECOVERIES;

/// What came back about links: of link 0 with the first call, of the others with the second.
struct Answers {
    zero: Vec<(u32, Result<Value, NvmlError>)>,
    batch: Batch,
    /// NVML failed to tell of a link that the board has.
    failed: bool,
}

impl Answers {
    fn take(&mut self, asked: Asked, link: u32) -> Result<Value, NvmlError> {
        if link > 0 {
            return self.batch.answer(Field { id: asked.id, scope: link });
        }
        let place = self.zero.iter().position(|(id, _)| *id == asked.id);
        place.map_or(Err(NvmlError::NotSupported), |place| self.zero.swap_remove(place).1)
    }

    fn link(&mut self, d: &Device<'_>, r: &mut Asker<'_>, number: u32) -> Option<Link> {
        let state = fields::LINK_STATE;
        let up = match self.take(state, number) {
            Ok(state) => Ok(is_active(state)),
            // Before Hopper a function tells it.
            Err(error) if is_by_design(&error) => {
                r.during(links::STATE, || d.link_wrapper_for(number).is_active())
            }
            Err(error) => Err(error),
        };
        self.failed |= up.as_ref().is_err_and(|error| !is_by_design(error));
        let up = r.keep(state, up)?;
        let mut counter = |asked: Asked, else_: Option<Asked>| {
            let (asked, answer) = match (self.take(asked, number), else_) {
                (Err(error), Some(other)) if is_by_design(&error) => {
                    (other, self.take(other, number))
                }
                (answer, _) => (asked, answer),
            };
            match answer {
                // Said once, of link 0.
                Err(error) if number > 0 && is_by_design(&error) => None,
                answer => r.keep(asked, answer).and_then(Value::unsigned),
            }
        };
        Some(Link {
            number,
            up,
            replays: counter(fields::LINK_REPLAYS, None),
            crc_errors: counter(CRC_ERRORS, None),
            // The newer first: Blackwell has both with drivers that have not given the older one up for it.
            recoveries: counter(fields::LINK_RECOVERY_EVENTS, Some(RECOVERIES)),
            failed_recoveries: counter(FAILED, None),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_link_that_is_down_does_not_tell_is_asked_of_the_others() {
        let ids: Vec<u32> = fields::of_link(0).map(|field| field.id).collect();
        let with = |state: Result<u64, NvmlError>| {
            let refused = ids.iter().filter(|id| **id != fields::LINK_STATE.id);
            let state = (fields::LINK_STATE.id, state.map(Value::Unsigned));
            let refused = refused.map(|id| (*id, Err(NvmlError::NotSupported)));
            worth_asking(&std::iter::once(state).chain(refused).collect::<Vec<_>>())
        };
        assert_eq!(with(Ok(1)), [fields::LINK_STATE.id]);
        assert_eq!(with(Ok(0)).len(), ids.len());
        // Before Hopper the state is no field.
        assert_eq!(with(Err(NvmlError::NotSupported)).len(), ids.len());
    }
}
