//! Processes that are stuck in a call on a device: a driver that does not let go of them is in trouble, whatever NVML says.

use std::{sync::Arc, time::SystemTime};

use super::answer::{EvidenceAnswer, FindingAnswer, VerdictAnswer};
use crate::{
    event::{Access, Event, Filter, Journal, Kind, Kinds, access::Did},
    mcp::render,
    node::Node,
    xid::PciAddress,
};

/// More than any node has at a time; of more the newest are told.
const MOST: usize = 256;

/// A thread that is inside of a call, and since when.
type Inside = (u32, SystemTime);

/// The calls that have not come back, by device: told by the journal, and still under way by what the kernel says at this moment.
/// Where nobody follows the devices any more, what was told is all there is.
pub fn findings(node: &Node) -> Vec<(Option<PciAddress>, FindingAnswer)> {
    under_way(&node.journal, || {
        let inside = node.devices.maps()?.inside();
        Some(inside.iter().map(|call| (call.tid, call.since)).collect())
    })
}

/// Of all that were told, which may be many more than are under way.
fn under_way(
    journal: &Journal,
    inside: impl FnOnce() -> Option<Vec<Inside>>,
) -> Vec<(Option<PciAddress>, FindingAnswer)> {
    let kinds = Kinds::These(vec![Kind::CallStalled]);
    let filter = Filter { kinds, ..Filter::default() };
    let told = journal.read(journal.start(), &filter, usize::MAX).events;
    if told.is_empty() {
        return Vec::new();
    }
    let inside = inside();
    let newest_first = told.iter().rev().filter_map(|event| finding(event, inside.as_deref()));
    let mut findings: Vec<_> = newest_first.take(MOST).collect();
    findings.reverse();
    findings
}

/// What one of them makes, unless its thread is no longer inside or in a later call.
fn finding(
    event: &Arc<Event>,
    inside: Option<&[Inside]>,
) -> Option<(Option<PciAddress>, FindingAnswer)> {
    let access @ Access { party, tid, device, pci, did, folded: _ } = event.access()?;
    let Did::Stalled { call, inside: for_ } = did else { return None };
    let told = event.report.time;
    let same = |(of, since): &Inside| of == tid && *since <= told;
    if inside.is_some_and(|inside| !inside.iter().any(same)) {
        return None;
    }
    let name = render::bounded(&party.name, 64);
    let evidence = |name: &str, value: String| EvidenceAnswer { name: name.to_owned(), value };
    let finding = FindingAnswer {
        id: access.kind().name().to_owned(),
        severity: VerdictAnswer::Degraded,
        summary: "A process is stuck in a call into the driver.".to_owned(),
        evidence: vec![
            evidence("process", format!("{name} (pid {})", party.pid)),
            evidence("call", call.name(*device).to_string()),
            evidence("device", device.to_string()),
            evidence("told", render::time(told)),
            evidence("seconds_inside_when_told", for_.as_secs().to_string()),
        ],
        advice: Some(
            "See get_gpu_processes for whose it is and analyze_xid_errors for Xid 119 and 120. The call cannot be cancelled; \
                 a GPU reset or a reboot of the node ends it."
                .to_owned(),
        ),
        nvidia_action: None,
    };
    Some((*pci, finding))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        calls::Call,
        event::{Report, access::Way},
    };

    #[test]
    fn a_call_is_told_for_as_long_as_its_thread_is_in_it() {
        let (journal, told) = (Journal::new(), SystemTime::UNIX_EPOCH + Duration::from_secs(100));
        let stalled = Did::Stalled { call: Call::Close, inside: Duration::from_secs(30) };
        for did in [Did::Opened(Way::Opened), stalled] {
            journal.append(Report::access(told, Access::example(did)));
        }
        let events = journal.read(journal.start(), &Filter::default(), 9).events;
        let found = |inside: Option<&[Inside]>| -> Vec<_> {
            events.iter().filter_map(|event| finding(event, inside)).collect()
        };
        let (tid, before) = (4712, told - Duration::from_secs(30));
        let [(pci, finding)] = &found(Some(&[(1, before), (tid, before)]))[..] else {
            panic!("one finding");
        };
        assert!(pci.is_some());
        assert_eq!(finding.id, "call_stalled");
        assert_eq!(finding.evidence[0].value, "python3 (pid 4711)");
        // Nobody follows the devices any more.
        assert_eq!(found(None).len(), 1);
        // It came back; or its thread is in a later call, or another thread is in one.
        let after = told + Duration::from_secs(1);
        for inside in [&[][..], &[(tid, after)], &[(tid + 1, before)]] {
            assert!(found(Some(inside)).is_empty());
        }
    }

    #[test]
    fn a_call_that_is_under_way_is_told_however_many_came_back() {
        let (journal, start) = (Journal::new(), SystemTime::UNIX_EPOCH);
        for number in 0..u32::try_from(MOST).unwrap() + 9 {
            let did = Did::Stalled { call: Call::Close, inside: Duration::from_secs(30) };
            let mut access = Access { tid: number, ..Access::example(did) };
            // More of them fit into the journal.
            access.party.pod = None;
            let told = start + Duration::from_secs(100 + u64::from(number));
            journal.append(Report::access(told, access));
        }
        for (tid, told) in [(0, 1), (u32::try_from(MOST).unwrap() + 8, 1), (9999, 0)] {
            assert_eq!(under_way(&journal, || Some(vec![(tid, start)])).len(), told, "{tid}");
        }
        assert_eq!(under_way(&journal, || None).len(), MOST);
    }
}
