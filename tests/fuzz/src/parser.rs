//! Target `parser`: any bytes as a log, through everything that `xid/` does with a line.
//!
//! Nothing panics, and of what the documentation of `xid/` says, this holds for every line:
//!
//! - **A fault borrows from its line.** Each of its texts lies there and is bounded, and what is shown of it is one line without a
//!   character that cannot be seen.
//! - **A line end says nothing**, nor does how the log comes in pieces.
//! - **The prefix says when and who, and nothing else**: with one before it, a driver's line is the same fault.
//! - **Text that does not begin at the driver's place is no event**, and what a process wrote through `/dev/kmsg` is never taken for
//!   the kernel's.
//! - **The combiner finds what `parse` finds**, and adds only what it has from another line.
//! - **A message read again says the same**, as an event's does when the journal is asked for it.

use std::io::Read;

use crate::{
    lies_in,
    lines::{Line, Lines},
    xid::{
        Combiner, Details, Fault, Kind, MAX_LINE, Origin, PciAddress, Stamp, Text, Value, assess,
        catalogue, nvlink5, parse, workflow,
    },
};

/// # Panics
/// Where what the module promises does not hold.
pub fn check(log: &[u8]) {
    in_pieces(log);
    let mut combiner = Combiner::default();
    for line in log.split(|&byte| byte == b'\n') {
        let fault = parse(line);
        combined(combiner.feed(line), fault);
        with_line_end(line, fault);
        with_prefix(line, fault);
        if let Some(fault) = fault {
            event(line, &fault);
        }
    }
}

/// The line reader of `agent decode` against a plain split.
fn in_pieces(log: &[u8]) {
    const PIECE: usize = 600;
    let mut want = log
        .split(|&byte| byte == b'\n')
        .map(|line| Line { bytes: &line[..line.len().min(MAX_LINE)], cut: line.len() > MAX_LINE });
    let mut pieces = log.chunks(PIECE);
    let mut lines = Lines::new(std::io::empty().chain(FromPieces(&mut pieces)));
    while let Ok(more) = lines.read() {
        while let Some(line) = lines.next() {
            assert_eq!(Some(line), want.next());
        }
        if !more {
            break;
        }
    }
    // The end of the last line begins no further one.
    let rest = want.next();
    assert!(rest.is_none_or(|line| line.bytes.is_empty()), "{rest:?} was not given");
    assert_eq!(want.next(), None);
}

struct FromPieces<'a, I>(&'a mut I);

impl<'a, I: Iterator<Item = &'a [u8]>> Read for FromPieces<'_, I> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.next().map_or(Ok(0), |mut piece| piece.read(buffer))
    }
}

fn combined(combined: Option<Fault<'_>>, alone: Option<Fault<'_>>) {
    let Some((combined, alone)) = combined.zip(alone) else {
        assert_eq!(combined, alone);
        return;
    };
    if alone.pci != combined.pci {
        assert_eq!((alone.kind, alone.pci), (Kind::BusLoss, None));
    }
    if alone.link != combined.link {
        assert!(combined.follows && alone.link.is_none(), "{combined:?}");
    }
    let Fault { pci, link, follows, .. } = alone;
    assert_eq!(Fault { pci, link, follows, ..combined }, alone);
}

fn with_line_end(line: &[u8], fault: Option<Fault<'_>>) {
    for end in [&b"\n"[..], b"\r\n"] {
        if line.len() + end.len() <= MAX_LINE {
            assert_eq!(
                parse(&[line, end].concat()),
                fault,
                "{:?}",
                line.escape_ascii().to_string()
            );
        }
    }
}

/// How the drivers and the PCI core begin a line.
const BEGINNINGS: [&[u8]; 6] =
    [b"NVRM: ", b"nvidia-nvswitch", b"nvidia 0", b"pcieport 0", b"pci 0", b"vfio-pci 0"];

/// What logs put before a line, each with the same time.
const PREFIXES: [(&[u8], Origin); 7] = [
    (b"[    2.500000] ", Origin::Unstated),
    (b"[    2.500000] [   T1946] ", Origin::Unstated),
    (b"<4>[    2.500000] ", Origin::Kernel),
    (b"kern  :warn  : [    2.500000] ", Origin::Kernel),
    (b"4,1227,2500000,-,caller=T1946;", Origin::Kernel),
    (b"<12>[    2.500000] ", Origin::User),
    (b"user  :warn  : [    2.500000] ", Origin::User),
];

/// What other programs put before it.
const FOREIGN: [&[u8]; 4] =
    [b"bash[911]: ", b"worker4 bash[911]: ", b"[    2.500000] audit: cmd=", b"$ echo "];

fn with_prefix(line: &[u8], fault: Option<Fault<'_>>) {
    let at_its_place = BEGINNINGS.iter().any(|beginning| line.starts_with(beginning));
    for (prefix, origin) in PREFIXES {
        if !at_its_place && origin != Origin::User || prefix.len() + line.len() > MAX_LINE {
            continue;
        }
        let prefixed = [prefix, line].concat();
        let got = parse(&prefixed);
        if at_its_place {
            let stamp = Some(Stamp::SinceBoot { ns: 2_500_000_000 });
            assert_eq!(got, fault.map(|fault| Fault { origin, stamp, ..fault }));
        } else {
            assert!(got.is_none_or(|fault| fault.origin == Origin::User), "{got:?}");
        }
    }
    if at_its_place {
        for foreign in FOREIGN {
            assert_eq!(parse(&[foreign, line].concat()), None);
        }
    }
}

/// One fault of one line.
fn event(line: &[u8], fault: &Fault<'_>) {
    assert_eq!(fault.code.is_some(), matches!(fault.kind, Kind::Xid | Kind::Sxid));
    assert!(!fault.follows);
    assert!(fault.concerns(|_| true));
    if let Some(pci) = fault.pci {
        assert_eq!(PciAddress::parse(pci.to_string().as_bytes()), Some(pci));
    }
    text(line, fault.message, Text::MAX_MESSAGE);
    if let Some(name) = fault.process.name {
        text(line, name, Text::MAX_NAME);
    }
    if let Some(Stamp::Written(stamp)) = fault.stamp {
        text(line, stamp, Text::MAX_NAME);
    }
    details(line, fault.details);
    assessment(fault);
    again(fault);
}

fn text(line: &[u8], text: Text<'_>, longest: usize) {
    assert!(lies_in(text.as_bytes(), line) && text.as_bytes().len() <= longest, "{text:?}");
    let shown = text.to_string();
    assert!(!shown.contains(cannot_be_seen), "{shown:?}");
    // The longest way to show a byte is `\u{1b}`.
    assert!(shown.len() <= 6 * text.as_bytes().len(), "{shown:?}");
}

/// Control characters, and what Unicode has to steer or to hide text: direction marks, joiners, tags.
fn cannot_be_seen(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(character, '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

fn details(line: &[u8], details: Details<'_>) {
    let fields = details.fields();
    for (at, (name, value)) in fields.iter().enumerate() {
        assert!(
            !fields[..at].iter().any(|(before, _)| before == name),
            "{name} twice: {details:?}"
        );
        if let Value::Text(value) = value {
            text(line, *value, 2 * Text::MAX_NAME);
        }
    }
    if let Details::NvLink(error) = details {
        for bit in error.hopper_bits() {
            assert!(bit.bit < 32, "{bit:?}");
        }
    }
}

fn assessment(fault: &Fault<'_>) {
    let found = assess(fault);
    for action in [found.immediate, found.investigatory].into_iter().flatten() {
        assert!(workflow::steps(action).iter().all(|step| step.workflow == action));
    }
    let Some(code) = fault.code else { return };
    match fault.kind {
        Kind::Sxid => {
            assert!(catalogue::lookup_sxid(code).is_none_or(|entry| entry.code == code));
        }
        _ => assert!(catalogue::lookup(code).is_none_or(|entry| entry.code == code)),
    }
    if let Details::NvLink5(line) = fault.details {
        assert_eq!(nvlink5::decode(code, &line), found.nvlink5);
        assert!(found.nvlink5.is_none_or(|(rule, _)| rule.code == code));
    } else {
        assert_eq!(found.nvlink5, None);
    }
}

fn again(fault: &Fault<'_>) {
    let (Kind::Xid, Some(code)) = (fault.kind, fault.code) else { return };
    let message = fault.message.as_bytes();
    let again = Fault::of_xid(fault.pci, code, message);
    // Words of the message may read like the process or the cause that was taken off already.
    let like_process = message.starts_with(b"pid=") || message.starts_with(b"name=");
    if message.len() < Text::MAX_MESSAGE && !like_process && again.caused_by.is_none() {
        let Fault { instance, process, caused_by, origin, stamp, .. } = *fault;
        assert_eq!(Fault { instance, process, caused_by, origin, stamp, ..again }, *fault);
    }
}
