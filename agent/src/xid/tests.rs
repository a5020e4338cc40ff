//! The parser against the corpus in `tests/kernel-lines/`, whose README says what the files are.

mod lines;
mod tables;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::*;

/// Files in which every line is an event.
const FAMILIES: [&str; 12] = [
    "aer", "bus", "graphics", "gsp", "memory", "mmu", "nvlink", "nvlink5", "prefixes", "recovery",
    "sxid", "xid",
];
/// Files in which no line is.
const NOTHING: [&str; 2] = ["silent", "near-miss"];

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kernel-lines").join(name)
}

fn lines(family: &str) -> Vec<Vec<u8>> {
    let path = corpus(&format!("{family}.log"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.strip_suffix(b"\n")
        .unwrap()
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.starts_with(b"#"))
        .map(<[u8]>::to_vec)
        .collect()
}

/// Compares with a golden file, or writes it under `UPDATE_GOLDEN=1`.
fn check_golden(name: &str, got: &str) {
    let path = corpus(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::write(&path, got).unwrap();
        return;
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    if let Some((line, (want, got))) =
        (1..).zip(want.lines().zip(got.lines())).find(|(_, (want, got))| want != got)
    {
        panic!("{}:{line}: want {want:?}, got {got:?}", path.display());
    }
    assert_eq!(want.lines().count(), got.lines().count(), "{}: lines", path.display());
}

/// Every field of a fault and what it amounts to, for a person to read. Destructured whole, so that
/// a new field cannot be forgotten here.
fn describe(fault: &Fault<'_>) -> String {
    let Fault {
        kind,
        code,
        pci,
        instance: MigInstance { gpu, compute },
        process: Process { pid, name },
        channel,
        link,
        caused_by,
        details,
        follows,
        message,
        origin,
        stamp,
    } = fault;
    let Assessment { severity, severity_rule, immediate, investigatory, nvlink5 } = assess(fault);
    let mut out = String::new();
    let number = |number: &Option<u32>| number.map_or(String::new(), |number| format!(" {number}"));
    let pci = pci.map_or("-".to_owned(), |pci| pci.to_string());
    writeln!(
        out,
        "{}{} {pci}{}",
        kind.name(),
        number(code),
        if *follows { " follows" } else { "" }
    )
    .unwrap();
    let mut field = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            writeln!(out, "  {name}: {value}").unwrap();
        }
    };
    field("gpu_instance", gpu.map(|value| value.to_string()));
    field("compute_instance", compute.map(|value| value.to_string()));
    field("pid", pid.map(|value| value.to_string()));
    field("name", name.map(|value| value.to_string()));
    field("channel", channel.map(|value| format!("0x{value:x}")));
    field("link", link.map(|value| value.to_string()));
    field("caused_by", caused_by.map(|value| value.to_string()));
    for (name, value) in details.fields() {
        let value = match value {
            Value::Number(value) => value.to_string(),
            Value::Hex(value) => format!("{value:#x}"),
            Value::Flag(value) => value.to_string(),
            Value::Word(value) => value.to_owned(),
            Value::Text(value) => format!("{value:?}"),
            Value::Pci(value) => value.to_string(),
            Value::Words(values) => format!("{values:x?}"),
        };
        field(&format!("details.{name}"), Some(value));
    }
    field("message", Some(message.to_string()));
    field("origin", (*origin != Origin::Unstated).then(|| format!("{origin:?}")));
    field(
        "stamp",
        stamp.map(|stamp| match stamp {
            Stamp::SinceBoot { ns } => format!("{ns} ns since boot"),
            Stamp::Written(text) => text.to_string(),
        }),
    );
    field("severity", Some(format!("{} by {}", severity.name(), severity_rule.name())));
    field("immediate", immediate.map(|action| action.name().to_owned()));
    field("investigatory", investigatory.map(|action| action.name().to_owned()));
    field(
        "rule",
        nvlink5.map(|(rule, layout)| format!("{} {layout:?} {}", rule.units, rule.class.name())),
    );
    out
}

#[test]
fn every_event_of_the_corpus_is_recognised_and_read_as_before() {
    let mut coverage = String::from(
        "file: lines, recognised, message decoded, with pid, with channel, with link\n",
    );
    let mut total = [0; 6];
    for family in FAMILIES {
        let lines = lines(family);
        let mut golden = String::new();
        let mut counts = [0; 6];
        counts[0] = lines.len();
        for line in &lines {
            writeln!(golden, "> {}", line.escape_ascii()).unwrap();
            let Some(fault) = parse(line) else {
                writeln!(golden, "nothing").unwrap();
                continue;
            };
            let held = [
                true,
                fault.details != Details::None,
                fault.process.pid.is_some(),
                fault.channel.is_some(),
                fault.link.is_some(),
            ];
            for (count, held) in counts[1..].iter_mut().zip(held) {
                *count += usize::from(held);
            }
            golden.push_str(&describe(&fault));
        }
        writeln!(coverage, "{family}: {counts:?}").unwrap();
        for (total, count) in total.iter_mut().zip(counts) {
            *total += count;
        }
        check_golden(&format!("{family}.golden"), &golden);
    }
    writeln!(coverage, "total: {total:?}").unwrap();
    check_golden("coverage.golden", &coverage);
    assert_eq!(total[0], total[1], "a line of the corpus is not recognised:\n{coverage}");
}

#[test]
fn what_only_looks_like_an_event_is_none() {
    for family in NOTHING {
        for line in lines(family) {
            assert_eq!(parse(&line), None, "{family}: {}", line.escape_ascii());
        }
    }
}

#[test]
fn lines_that_belong_together_are_put_together() {
    let mut combiner = Combiner::default();
    let mut golden = String::new();
    for line in lines("combined") {
        writeln!(golden, "> {}", line.escape_ascii()).unwrap();
        match combiner.feed(&line) {
            Some(fault) => golden.push_str(&describe(&fault)),
            None => golden.push_str("nothing\n"),
        }
    }
    check_golden("combined.golden", &golden);
}

#[test]
fn every_prefix_leaves_the_same_event() {
    let bare = parse(b"NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.").unwrap();
    for line in lines("prefixes") {
        let fault = parse(&line).unwrap();
        assert_eq!(
            Fault { origin: bare.origin, stamp: bare.stamp, ..fault },
            bare,
            "{}",
            line.escape_ascii()
        );
        let forged =
            line.starts_with(b"12,") || line.starts_with(b"<12>") || line.starts_with(b"user");
        assert_eq!(fault.origin == Origin::User, forged, "{}", line.escape_ascii());
    }
}

/// Xorshift: the same lines in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let families = FAMILIES.iter().chain(&NOTHING).chain(&["combined"]);
    let seeds: Vec<_> = families.flat_map(|family| lines(family)).collect();
    let mut combiner = Combiner::default();
    for _ in 0..200_000 {
        let mut line = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(4) {
            let at = random.below(line.len());
            match random.below(6) {
                0 => line.truncate(at),
                1 if !line.is_empty() => line[at] = u8::try_from(random.below(256)).unwrap(),
                2 => line.insert(at, b"0f,(:.[\x00\xff "[random.below(10)]),
                3 if !line.is_empty() => drop(line.remove(at)),
                4 => line.splice(at..at, *b"99999999999999999999").for_each(drop),
                _ => {
                    let other = &seeds[random.below(seeds.len())];
                    line.truncate(at);
                    line.extend_from_slice(&other[random.below(other.len())..]);
                }
            }
        }
        if let Some(fault) = combiner.feed(&line) {
            let shown = describe(&fault);
            assert!(shown.len() < 16 * 1024, "{}", line.escape_ascii());
        }
    }
}
