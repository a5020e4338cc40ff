//! The cases of `tests/incidents/`, whose README says how to add one, and what only a program can make.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{
    super::{Groups, Report, Source, What, next_step::next_step},
    *,
};
use crate::xid::{Combiner, Stamp};

/// After this line of a case the journal has evicted everything before it.
const EVICTED: &str = "# evicted up to here";

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/incidents")
}

/// The events of a log, and those of them that the journal does not hold any more.
fn read(log: &str) -> (Vec<Arc<Event>>, usize) {
    let (mut events, mut evicted, mut combiner) = (Vec::new(), 0, Combiner::default());
    for line in log.lines() {
        if line == EVICTED {
            evicted = events.len();
        }
        let Some(fault) = combiner.feed(line.as_bytes()).filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let Some(Stamp::SinceBoot { ns }) = fault.stamp else { panic!("no time in {line:?}") };
        let report = Report {
            time: SystemTime::UNIX_EPOCH + Duration::from_nanos(ns),
            source: Source::Replay,
            task: None,
            what: What::Line { text: Bytes::copy_from_slice(line.as_bytes()), cut: false },
            attribution: None,
            origin: fault.origin,
            follows: fault.follows,
        };
        let seq = events.len() as u64 + 1;
        let severity = crate::xid::assess(&fault).severity;
        events.push(Arc::new(Event { seq, severity, report, confirmed_by: Vec::new() }));
    }
    (events, evicted)
}

fn of(log: &str) -> Vec<Incident> {
    let (events, evicted) = read(log);
    let mut groups = Groups::default();
    for event in &events {
        groups.add(event);
    }
    incidents(&events[evicted..], &groups.in_order())
}

fn describe(incidents: &[Incident]) -> String {
    let mut out = String::new();
    let name = |key: Key| {
        let code = key.code.map_or(String::new(), |code| format!(" {code}"));
        format!("{}{code}", key.kind.name())
    };
    for incident in incidents {
        let device = incident.device().map_or("-".to_owned(), |pci| pci.to_string());
        let recovered = if incident.recovered() { ", recovered" } else { "" };
        writeln!(out, "{device} {}{recovered}", incident.severity().name()).unwrap();
        let began = incident.root().first().report.time;
        for member in incident.members() {
            let pci = member.key.pci.map_or("-".to_owned(), |pci| pci.to_string());
            let event = member.first();
            let after = match event.report.time.duration_since(began) {
                Ok(after) => format!("+{:.3}s", after.as_secs_f64()),
                Err(before) => format!("-{:.3}s", before.duration().as_secs_f64()),
            };
            let why = member.why.map_or(String::new(), |why| format!("  ({why})"));
            writeln!(
                out,
                "  #{} {after} {pci} {} x{} pids {}{}{why}",
                event.seq,
                name(member.key),
                member.count,
                member.pids.seen.len(),
                if member.pids.more { "+" } else { "" },
            )
            .unwrap();
        }
        let step = next_step(incident, incidents);
        let action = step.action.map_or("nothing is named", crate::xid::Action::name);
        let then = step.look_into.map_or(String::new(), |then| format!(", then {}", then.name()));
        writeln!(out, "  do: {action} by {:?}{then}", step.basis).unwrap();
        if let Some(cause) = incident.cause_not_heard() {
            writeln!(out, "  caused by Xid {cause}, which was not heard").unwrap();
        }
        for (step, holds) in step.steps {
            let mark = match holds {
                Some(true) => "yes",
                Some(false) => "no ",
                None => "?  ",
            };
            writeln!(out, "    {mark} {}", step.when).unwrap();
        }
    }
    out
}

#[test]
fn every_case_of_the_folder_is_told_as_before() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let mut seen = 0;
    for entry in std::fs::read_dir(cases()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        seen += 1;
        let got = describe(&of(&std::fs::read_to_string(&path).unwrap()));
        let golden = path.with_extension("golden");
        if update {
            std::fs::write(&golden, got).unwrap();
            continue;
        }
        let want = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(got, want, "{}", golden.display());
    }
    assert!(seen >= 15, "{seen} cases");
}

#[test]
fn every_event_counts_in_one_incident() {
    for entry in std::fs::read_dir(cases()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let log = std::fs::read_to_string(&path).unwrap();
        let heeded = |event: &&Arc<Event>| Occurrence::of(event).is_some();
        let heeded = read(&log).0.iter().filter(heeded).count() as u64;
        let counted: u64 = of(&log).iter().flat_map(Incident::members).map(|m| m.count).sum();
        assert_eq!(counted, heeded, "{}", path.display());
    }
}

#[test]
fn a_node_full_of_trouble_is_put_together_in_one_pass() {
    // As many distinct faults as the journal groups, and a storm of what may follow each of them.
    let mut log = String::new();
    for number in 0..1000 {
        writeln!(log, "[ 1.{number:06}] NVRM: Xid (PCI:0000:3b:00): {}, x", 1000 + number).unwrap();
    }
    for number in 0..10_000 {
        writeln!(
            log,
            "[ 2.{number:06}] NVRM: Xid (PCI:0000:3b:00): 45, pid={number}, name=a, Ch 1"
        )
        .unwrap();
    }
    let incidents = of(&log);
    assert_eq!(incidents.len(), 1000);
    let last = &incidents[999];
    assert_eq!((last.consequences()[0].count, last.consequences()[0].pids.more), (10_000, true));
}
