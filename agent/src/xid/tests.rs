//! The parser against the corpus in `tests/kernel-lines/`, whose README says what the files are.

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
fn an_xid_without_a_line_is_read_like_one_with() {
    let line = parse(b"NVRM: Xid (PCI:0000:3b:00): 43, pid=1, name=a, Ch 00000008").unwrap();
    assert_eq!(Fault::of_xid(line.pci, 43, b"pid=1, name=a, Ch 00000008\n"), line);
    assert_eq!(assess(&Fault::of_xid(None, 79, b"")).immediate, Some(Action::RestartBm));
}

#[test]
fn a_head_waits_only_so_long() {
    let mut combiner = Combiner::default();
    combiner.feed(b"NVRM: The NVIDIA GPU 0000:b3:00.0");
    for _ in 0..Combiner::REACH {
        combiner.feed(b"something else");
    }
    let end = b"NVRM: fallen off the bus and is not responding to commands.";
    let fault = combiner.feed(end).unwrap();
    assert_eq!((fault.kind, fault.pci), (Kind::BusLoss, None));
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

#[test]
fn a_process_cannot_pass_for_the_kernel() {
    for line in [
        &b"12,1,1,-;4,2,2,-;NVRM: Xid (PCI:0000:3b:00): 79, x"[..],
        b"<12>[ 1.0] <4>NVRM: Xid (PCI:0000:3b:00): 79, x",
        b"user  :warn  : [ 1.0] kern  :warn  : NVRM: Xid (PCI:0000:3b:00): 79, x",
    ] {
        assert_eq!(parse(line).unwrap().origin, Origin::User, "{}", line.escape_ascii());
    }
}

#[test]
fn every_complete_nvlink5_line_has_one_rule_and_one_layout() {
    let mut complete = 0;
    for line in lines("nvlink5") {
        let fault = parse(&line).unwrap();
        let Details::NvLink5(error) = fault.details else { panic!("{}", line.escape_ascii()) };
        if error.error_status.is_none() {
            assert_eq!(nvlink5::decode(fault.code.unwrap(), &error), None);
            continue;
        }
        complete += 1;
        let fits: Vec<_> = nvlink5::rules()
            .iter()
            .filter(|rule| Some(rule.code) == fault.code)
            .flat_map(|rule| {
                [(rule, rule.v1, nvlink5::Layout::V1), (rule, rule.v2, nvlink5::Layout::V2)]
            })
            .filter(|(rule, pattern, _)| {
                error.intr_info.unwrap() & pattern.mask == pattern.value
                    && rule.has_status(error.error_status.unwrap())
            })
            .map(|(rule, _, layout)| (rule, layout))
            .collect();
        assert_eq!(fits.len(), 1, "{}: {fits:?}", line.escape_ascii());
        assert_eq!(nvlink5::decode(fault.code.unwrap(), &error), Some(fits[0]));
    }
    assert!(complete >= 11, "{complete}");
}

#[test]
fn data_files_are_read_whole() {
    let rows =
        |text: &str| text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    assert_eq!(catalogue::entries().len(), rows(include_str!("../../data/xid.tsv")));
    assert_eq!(catalogue::sxid_entries().len(), rows(include_str!("../../data/sxid.tsv")));
    assert_eq!(nvlink5::rules().len(), rows(include_str!("../../data/nvlink5.tsv")));
    assert_eq!(workflow::all().len(), rows(include_str!("../../data/workflows.tsv")));
    assert_eq!(
        (catalogue::entries().len(), catalogue::sxid_entries().len(), nvlink5::rules().len()),
        (177, 93, 95)
    );
    assert!(catalogue::entries().is_sorted_by(|a, b| a.code < b.code));
    assert!(catalogue::sxid_entries().is_sorted_by(|a, b| a.code < b.code));
    for line in include_str!("../../data/xid.tsv").lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = line.split('\t').collect();
        for action in &fields[4..6] {
            assert!(action.is_empty() || Action::from_name(action).is_some(), "{line}");
        }
    }
    for rule in nvlink5::rules() {
        assert!(rule.immediate.is_some() && rule.investigatory.is_some(), "{rule:?}");
    }
    for line in include_str!("../../data/nvlink.tsv").lines().filter(|line| !line.starts_with('#'))
    {
        let class = line.rsplit('\t').next().unwrap();
        assert!(BitClass::from_name(class).is_some(), "{line}");
    }
    for text in [include_str!("../../data/nvlink5.tsv"), include_str!("../../data/workflows.tsv")] {
        assert!(!text.lines().any(|line| line.ends_with(' ')));
    }
}

#[test]
fn the_catalogue_says_what_nvidia_says() {
    let known = |code| catalogue::lookup(code).unwrap();
    let check = |code, immediate, severity| {
        assert_eq!(
            (known(code).immediate, known(code).severity),
            (Some(immediate), severity),
            "{code}"
        );
    };
    check(13, Action::RestartApp, Severity::Error);
    check(43, Action::Ignore, Severity::Info);
    check(45, Action::WorkflowXid45, Severity::Info);
    check(48, Action::WorkflowXid48, Severity::Critical);
    check(63, Action::Ignore, Severity::Info);
    check(64, Action::ResetGpu, Severity::Critical);
    check(74, Action::WorkflowNvlinkErr, Severity::Critical);
    check(79, Action::RestartBm, Severity::Fatal);
    check(94, Action::RestartApp, Severity::Error);
    check(109, Action::ResetGpu, Severity::Critical);
    check(151, Action::RestartVm, Severity::Fatal);
    assert_eq!(known(79).mnemonic, "ROBUST_CHANNEL_GPU_HAS_FALLEN_OFF_THE_BUS");
    assert_eq!(known(51).usage, catalogue::Usage::Unused);
    assert_eq!(known(173).usage, catalogue::Usage::HeaderOnly);
    assert_eq!(known(162).severity_rule, SeverityRule::Ours);
    assert_eq!(known(149).xid154_since, Some("R565"));
    assert_eq!(catalogue::lookup(0), None);
    assert_eq!(catalogue::lookup(178), None);
    for entry in catalogue::entries() {
        let described = entry.usage == catalogue::Usage::Unused || entry.meaning.is_some();
        assert!(described && !entry.mnemonic.is_empty(), "{entry:?}");
        assert!(
            entry.immediate.is_some() || entry.severity_rule == SeverityRule::Ours,
            "{entry:?}"
        );
    }
}

#[test]
fn a_workflow_has_steps_and_a_plain_action_has_none() {
    use Action::*;
    for workflow in
        [WorkflowXid13, WorkflowXid31, WorkflowXid45, WorkflowXid48, WorkflowNvlinkErr, Xid154]
    {
        assert!(workflow::steps(workflow).len() >= 3, "{}", workflow.name());
    }
    assert_eq!(workflow::steps(ResetGpu), []);
    assert_eq!(workflow::steps(WorkflowXid48)[0].action, Some(DrainAndReset));
    for action in Action::ALL {
        assert_eq!(Action::from_name(action.name()), Some(*action));
        assert!(action.plain().ends_with('.'), "{}", action.name());
    }
}

#[test]
fn registers_of_an_xid_74_are_explained() {
    let line = b"NVRM: Xid (PCI:0003:00:00): 74, NVLink: fatal error detected on link 14(0x20, 0x0, 0x10000, 0x0, 0x0, 0x0, 0x1)";
    let Details::NvLink(error) = parse(line).unwrap().details else { panic!() };
    let bits: Vec<_> = error.hopper_bits().map(|bit| (bit.register, bit.bit, bit.class)).collect();
    assert_eq!(
        bits,
        [(1, 5, BitClass::Ecc), (3, 16, BitClass::RepeatedDiag), (7, 0, BitClass::Report)]
    );
}

#[test]
fn a_port_concerns_whom_it_is_above() {
    let port =
        parse(b"pcieport 0000:3a:01.0: AER: Correctable error message received from 0000:3b:00.0")
            .unwrap();
    let gpu = PciAddress::parse(b"0000:3b:00.0").unwrap();
    assert!(port.concerns(|address| address == gpu));
    assert!(!port.concerns(|_| false));
    assert!(
        parse(b"nvidia 0000:3b:00.0: AER: aer_status: 0x00000001").unwrap().concerns(|_| false)
    );
    assert!(parse(b"NVRM: Xid (PCI:0000:3b:00): 79, x").unwrap().concerns(|_| false));
}

#[test]
fn addresses_are_read_in_every_form() {
    let check = |text: &[u8], want: Option<&str>| {
        let got = PciAddress::parse(text).map(|address| address.to_string());
        assert_eq!(got.as_deref(), want, "{}", text.escape_ascii());
    };
    check(b"0000:3b:00.0", Some("0000:3b:00.0"));
    check(b"0000:3B:00", Some("0000:3b:00.0"));
    check(b"00000008:01:00.0", Some("0008:01:00.0"));
    check(b"10000:01:00.1", Some("10000:01:00.1"));
    for wrong in [
        &b""[..],
        b"3b:00.0",
        b"0000:3b:00.",
        b"0000:3b:00.0x",
        b"0000:3bb:00.0",
        b"000000000:3b:00.0",
        b"0000::00.0",
    ] {
        check(wrong, None);
    }
}

#[test]
fn what_a_tenant_writes_is_shown_as_one_harmless_line() {
    let line =
        b"NVRM: Xid (PCI:0000:3b:00): 43, pid=1, name=a\x1b[31m\xff\0b\xe2\x80\xae, Ch 00000008";
    let fault = parse(line).unwrap();
    assert_eq!(fault.process.name.unwrap().to_string(), r"a\u{1b}[31m\xff\u{0}b\u{202e}");
    assert_eq!(fault.channel, Some(8));
    let long =
        [&b"NVRM: Xid (PCI:0000:3b:00): 43, pid=1, name="[..], &[b'x'; 5000], b", Ch 00000008"]
            .concat();
    assert_eq!(parse(&long).unwrap().process.name.unwrap().as_bytes().len(), Text::MAX_NAME);
}

#[test]
fn long_and_broken_lines_are_read_as_far_as_they_go() {
    let mut megabyte = b"[ 1.0] NVRM: Xid (PCI:0000:3b:00): 79, ".to_vec();
    megabyte.resize(1 << 20, b'x');
    let fault = parse(&megabyte).unwrap();
    assert_eq!((fault.code, fault.message.as_bytes().len()), (Some(79), Text::MAX_MESSAGE));
    assert_eq!(parse(&vec![b' '; 1 << 20]), None);
    assert_eq!(parse(&vec![0; 1 << 20]), None);
    assert_eq!(parse(&[0xff; 64]), None);
    // A line that ends anywhere is an event as soon as its number is whole.
    let line = b"[ 1.0] NVRM: Xid (PCI:0000:3b:00): 94, pid=1, name=a, Contained: SM (0x1). RST: No, D-RST: No";
    for end in 0..line.len() {
        let whole = end > 36;
        let code = parse(&line[..end]).and_then(|fault| fault.code);
        assert!(
            if whole { code == Some(94) } else { code.is_none() || code == Some(9) },
            "{end}: {code:?}"
        );
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
