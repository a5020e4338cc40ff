//! What a journal gives away to be kept, and what it is when it comes back.

use super::*;

fn kept(journal: &Journal, store: &mut Snapshot) {
    let Some(snapshot) = journal.snapshot() else { return };
    // As a store does it: by number and by key, the newer in the place of the older.
    store.events.retain(|event| {
        event.seq >= snapshot.oldest && snapshot.events.iter().all(|new| new.seq != event.seq)
    });
    store.events.extend(snapshot.events.iter().cloned());
    store.events.sort_by_key(|event| event.seq);
    store.groups.retain(|group| snapshot.groups.iter().all(|new| new.key != group.key));
    store.groups.extend(snapshot.groups.iter().cloned());
    let Snapshot { oldest, newest, ungrouped, runs, mark, not_kept, .. } = snapshot;
    *store = Snapshot { oldest, newest, ungrouped, runs, mark, not_kept, ..store.clone() };
}

fn codes(page: &Page) -> Vec<u32> {
    page.events.iter().filter_map(|event| event.fault()?.code).collect()
}

fn all(journal: &Journal) -> Page {
    journal.read(journal.start(), &Filter::default(), usize::MAX)
}

#[test]
fn nothing_new_is_no_snapshot() {
    let journal = Journal::new();
    // The first has the run, so that a cursor given out at once is known to the next one.
    assert!(journal.snapshot().is_some());
    assert!(journal.snapshot().is_none());
    journal.append(xid(1, 79));
    assert_eq!(journal.snapshot().map(|snapshot| snapshot.events.len()), Some(1));
    assert!(journal.snapshot().is_none());
}

#[test]
fn a_journal_goes_on_where_it_was_kept_and_cursors_with_it() {
    let mut store = Snapshot::default();
    let first = Journal::new();
    for code in [48, 63, 94] {
        first.append(xid(1, code));
    }
    kept(&first, &mut store);
    first.append(xid(1, 45));
    let cursor = first.read(first.start(), &Filter::default(), 2).next;
    kept(&first, &mut store);
    let second = Journal::restored(store.clone());
    second.append(xid(1, 79));
    let rest = second.read(cursor, &Filter::default(), 10);
    assert_eq!((codes(&rest), rest.lost), (vec![94, 45, 79], 0));
    let groups: Vec<_> = second.groups().iter().map(|g| (g.key.code, g.count)).collect();
    assert_eq!(groups, [48, 63, 94, 45, 79].map(|code| (Some(code), 1)));
}

#[test]
fn a_cursor_behind_events_that_were_not_kept_misses_nothing() {
    let mut store = Snapshot::default();
    let killed = Journal::new();
    killed.append(xid(1, 13));
    kept(&killed, &mut store);
    killed.append(xid(1, 31));
    killed.append(xid(1, 43));
    let cursor = killed.end();
    let next = Journal::restored(store);
    for code in [45, 48, 79] {
        next.append(xid(1, code));
    }
    let rest = next.read(cursor, &Filter::default(), 10);
    assert_eq!((codes(&rest), numbers(&rest)), (vec![45, 48, 79], vec![2, 3, 4]));
}

#[test]
fn what_could_not_be_kept_is_in_the_next_snapshot() {
    let journal = Journal::new();
    journal.append(xid(1, 13));
    assert!(journal.snapshot().is_some());
    journal.not_kept();
    journal.append(xid(1, 79));
    let mut store = Snapshot::default();
    kept(&journal, &mut store);
    assert_eq!(codes(&all(&Journal::restored(store))), [13, 79]);
}

#[test]
fn evicted_events_leave_the_store_and_a_hole_is_not_papered_over() {
    let mut store = Snapshot::default();
    let journal = Journal::bounded(|_| 10 * (OVERHEAD_BYTES + 100), Snapshot::default());
    for code in 0..30 {
        journal.append(xid(1, code));
        kept(&journal, &mut store);
    }
    let page = all(&journal);
    assert_eq!(store.events.len(), page.events.len());
    assert_eq!(store.groups.len(), 30);
    let evicted = page.lost;
    store.events.remove(store.events.len() - 3);
    let journal = Journal::restored(store);
    let restored = all(&journal);
    assert_eq!((restored.events.len(), restored.lost), (page.events.len() - 1, evicted + 1));
    assert_eq!(&codes(&restored)[restored.events.len() - 3..], [26, 28, 29]);
    let faults = journal.read(journal.start(), &Filter::faults(), usize::MAX);
    assert_eq!(faults.lost, restored.lost);
}

#[test]
fn a_restart_forgets_neither_who_has_told_nor_who_has_not() {
    let mut store = Snapshot::default();
    let first = Journal::new();
    let by = |source, code| Report { source, ..xid(1, code) };
    first.append(by(Source::Ebpf, 13));
    first.append(by(Source::KernelLog, 13));
    first.append(by(Source::Ebpf, 79));
    kept(&first, &mut store);
    let second = Journal::restored(store);
    // The log is read again from where its mark was kept.
    second.append(by(Source::KernelLog, 79));
    let sources: Vec<_> = all(&second).events.iter().map(|event| event.sources().count()).collect();
    assert_eq!(sources, [2, 2]);
}
