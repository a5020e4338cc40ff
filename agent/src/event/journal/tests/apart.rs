//! Faults and what processes do, in one order and each with room of its own.

use std::time::Duration;

use super::*;
use crate::{
    calls::Call,
    event::{
        Access, Kind, Kinds, KnownBy, Party,
        access::{Did, Failure, Way},
    },
    xid::{MigInstance, PciAddress, Severity},
};

const PCI: PciAddress = PciAddress { domain: 0, bus: 1, device: 0, function: 0 };

fn did(did: Did) -> Report {
    Report::access(SystemTime::UNIX_EPOCH, Access { pci: Some(PCI), ..Access::example(did) })
}

fn opened() -> Report {
    did(Did::Opened(Way::Opened))
}

fn failed(errno: i32) -> Report {
    did(Did::Failed { call: Call::Open, failure: Failure::Errno(errno), took: Duration::ZERO })
}

fn stalled() -> Report {
    did(Did::Stalled { call: Call::Close, inside: Duration::from_secs(30) })
}

/// Room for so many of each class, more or less.
fn small(events: usize) -> Journal {
    Journal::bounded(|_| events * (OVERHEAD_BYTES + 100), Snapshot::default())
}

fn these(kinds: &[Kind]) -> Filter {
    Filter { kinds: Kinds::These(kinds.to_vec()), ..Filter::default() }
}

fn read(journal: &Journal, filter: &Filter) -> Page {
    journal.read(journal.start(), filter, usize::MAX)
}

#[test]
fn there_is_one_order_and_each_reader_gets_what_it_wants_of_it() {
    let journal = Journal::new();
    for report in [xid(1, 79), opened(), failed(22), xid(2, 13), failed(5), stalled()] {
        journal.append(report);
    }
    let xids = Kind::Fault(crate::xid::Kind::Xid);
    let of = |bus| Some(PciAddress { bus, ..PCI });
    let at_least = |severity| Filter { min_severity: Some(severity), ..Filter::default() };
    for (filter, wanted) in [
        (Filter::default(), vec![1, 2, 3, 4, 5, 6]),
        (Filter::faults(), vec![1, 4]),
        (Filter::unasked(), vec![1, 4, 5, 6]),
        (these(&[Kind::GpuOpen]), vec![2]),
        (these(&[Kind::GpuClose]), vec![]),
        (these(&[Kind::CallFailed, xids]), vec![1, 3, 4, 5]),
        (these(&[Kind::CallStalled]), vec![6]),
        (at_least(Severity::Warning), vec![1, 3, 4, 5, 6]),
        (at_least(Severity::Error), vec![1, 4, 5, 6]),
        (Filter { min_severity: Some(Severity::Fatal), ..Filter::unasked() }, vec![1]),
        (Filter { pci: of(1), ..Filter::default() }, vec![1, 2, 3, 5, 6]),
        (Filter { pci: of(2), ..Filter::default() }, vec![4]),
        (Filter { codes: Some(vec![13, 79]), ..Filter::default() }, vec![1, 4]),
    ] {
        let page = read(&journal, &filter);
        assert_eq!((numbers(&page), page.lost), (wanted.clone(), 0), "{filter:?}");
        // The same one by one.
        let (mut cursor, mut told) = (journal.start(), Vec::new());
        loop {
            let page = journal.read(cursor, &filter, 1);
            told.extend(numbers(&page));
            cursor = page.next;
            if page.events.is_empty() {
                break;
            }
        }
        assert_eq!((told, cursor), (wanted, journal.end()), "{filter:?}");
    }
    // No fault, no group.
    assert_eq!(journal.groups().len(), 2);
}

#[test]
fn what_processes_do_evicts_no_fault_and_no_error_and_the_other_way_round() {
    let journal = small(10);
    journal.append(xid(1, 79));
    journal.append(stalled());
    journal.append(opened());
    for _ in 0..1000 {
        journal.append(opened());
    }
    assert_eq!(numbers(&read(&journal, &Filter::unasked())), [1, 2]);
    for _ in 0..1000 {
        journal.append(failed(5));
    }
    assert_eq!(numbers(&read(&journal, &Filter::faults())), [1]);
    let opens = read(&journal, &these(&[Kind::GpuOpen])).events.len();
    for _ in 0..1000 {
        journal.append(xid(1, 45));
    }
    assert!(opens > 2);
    assert_eq!(read(&journal, &these(&[Kind::GpuOpen])).events.len(), opens);
    assert_eq!(journal.end().seq, 3003);
}

#[test]
fn holes_are_lost_for_whoever_wanted_what_was_there_and_are_counted_once() {
    let journal = small(10);
    journal.append(xid(1, 79));
    for _ in 0..100 {
        journal.append(opened());
    }
    journal.append(xid(1, 13));
    journal.append(opened());
    let (everything, opens) = (Filter::default(), these(&[Kind::GpuOpen]));
    let kept = read(&journal, &opens).events.len() as u64;
    for (filter, lost) in [
        (&everything, 101 - kept),
        (&opens, 101 - kept),
        (&these(&[Kind::CallFailed]), 101 - kept),
        (&Filter::faults(), 0),
        (&Filter::unasked(), 0),
        (&these(&[Kind::CallStalled]), 0),
    ] {
        assert_eq!(read(&journal, filter).lost, lost, "{filter:?}");
        // Page by page: the holes stand between the events, and each is counted by the page that passes it.
        let (mut cursor, mut pages) = (journal.start(), 0);
        loop {
            let page = journal.read(cursor, filter, 1);
            pages += page.lost;
            cursor = page.next;
            if page.events.is_empty() {
                break;
            }
        }
        assert_eq!(pages, lost, "{filter:?}");
    }
    // From the middle of the hole.
    let rest = journal.read(journal.start().at(50), &everything, usize::MAX);
    assert_eq!(rest.lost, 101 - kept - 49);
    // A reader of faults has lost what was evicted of these and nothing else.
    for _ in 0..100 {
        journal.append(xid(1, 45));
    }
    let (all, faults) = (read(&journal, &everything), read(&journal, &Filter::faults()));
    assert_eq!(faults.lost, 102 - faults.events.len() as u64);
    assert_eq!(all.lost, 203 - all.events.len() as u64);
    let oldest = faults.events[0].seq;
    assert_eq!(journal.read(journal.start().at(oldest - 1), &Filter::faults(), 1).lost, 0);
}

#[test]
fn what_processes_did_is_not_kept_and_a_restart_counts_it_as_lost() {
    let first = Journal::new();
    first.append(xid(1, 79));
    let before = first.end();
    for report in [opened(), opened(), stalled(), opened()] {
        first.append(report);
    }
    first.append(xid(1, 13));
    let snapshot = first.snapshot().expect("something is new");
    assert_eq!(snapshot.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 6]);
    let second = Journal::restored(snapshot);
    assert_eq!(second.append(opened()), Some(7));
    let lost = |filter: &Filter| second.read(before, filter, usize::MAX).lost;
    assert_eq!(numbers(&second.read(before, &Filter::default(), usize::MAX)), [6, 7]);
    assert_eq!(lost(&Filter::default()), 4);
    assert_eq!(lost(&Filter::faults()), 0);
    assert_eq!(lost(&Filter::unasked()), 1);
    assert_eq!(lost(&these(&[Kind::GpuOpen])), 3);
    assert_eq!((second.overflow(), second.groups().len()), ((0, 0), 2));
    // And over another one.
    let third = Journal::restored(
        second
            .snapshot()
            .map(|new| Snapshot { events: read(&second, &Filter::faults()).events, ..new })
            .expect("a new run"),
    );
    let rest = third.read(before, &Filter::default(), usize::MAX);
    assert_eq!((numbers(&rest), rest.lost, rest.next.seq), (vec![6], 5, 7));
}

#[tokio::test]
async fn what_processes_do_wakes_readers_and_not_the_disk() {
    let journal = Journal::new();
    assert!(journal.snapshot().is_some());
    let mut newest = journal.watch();
    journal.append(opened());
    assert!(newest.changed().await.is_ok());
    let mut unsaved = Box::pin(journal.unsaved());
    assert!(at_once(&mut unsaved).is_none());
    // Whoever writes all the same, at the end, writes how far the numbers have come.
    let last = journal.snapshot().expect("a number was given");
    assert_eq!((last.newest, last.events.len(), last.not_kept[1].count), (1, 0, 1));
    journal.append(xid(1, 79));
    assert!(at_once(&mut unsaved).is_some());
}

/// What a future gives at once.
fn at_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn an_event_keeps_the_best_of_what_its_sources_know_of_the_process() {
    let party = |pid| Party { pid, name: "a".to_owned(), pod: None };
    let attributed = |known_by, pid, report| {
        let parties = vec![party(pid)];
        Report { attribution: Some(Attribution { known_by, parties }), ..report }
    };
    let number = || {
        let what = What::Xid {
            pci: Some(PCI),
            code: 13,
            instance: MigInstance::default(),
            message: Bytes::new(),
        };
        attributed(KnownBy::OnlyHolder, 8, Report { source: Source::Nvml, what, ..report("") })
    };
    let line = || attributed(KnownBy::Line, 1, xid(1, 13));
    for reports in [[number(), line()], [line(), number()]] {
        let journal = Journal::new();
        for report in reports {
            assert_eq!(journal.append(report), Some(1));
        }
        let event = read(&journal, &Filter::default()).events.remove(0);
        let attribution = event.report.attribution.as_ref().expect("it is known");
        assert_eq!(
            (attribution.known_by, &attribution.parties[..]),
            (KnownBy::Line, &[party(1)][..])
        );
    }
}
