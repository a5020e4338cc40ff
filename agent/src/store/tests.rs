use std::{
    fs,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::{
    event::{
        Access, Attribution, Event, Filter, Journal, KnownBy, Origin, Party, Pod, Report, Source,
        Task, What,
        access::{Did, Way},
    },
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
        attribution: None,
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
        attribution: Some(attribution()),
        what: What::Xid { pci, code, instance, message: Bytes::new() },
        origin: Origin::Kernel,
        follows: false,
        ..line(0)
    }
}

fn attribution() -> Attribution {
    let pod = Pod { uid: Some("u".to_owned()), name: Some("p".to_owned()), ..Pod::default() };
    let parties = vec![
        Party { pid: 4, name: "\u{1b}".to_owned(), pod: Some(Arc::new(pod)) },
        Party { pid: 5, name: String::new(), pod: None },
    ];
    Attribution { known_by: KnownBy::OneOfSeveral, parties }
}

fn opened() -> Report {
    Report::access(SystemTime::UNIX_EPOCH, Access::example(Did::Opened(Way::Opened)))
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

/// Whose fault an event may be has to survive the recorder; what processes did ends with it, and its numbers do not.
#[test]
fn what_processes_did_is_not_written_and_its_numbers_stay_taken() {
    let (_dir, path) = file();
    {
        let store = Store::open(&path).expect("opens").store;
        let journal = Journal::new();
        journal.append(number(48));
        journal.append(opened());
        journal.append(number(79));
        journal.append(opened());
        store.save(&journal.snapshot().expect("new")).expect("saved");
    }
    let journal = Journal::restored(Store::open(&path).expect("opens again").snapshot);
    let kept = events(&journal);
    assert_eq!(kept.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 3]);
    assert!(kept.iter().all(|event| event.report.attribution == Some(attribution())));
    let page = journal.read(journal.start(), &Filter::default(), usize::MAX);
    assert_eq!((page.lost, journal.append(opened())), (2, Some(5)));
}

/// As one that knew neither attribution nor what processes do wrote it: nothing stands behind the parts.
#[test]
fn the_file_of_an_older_agent_is_read() {
    let (_dir, path) = file();
    let journal = Journal::new();
    for code in 0..3 {
        journal.append(Report { attribution: None, ..number(code) });
    }
    let snapshot = journal.snapshot().expect("new");
    {
        let store = Store::open(&path).expect("opens").store;
        store.save(&snapshot).expect("saved");
        let write = store.0.begin_write().expect("begins");
        {
            let mut groups = write.open_table(GROUPS).expect("opens");
            for group in &snapshot.groups {
                let value = wire::group(group).expect("of faults");
                let key = wire::key(group.key);
                let older = value.strip_suffix(&[0, 0]).expect("twice none");
                groups.insert(key.as_slice(), older).expect("inserted");
            }
            let value = wire::journal(&snapshot);
            let older = value.strip_suffix(&[0; 4]).expect("four zeros");
            let mut head = write.open_table(JOURNAL).expect("opens");
            head.insert(FORMAT, older).expect("inserted");
        }
        write.commit().expect("committed");
    }
    let opened = Store::open(&path).expect("opens again");
    assert!(opened.set_aside.is_none());
    let after = Journal::restored(opened.snapshot);
    assert_eq!(format!("{:?}", events(&after)), format!("{:?}", events(&journal)));
    assert_eq!(format!("{:?}", after.groups()), format!("{:?}", journal.groups()));
    assert_eq!(after.overflow(), (0, 0));
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
