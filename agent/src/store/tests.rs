use std::{
    fs,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::{
    event::{Event, Filter, Journal, Origin, Report, Source, Task, What},
    xid::{MigInstance, PciAddress},
};

fn file() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("journal.redb");
    (dir, path)
}

fn line(code: u32) -> Report {
    let text = format!("NVRM: Xid (PCI:0000:3b:00): {code}, pid=7, name=\u{1b}\u{ff}, text");
    Report {
        time: SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789),
        source: Source::Ebpf,
        task: Some(Task { pid: 1, tid: 2, cgroup_id: 3, comm: "c\u{fffd}".to_owned() }),
        what: What::Line { text: Bytes::from(text), cut: true },
        origin: Origin::User,
        follows: true,
    }
}

fn number(code: u32) -> Report {
    let pci = Some(PciAddress { domain: 9, bus: 8, device: 7, function: 6 });
    let instance = MigInstance { gpu: Some(1), compute: None };
    Report {
        source: Source::Nvml,
        task: None,
        what: What::Xid { pci, code, instance, message: Bytes::new() },
        origin: Origin::Kernel,
        follows: false,
        ..line(0)
    }
}

fn events(journal: &Journal) -> Vec<Arc<Event>> {
    journal.read(journal.start(), &Filter::default(), usize::MAX).events
}

/// A journal with `count` events in a file, closed.
fn written(path: &Path, count: u32) -> Journal {
    let Opened { store, snapshot, .. } = Store::open(path).expect("opens");
    let journal = Journal::restored(snapshot);
    for code in 0..count {
        journal.append(line(code));
        journal.append(Report { follows: false, ..line(code) });
        journal.append(number(code));
        let mark = Some(format!("mark {code}"));
        journal.append_read(Vec::new(), crate::event::Standing::Tells, mark);
        store.save(&journal.snapshot().expect("something is new")).expect("saved");
    }
    journal
}

#[test]
fn everything_comes_back_as_it_was() {
    let (_dir, path) = file();
    let before = written(&path, 3);
    let opened = Store::open(&path).expect("opens again");
    assert!(opened.set_aside.is_none());
    let after = Journal::restored(opened.snapshot);
    assert_eq!(format!("{:?}", events(&after)), format!("{:?}", events(&before)));
    assert_eq!(format!("{:?}", after.groups()), format!("{:?}", before.groups()));
    assert_eq!((after.mark(), after.overflow()), (Some("mark 2".to_owned()), before.overflow()));
    let cursor = before.end().at(4);
    let rest = after.read(cursor, &Filter::default(), usize::MAX);
    assert_eq!(rest.events.first().map(|event| event.seq), Some(5));
}

#[test]
fn a_second_agent_is_refused() {
    let (_dir, path) = file();
    let _first = Store::open(&path).expect("opens");
    assert!(matches!(Store::open(&path), Err(StoreError::InUse(_))));
}

#[test]
fn what_is_no_journal_is_set_aside_and_not_lost() {
    let (_dir, path) = file();
    let text = b"somebody's notes".repeat(1000);
    fs::write(&path, &text).expect("written");
    let opened = Store::open(&path).expect("a new one");
    let (aside, _) = opened.set_aside.expect("set aside");
    assert_eq!(fs::read(aside).expect("there"), text);
    assert_eq!(opened.snapshot.newest, 0);
}

#[test]
fn another_version_is_set_aside() {
    let (_dir, path) = file();
    {
        let store = Store::open(&path).expect("opens").store;
        let write = store.0.begin_write().expect("begins");
        write
            .open_table(JOURNAL)
            .expect("opens")
            .insert(FORMAT + 1, b"of the future".as_slice())
            .expect("inserted");
        write.commit().expect("committed");
    }
    let (_, reason) = Store::open(&path).expect("a new one").set_aside.expect("set aside");
    assert!(reason.contains("version"), "{reason}");
}

#[test]
fn a_place_that_cannot_be_written_is_an_error_with_its_name() {
    let (dir, _) = file();
    let Err(error) = Store::open(&dir.path().join("no/such/journal.redb")) else {
        panic!("opened");
    };
    assert!(error.to_string().contains("no/such/journal.redb"), "{error}");
}

/// Whatever is left of a file, it opens: with the events of some moment, or as a new one with the rest set aside.
#[track_caller]
fn opens(path: &Path, how: &str) {
    let opened = Store::open(path).unwrap_or_else(|error| panic!("{how}: {error}"));
    let journal = Journal::restored(opened.snapshot);
    for (event, seq) in events(&journal).iter().zip(1..) {
        assert_eq!(event.seq, seq, "{how}");
    }
    journal.append(line(79));
    opened.store.save(&journal.snapshot().expect("new")).unwrap_or_else(|error| {
        panic!("{how}: {error}");
    });
}

#[test]
fn a_torn_tail_and_a_damaged_page_cost_what_they_hold_and_no_more() {
    let (dir, path) = file();
    let _ = written(&path, 20);
    let whole = fs::read(&path).expect("read");
    let copy = dir.path().join("copy.redb");
    for cut in (0..whole.len()).step_by(whole.len() / 40) {
        fs::write(&copy, &whole[..cut]).expect("written");
        opens(&copy, &format!("cut at {cut}"));
    }
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    for at in (0..used).step_by(used / 120) {
        let mut damaged = whole.clone();
        for byte in &mut damaged[at..(at + 16).min(used)] {
            *byte ^= 0x5a;
        }
        fs::write(&copy, &damaged).expect("written");
        opens(&copy, &format!("damaged at {at}"));
    }
}
