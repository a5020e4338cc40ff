mod apart;
mod keeping;
mod merging;

use std::time::SystemTime;

use bytes::Bytes;

use super::{
    super::{Attribution, Origin, Source},
    shelf::OVERHEAD_BYTES,
    *,
};
use crate::event::group::MOST_GROUPS;

fn report(line: &str) -> Report {
    let line = Bytes::copy_from_slice(line.as_bytes());
    Report {
        time: SystemTime::UNIX_EPOCH,
        source: Source::Replay,
        task: None,
        what: What::Line { text: line, cut: false },
        attribution: None,
        origin: Origin::Unstated,
        follows: false,
    }
}

fn xid(bus: u8, code: u32) -> Report {
    report(&format!("NVRM: Xid (PCI:0000:{bus:02x}:00): {code}, pid=1, name=a, text"))
}

fn numbers(page: &Page) -> Vec<u64> {
    page.events.iter().map(|event| event.seq).collect()
}

#[test]
fn what_is_no_event_is_not_kept() {
    let journal = Journal::new();
    assert_eq!(journal.append(report("NVRM: loading NVIDIA UNIX x86_64 Kernel Module")), None);
    assert_eq!(journal.append(xid(1, 79)), Some(1));
    assert_eq!(numbers(&journal.read(journal.start(), &Filter::default(), 10)), [1]);
}

#[test]
fn a_cursor_continues_without_a_gap_and_without_repeating() {
    let journal = Journal::new();
    for code in [13, 31, 79] {
        journal.append(xid(1, code));
    }
    let first = journal.read(journal.start(), &Filter::default(), 2);
    assert_eq!((numbers(&first), first.lost, first.more), (vec![1, 2], 0, true));
    let written = first.next.to_string();
    let rest = journal.read(written.parse().expect("cursor"), &Filter::default(), 10);
    assert_eq!((numbers(&rest), rest.more), (vec![3], false));
    let none = journal.read(rest.next, &Filter::default(), 10);
    assert_eq!((numbers(&none), none.next), (vec![], rest.next));
}

#[test]
fn a_page_ends_behind_its_last_event_and_the_last_page_behind_all_there_is() {
    let journal = Journal::new();
    for code in [13, 79, 13] {
        journal.append(xid(1, code));
    }
    let filter = Filter { codes: Some(vec![79]), ..Filter::default() };
    let page = journal.read(journal.start(), &filter, 1);
    // What is hidden now may be wanted by the next reading: another source may make it worse.
    assert_eq!((numbers(&page), page.next.seq, page.more), (vec![2], 2, true));
    let page = journal.read(page.next, &filter, 1);
    assert_eq!((numbers(&page), page.next.seq, page.more), (vec![], 3, false));
}

#[test]
fn eviction_is_counted_and_groups_outlive_it() {
    let journal = Journal::bounded(|_| 10 * (OVERHEAD_BYTES + 100), Snapshot::default());
    journal.append(xid(9, 48));
    for _ in 0..1000 {
        journal.append(xid(1, 45));
    }
    let page = journal.read(journal.start(), &Filter::default(), 5000);
    assert_eq!(page.lost + page.events.len() as u64, 1001);
    assert!(page.lost > 900);
    assert_eq!(journal.overflow(), (page.lost, 0));
    let groups: Vec<_> =
        journal.groups().iter().map(|g| (g.key.code, g.count, g.first.seq, g.last.seq)).collect();
    assert_eq!(groups, [(Some(48), 1, 1, 1), (Some(45), 1000, 2, 1001)]);
}

#[test]
fn too_many_groups_are_counted() {
    let journal = Journal::new();
    for code in 0..u32::try_from(MOST_GROUPS).expect("small") + 5 {
        journal.append(xid(1, code));
    }
    assert_eq!(journal.overflow(), (0, 5));
    assert_eq!(journal.groups().len(), MOST_GROUPS);
}

#[test]
fn the_cursor_of_another_journal_starts_over() {
    let journal = Journal::new();
    journal.append(xid(1, 79));
    let foreign: Cursor = "1-4711".parse().expect("cursor");
    assert_eq!(numbers(&journal.read(foreign, &Filter::default(), 10)), [1]);
}

#[test]
fn a_cursor_from_the_future_of_this_journal_reads_nothing() {
    let journal = Journal::new();
    journal.append(xid(1, 79));
    let ahead = Cursor { seq: 99, ..journal.end() };
    let page = journal.read(ahead, &Filter::default(), 10);
    assert_eq!((numbers(&page), page.next.seq), (vec![], 1));
}

#[test]
fn nonsense_is_no_cursor() {
    for text in ["", "-", "1", "x-1", "1-x", "1--1", "99999999999999999999999-1"] {
        assert!(text.parse::<Cursor>().is_err(), "{text}");
    }
}

#[test]
fn what_a_process_wrote_is_a_group_of_its_own_and_what_follows_is_in_none() {
    let journal = Journal::new();
    journal.append(xid(1, 79));
    journal.append(Report { origin: Origin::User, ..xid(1, 79) });
    journal.append(Report { follows: true, ..xid(1, 79) });
    let groups: Vec<_> = journal.groups().iter().map(|g| (g.key.from_user, g.count)).collect();
    assert_eq!(groups, [(false, 1), (true, 1)]);
    assert_eq!(journal.end().seq, 3);
}
