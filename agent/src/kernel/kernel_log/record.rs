//! A record of the log in its two forms. Nothing here panics, whatever it is given.
//!
//! | form | example |
//! | --- | --- |
//! | `/dev/kmsg` | `4,1227,437812449,-,caller=T1946;NVRM: Xid …⏎ SUBSYSTEM=pci⏎ DEVICE=+pci:0000:3b:00.0⏎` |
//! | syslog(2) | `<4>[  437.812449][ T1946] NVRM: Xid …⏎`, a prefix before each line of the text |
//!
//! Before the text stand facility × 8 + level, the number, and µs of the print clock; the caller where the kernel has
//! CONFIG_PRINTK_CALLER, the time where `printk.time` is on.

use crate::event::Origin;

/// A record of `/dev/kmsg`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) origin: Origin,
    pub(super) sequence: u64,
    pub(super) timestamp_us: u64,
    /// Still escaped. What the kernel adds about the device is left out.
    pub(super) text: &'a [u8],
    /// The kernel had no room for all of it.
    pub(super) cut: bool,
}

/// A line of syslog(2)'s text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LogLine<'a> {
    /// As it stands there; lines of one record have the same.
    pub(super) prefix: &'a [u8],
    pub(super) origin: Origin,
    pub(super) timestamp_us: Option<u64>,
    pub(super) text: &'a [u8],
}

/// What newer kernels (6.6, 6.18) have room for in a record of `/dev/kmsg`; older ones have 8 KiB. Escapes make four
/// bytes of one, so that a text of 1 KiB, the most that is printed, may not fit.
const ROOM: usize = 2048;

/// An escape as the kernel writes it: `\x`, two digits.
const ESCAPE: usize = 4;

impl<'a> Record<'a> {
    pub(super) fn parse(record: &'a [u8]) -> Option<Self> {
        let head = record.iter().position(|&byte| byte == b';')?;
        let mut fields = record[..head].split(|&byte| byte == b',');
        let mut number = || fields.next().and_then(decimal);
        let (priority, sequence, timestamp_us) = (number()?, number()?, number()?);
        let text = &record[head + 1..];
        let end = text.iter().position(|&byte| byte == b'\n');
        let full = record.len() == ROOM && end.is_none_or(|end| end + 1 == text.len());
        let mut text = &text[..end.unwrap_or(text.len())];
        if full {
            // An escape for which there was no room left a part of it, and a later byte may stand behind that.
            text = &text[..text.len().saturating_sub(ESCAPE)];
        }
        let cut = full || end.is_none();
        Some(Self { origin: origin(priority), sequence, timestamp_us, text, cut })
    }

    /// The text as it was printed.
    pub(super) fn printed(&self) -> Vec<u8> {
        let mut printed = Vec::with_capacity(self.text.len());
        let mut rest = self.text;
        while let Some((&byte, behind)) = rest.split_first() {
            if byte == b'\\' {
                if let Some(&[b'x', high, low]) = behind.first_chunk()
                    && let (Some(high), Some(low)) = (hex(high), hex(low))
                {
                    printed.push(high << 4 | low);
                    rest = &rest[ESCAPE..];
                    continue;
                }
                // The kernel escapes backslashes too: what is no escape is what remained of one.
                if self.cut && rest.len() < ESCAPE {
                    break;
                }
            }
            printed.push(byte);
            rest = behind;
        }
        printed
    }
}

impl<'a> LogLine<'a> {
    /// A line without a priority is not the kernel's; it is all text.
    pub(super) fn parse(line: &'a [u8]) -> Self {
        let Some((priority, behind)) = bracketed(line, b'<', b'>')
            .and_then(|(inside, behind)| Some((decimal(inside)?, behind)))
        else {
            return Self { prefix: &[], origin: Origin::Unstated, timestamp_us: None, text: line };
        };
        let (timestamp_us, text) = match stamp(behind) {
            Some((timestamp_us, text)) => (Some(timestamp_us), text),
            None => (None, behind),
        };
        let prefix = &line[..line.len() - text.len()];
        Self { prefix, origin: origin(priority), timestamp_us, text }
    }
}

/// `[   12.345678]`, callers right behind it in brackets of their own, and a blank.
fn stamp(text: &[u8]) -> Option<(u64, &[u8])> {
    let (inside, mut behind) = bracketed(text, b'[', b']')?;
    let point = inside.iter().position(|&byte| byte == b'.')?;
    let (seconds, micros) = (inside[..point].trim_ascii_start(), &inside[point + 1..]);
    if micros.len() != 6 {
        return None;
    }
    let timestamp_us = decimal(seconds)?.checked_mul(1_000_000)?.checked_add(decimal(micros)?)?;
    while let Some((_, further)) = bracketed(behind, b'[', b']') {
        behind = further;
    }
    Some((timestamp_us, behind.strip_prefix(b" ")?))
}

fn bracketed(text: &[u8], open: u8, close: u8) -> Option<(&[u8], &[u8])> {
    let inside = text.strip_prefix(&[open])?;
    let end = inside.iter().position(|&byte| byte == close)?;
    Some((&inside[..end], &inside[end + 1..]))
}

/// The kernel's facility is 0, and no process can write with that.
fn origin(priority: u64) -> Origin {
    if priority >> 3 == 0 { Origin::Kernel } else { Origin::User }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let value = |value: u64, byte: &u8| {
        byte.is_ascii_digit().then(|| value.checked_mul(10)?.checked_add(u64::from(byte - b'0')))?
    };
    (!digits.is_empty()).then(|| digits.iter().try_fold(0, value))?
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: Origin = Origin::Kernel;
    const USER: Origin = Origin::User;

    #[test]
    fn records_of_dev_kmsg() {
        for (record, origin, sequence, timestamp_us, printed) in [
            // From /dev/kmsg of Linux 6.18, written by a process; the driver's lines are as it prints them.
            (&b"12,14004,12734447621,-;NVRM: probe \\x5c \\x5cx41 \\xff\\xc3(\\x01\\x09 end\n"[..], USER, 14004, 12_734_447_621, &b"NVRM: probe \\ \\x41 \xff\xc3(\x01\t end"[..]),
            (b"12,14005,12734447695,-;NVRM: l1\\x0aNVRM: l2\\x0auntagged\\x0a\n", USER, 14005, 12_734_447_695, b"NVRM: l1\nNVRM: l2\nuntagged\n"),
            (b"4,1227,437812449,c,caller=T1946;NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.\n", KERNEL, 1227, 437_812_449, b"NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus."),
            (b"3,1,2,-;pcieport 0000:00:01.0: AER: x\n SUBSYSTEM=pci\n DEVICE=+pci:0000:00:01.0\n", KERNEL, 1, 2, b"pcieport 0000:00:01.0: AER: x"),
            (b"6,0,0,-,caller=C3,more=x;a;b,c;\n", KERNEL, 0, 0, b"a;b,c;"),
            (b"6,0,0;\n", KERNEL, 0, 0, b""),
            // No escape of the kernel's.
            (b"7,1,1,-;\\ \\x \\xg0 \\xFF\\\n", KERNEL, 1, 1, b"\\ \\x \\xg0 \\xFF\\"),
        ] {
            let got = Record::parse(record).expect("a record");
            assert_eq!((got.origin, got.sequence, got.timestamp_us), (origin, sequence, timestamp_us));
            assert_eq!(got.printed().escape_ascii().to_string(), printed.escape_ascii().to_string());
            assert!(!got.cut);
            for length in 0..record.len() {
                // A shorter one is refused, or says that it is.
                let shorter = Record::parse(&record[..length]);
                let ended = record[..length].contains(&b'\n');
                assert!(shorter.is_none_or(|shorter| shorter.cut != ended && !shorter.printed().contains(&0)));
            }
        }
        for bad in [
            "",
            ";",
            "4;",
            "4,1;x",
            "4,1,;x",
            "-4,1,1,-;x",
            "4,1,18446744073709551616,-;x",
            "4,1,1,-",
        ] {
            assert_eq!(Record::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_record_that_had_no_room_is_a_true_beginning_of_what_was_printed() {
        // As Linux 6.18 fills its 2,048 bytes: an escape gets as much as there is less one, other bytes go on.
        for shift in 0..8 {
            let printed =
                [b"NVRM: ".to_vec(), vec![b'y'; shift], vec![0xff; 900], b"END".to_vec()].concat();
            let mut record = b"12,14007,12734447838,-;".to_vec();
            for &byte in &printed {
                let room = ROOM - record.len();
                match byte {
                    0xff => record.extend(&b"\\xff"[..ESCAPE.min(room.saturating_sub(1))]),
                    _ if room > 0 => record.push(byte),
                    _ => {}
                }
            }
            if record.len() < ROOM {
                record.push(b'\n');
            }
            assert_eq!(record.len(), ROOM);
            let got = Record::parse(&record).expect("a record");
            assert!(got.cut);
            assert!(printed.starts_with(&got.printed()), "{shift}");
            assert!(got.printed().len() > 480, "{shift}");
        }
    }

    #[test]
    fn lines_of_syslog() {
        for (line, prefix, origin, timestamp_us, text) in [
            (
                "<12>[12734.447621] NVRM: \\ end",
                "<12>[12734.447621] ",
                USER,
                Some(12_734_447_621),
                "NVRM: \\ end",
            ),
            ("<4>[    0.000000] NVRM: x", "<4>[    0.000000] ", KERNEL, Some(0), "NVRM: x"),
            (
                "<3>[  437.812449][ T1946] NVRM: x",
                "<3>[  437.812449][ T1946] ",
                KERNEL,
                Some(437_812_449),
                "NVRM: x",
            ),
            (
                "<3>[  437.812449][    C0] [T1] x",
                "<3>[  437.812449][    C0] ",
                KERNEL,
                Some(437_812_449),
                "[T1] x",
            ),
            ("<6>[    1.000001] ", "<6>[    1.000001] ", KERNEL, Some(1_000_001), ""),
            (
                "<6>[    1.000001] <3>[    2.000002] NVRM: x",
                "<6>[    1.000001] ",
                KERNEL,
                Some(1_000_001),
                "<3>[    2.000002] NVRM: x",
            ),
            // printk.time=0, or no time after all.
            ("<4>NVRM: x", "<4>", KERNEL, None, "NVRM: x"),
            ("<4>[drm] x", "<4>", KERNEL, None, "[drm] x"),
            ("<4>[1.5] x", "<4>", KERNEL, None, "[1.5] x"),
            ("<4>[1.000005]x", "<4>", KERNEL, None, "[1.000005]x"),
            (
                "<4>[99999999999999999999.000005] x",
                "<4>",
                KERNEL,
                None,
                "[99999999999999999999.000005] x",
            ),
            ("<x>[    1.000001] NVRM: x", "", Origin::Unstated, None, "<x>[    1.000001] NVRM: x"),
            ("NVRM: x", "", Origin::Unstated, None, "NVRM: x"),
            ("", "", Origin::Unstated, None, ""),
        ] {
            let want =
                LogLine { prefix: prefix.as_bytes(), origin, timestamp_us, text: text.as_bytes() };
            assert_eq!(LogLine::parse(line.as_bytes()), want, "{line}");
            for length in 0..line.len() {
                let shorter = LogLine::parse(&line.as_bytes()[..length]);
                assert_eq!(shorter.prefix.len() + shorter.text.len(), length, "{line}");
            }
        }
    }

    #[test]
    fn no_bytes_are_too_strange() {
        let parts: [&[u8]; 12] =
            [b"<", b">", b"[", b"]", b" ", b"4", b".000001", b",", b";", b"\\x0", b"\0\xff", b"\n"];
        // Every sequence of five parts.
        for number in 0..parts.len().pow(5) {
            let bytes: Vec<u8> = (0..5)
                .flat_map(|place| parts[number / parts.len().pow(place) % parts.len()])
                .copied()
                .collect();
            let line = LogLine::parse(&bytes);
            assert_eq!([line.prefix, line.text].concat(), bytes);
            if let Some(record) = Record::parse(&bytes) {
                assert!(record.printed().len() <= bytes.len());
            }
        }
    }
}
