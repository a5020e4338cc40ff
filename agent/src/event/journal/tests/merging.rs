//! Several sources, one event.

use std::time::Duration;

use super::*;
use crate::{
    event::Task,
    xid::{MigInstance, PciAddress},
};

/// What NVML tells of it, so many milliseconds after the epoch.
fn by_number(bus: u8, code: u32, at_ms: u64) -> Report {
    let pci = Some(PciAddress { domain: 0, bus, device: 0, function: 0 });
    Report {
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(at_ms),
        source: Source::Nvml,
        origin: Origin::Kernel,
        what: What::Xid { pci, code, instance: MigInstance::default(), message: Bytes::new() },
        ..xid(bus, code)
    }
}

/// Each event as number of its Xid, sources, and whether the driver's words are known.
fn told(journal: &Journal) -> Vec<(Option<u32>, Vec<&'static str>, bool)> {
    let page = journal.read(journal.start(), &Filter::default(), usize::MAX);
    let event = |event: &Arc<Event>| {
        let words = matches!(event.report.what, What::Line { .. });
        (
            event.fault().and_then(|fault| fault.code),
            event.sources().map(Source::name).collect(),
            words,
        )
    };
    page.events.iter().map(event).collect()
}

#[test]
fn one_fault_told_by_two_sources_is_one_event_whoever_came_first() {
    for reports in [[xid(1, 79), by_number(1, 79, 900)], [by_number(1, 79, 900), xid(1, 79)]] {
        let journal = Journal::new();
        for report in reports {
            assert_eq!(journal.append(report), Some(1));
        }
        assert_eq!(told(&journal), [(Some(79), vec!["replay", "nvml_events"], true)]);
        let group = &journal.groups()[0];
        assert_eq!(
            (group.count, group.first.sources().count(), group.last.sources().count()),
            (1, 2, 2)
        );
        // NVML's number says that the driver meant it.
        assert_eq!(group.last.report.origin, Origin::Kernel);
    }
}

#[test]
fn different_faults_are_not_taken_for_one() {
    let journal = Journal::new();
    for report in [
        xid(1, 79),
        by_number(1, 48, 10),
        by_number(2, 79, 10),
        by_number(1, 79, 60_000),
        Report { origin: Origin::User, ..xid(3, 13) },
        by_number(3, 13, 10),
    ] {
        journal.append(report);
    }
    assert_eq!(journal.end().seq, 6);
    assert!(told(&journal).iter().all(|(_, sources, _)| sources.len() == 1));
}

#[test]
fn of_a_repeated_fault_each_print_goes_with_one_number() {
    let journal = Journal::new();
    for _ in 0..3 {
        journal.append(xid(1, 13));
    }
    for at in [5, 10] {
        journal.append(by_number(1, 13, at));
    }
    let both = vec!["replay", "nvml_events"];
    assert_eq!(
        told(&journal),
        [(Some(13), both.clone(), true), (Some(13), both, true), (Some(13), vec!["replay"], true)]
    );
}

/// The same print as `source` tells it, so many seconds after the epoch.
fn told_by(source: Source, seconds: u64, report: Report) -> Report {
    Report { source, time: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), ..report }
}

fn sources(journal: &Journal) -> Vec<Vec<&'static str>> {
    told(journal).into_iter().map(|(_, sources, _)| sources).collect()
}

#[test]
fn lines_that_two_sources_read_are_told_once() {
    let journal = Journal::new();
    let storm = [13, 13, 31, 13, 45, 45];
    for code in storm {
        journal.append(told_by(Source::Ebpf, 100, xid(1, code)));
    }
    // The log is read back later, its clock is off, and it begins with what was printed before the program was there.
    for code in [[79].as_slice(), &storm].concat() {
        journal.append(told_by(Source::KernelLog, 103, xid(1, code)));
    }
    let both = vec!["ebpf", "kernel_log"];
    assert_eq!(sources(&journal), [vec![both; 6], vec![vec!["kernel_log"]]].concat());
}

#[test]
fn a_line_that_one_source_missed_is_told_by_the_other() {
    let journal = Journal::new();
    journal.append(told_by(Source::Ebpf, 100, xid(1, 13)));
    journal.append(told_by(Source::Ebpf, 100, xid(1, 45)));
    for code in [13, 31, 45] {
        journal.append(told_by(Source::KernelLog, 101, xid(1, code)));
    }
    let codes: Vec<_> = told(&journal).into_iter().map(|(code, ..)| code).collect();
    assert_eq!(codes, [Some(13), Some(45), Some(31)]);
}

#[test]
fn who_may_only_confirm_makes_no_event() {
    let journal = Journal::new();
    journal.append(told_by(Source::Ebpf, 100, xid(1, 13)));
    let read = [13, 31].map(|code| told_by(Source::KernelLog, 101, xid(1, code)));
    journal.append_read(read.to_vec(), Standing::Confirms, Some("there".to_owned()));
    assert_eq!(sources(&journal), [["ebpf", "kernel_log"]]);
    assert_eq!(journal.mark().as_deref(), Some("there"));
}

#[test]
fn four_sources_of_one_fault() {
    let journal = Journal::new();
    let task = Task { pid: 1, tid: 1, cgroup_id: 7, comm: "a".to_owned() };
    journal.append(told_by(Source::Nvml, 100, by_number(1, 79, 0)));
    journal.append(told_by(Source::Ebpf, 100, Report { task: Some(task), ..xid(1, 79) }));
    journal.append(told_by(Source::Tracepoint, 100, by_number(1, 79, 0)));
    journal.append(told_by(Source::KernelLog, 104, xid(1, 79)));
    let all = ["ebpf", "nvml_events", "nvidia_dev_xid", "kernel_log"];
    assert_eq!(told(&journal), [(Some(79), all.to_vec(), true)]);
    let group = &journal.groups()[0];
    assert_eq!((group.count, group.last.sources().count()), (1, 4));
    assert_eq!(group.last.report.task.as_ref().map(|task| task.cgroup_id), Some(7));
}

#[test]
fn the_log_s_facility_says_who_wrote_a_line_and_the_groups_follow() {
    let journal = Journal::new();
    for _ in 0..2 {
        journal.append(told_by(Source::Ebpf, 100, xid(1, 79)));
    }
    let forged = Report { origin: Origin::User, ..xid(1, 79) };
    journal.append(told_by(Source::KernelLog, 101, forged));
    let groups: Vec<_> =
        journal.groups().iter().map(|g| (g.key.from_user, g.count, g.first.seq)).collect();
    assert_eq!(groups, [(true, 1, 1), (false, 1, 2)]);
}

#[test]
fn what_a_full_journal_has_evicted_is_not_told_anew() {
    let journal = Journal::bounded(|_| 10 * (OVERHEAD_BYTES + 100), Snapshot::default());
    for second in 0..100 {
        journal.append(told_by(Source::Ebpf, 1000 + second, xid(1, 45)));
    }
    let past = vec![told_by(Source::KernelLog, 1001, xid(1, 79))];
    assert_eq!(journal.append_read(past, Standing::Recovers, None), 0);
    // The wall clock was set back: what happens now is no less news.
    journal.append(told_by(Source::Ebpf, 1001, xid(1, 48)));
    assert_eq!(journal.end().seq, 101);
}
