//! Processes that are stuck in a call on a device: a driver that does not let go of them is in trouble, whatever NVML says.

use std::sync::Arc;

use super::answer::{EvidenceAnswer, FindingAnswer, VerdictAnswer};
use crate::{
    event::{Access, Event, Filter, Kind, Kinds, access::Did},
    mcp::render,
    node::Node,
    xid::PciAddress,
};

/// No node has so many threads that are stuck; those told last are looked at.
const MOST: usize = 256;

/// A call that has not come back, as the journal told of it.
#[derive(Debug)]
pub struct Stalled(Arc<Event>);

/// The calls that have not come back yet: told by the journal, and still under way by what the kernel counts now. Where nobody
/// follows the devices any more, what was told is all there is.
pub fn calls(node: &Node) -> Vec<Stalled> {
    let kinds = Kinds::These(vec![Kind::CallStalled]);
    let filter = Filter { kinds, ..Filter::default() };
    let told = node.journal.read(node.journal.start(), &filter, MOST).events;
    if told.is_empty() {
        return Vec::new();
    }
    let holders = node.holders().ok();
    let still = |access: &Access, event: &Event| {
        let Some(holders) = &holders else { return true };
        let mut inside = holders.iter().flat_map(|holder| &holder.inside);
        inside.any(|call| call.tid == access.tid && call.since <= event.report.time)
    };
    let stuck = |event: &Arc<Event>| event.access().is_some_and(|it| still(it, event));
    told.into_iter().filter(stuck).map(Stalled).collect()
}

impl Stalled {
    /// The GPU it is about; none where the device is not one GPU's.
    pub fn pci(&self) -> Option<PciAddress> {
        self.0.access()?.pci
    }

    pub fn finding(&self) -> Option<FindingAnswer> {
        let access = self.0.access()?;
        let Did::Stalled { call, inside } = access.did else { return None };
        let name = render::bounded(&access.party.name, 64);
        let evidence = |name: &str, value: String| EvidenceAnswer { name: name.to_owned(), value };
        Some(FindingAnswer {
            id: "call_stalled".to_owned(),
            severity: VerdictAnswer::Degraded,
            summary: "A process is stuck in a call into the driver.".to_owned(),
            evidence: vec![
                evidence("process", format!("{name} (pid {})", access.party.pid)),
                evidence("call", call.name(access.device).to_string()),
                evidence("device", access.device.to_string()),
                evidence("told", render::time(self.0.report.time)),
                evidence("seconds_inside_when_told", inside.as_secs().to_string()),
            ],
            advice: "See get_gpu_processes for whose it is and analyze_xid_errors for Xid 119 and 120. The call cannot be \
                     cancelled; a GPU reset or a reboot of the node ends it."
                .to_owned(),
            nvidia_action: None,
        })
    }
}
