//! What stands before a driver's text in a log line.
//!
//! A line is the driver's own only if everything before its text is made of the parts below, in any order. That is what
//! tells `kernel: NVRM: Xid (…` from a user's text that has the same words somewhere in it: a shell's command line, an
//! audit record and a line of another program all have something before the words that is none of these.
//!
//! | part | example | written by |
//! | --- | --- | --- |
//! | priority | `<4>` | `dmesg -r`, syslog(2), RFC 3164 and 5424 |
//! | record header | `4,1227,437812449932,c;` with or without `,caller=T1946` | `/dev/kmsg` |
//! | facility and level | `kern  :warn  : `, `kern:     err:` | `dmesg -x`, Talos |
//! | time since boot | `[ 1843.308145]`, `[  12.345678 <    0.000004>]`, `[  +0.000004]` | the kernel, `dmesg -d`, `dmesg -e` |
//! | wall clock | `[Fri Aug 30 11:43:14 2024]`, `2025-01-21T04:41:44,283302+00:00`, `Dec  2 11:38:47`, `19:14:43` | `dmesg -T`, ISO, syslog |
//! | who called | `[ T1946]`, `[   C12]` | `CONFIG_PRINTK_CALLER` |
//! | cut out | `[...]` | whoever quoted the line |
//! | tag | `kernel: `, `worker4 kernel: `, `worker4 kernel - - - ` | syslog |
//! | node | `192.168.11.119: ` right before facility and level | Talos |
//!
//! A syslog line with any other tag (`worker4 bash[911]: NVRM: …`, `worker4 user: NVRM: …`) is that program's text and not
//! the driver's. Where the line carries a facility it also says who wrote it: [`Origin`].

use super::text::{Reader, decimal, decimal64};

/// Who wrote the line, as far as the line itself says.
///
/// Anyone who may open `/dev/kmsg` can write a line that looks like the driver's; the kernel marks it with a facility
/// other than its own (0). Only some log formats carry the facility on. A syslog tag is not taken for a proof, since
/// `logger -t kernel` sets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The facility is the kernel's: a driver's own print.
    Kernel,
    /// The facility is another: a process wrote the line through `/dev/kmsg`. Never a ground for a verdict.
    User,
    /// The line carries no facility.
    #[default]
    Unstated,
}

/// The time that stands in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp<'a> {
    /// On the kernel's log clock, which starts at boot.
    SinceBoot {
        /// Nanoseconds; the kernel prints microseconds.
        ns: u64,
    },
    /// A wall clock's time, as it was written: formats differ in zone, year and language.
    Written(super::Text<'a>),
}

/// A line without its prefix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) speaker: Speaker,
    /// From the speaker's first byte on.
    pub(super) text: &'a [u8],
    pub(super) origin: Origin,
    pub(super) stamp: Option<Stamp<'a>>,
}

/// Whose way to begin a line this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    /// `NVRM: `, the GPU driver.
    Nvrm,
    /// `nvidia-nvswitch0: `, the NVSwitch driver.
    NvSwitch,
    /// `pcieport 0000:00:01.0: ` or another driver's name: the PCI core about a device.
    Pci,
}

/// More parts than any known log puts before a line (`<6>2025-… host kernel: [ 12.3] [ T1946] `).
const MAX_PARTS: usize = 10;
/// Longest text between brackets that is a time or a caller.
const MAX_BRACKET: usize = 48;

/// Takes the prefix off. None: the line is not one of the speakers'. This is what every line of a log goes through, and
/// for nearly all of them it is all there is: it looks at the first bytes and never at the whole line.
pub(super) fn strip(line: &[u8]) -> Option<Line<'_>> {
    let mut origin = Origin::Unstated;
    let mut stamp = None;
    let mut reader = Reader::new(line);
    for _ in 0..MAX_PARTS {
        reader.spaces();
        let text = reader.rest();
        match reader.peek()? {
            b'N' | b'n' | b'p' | b'v' => {
                if let Some(speaker) = speaker(text) {
                    return Some(Line { speaker, text, origin, stamp });
                }
                word_part(&mut reader, &mut origin, &mut stamp)?;
            }
            b'[' => bracket(&mut reader, &mut stamp)?,
            b'<' => priority(&mut reader, &mut origin)?,
            b'0'..=b'9' => {
                let header = record_header(&mut reader, &mut origin, &mut stamp);
                header
                    .or_else(|| clock(&mut reader, &mut stamp))
                    .or_else(|| word_part(&mut reader, &mut origin, &mut stamp))?;
            }
            _ => word_part(&mut reader, &mut origin, &mut stamp)?,
        }
    }
    None
}

fn speaker(text: &[u8]) -> Option<Speaker> {
    if text.starts_with(b"NVRM: ") {
        return Some(Speaker::Nvrm);
    }
    if text.starts_with(b"nvidia-nvswitch") {
        return Some(Speaker::NvSwitch);
    }
    let after = [&b"nvidia "[..], b"pcieport ", b"pci ", b"vfio-pci "]
        .into_iter()
        .find_map(|name| text.strip_prefix(name))?;
    after.first().is_some_and(u8::is_ascii_hexdigit).then_some(Speaker::Pci)
}

/// `[…]`: a time, a caller or `...`. Talos puts a colon behind.
fn bracket<'a>(reader: &mut Reader<'a>, stamp: &mut Option<Stamp<'a>>) -> Option<()> {
    let inside = &reader.rest()[1..];
    let end = inside.iter().take(MAX_BRACKET).position(|&byte| byte == b']')?;
    let (content, after) = (&inside[..end], &inside[end + 1..]);
    // `dmesg -d` has the time since the line before behind the time: `[  12.345678 <    0.000004>]`.
    let content = content.split(|&byte| byte == b'<').next().unwrap_or(b"").trim_ascii();
    let (&first, others) = content.split_first()?;
    let mut digits = 0_usize;
    let mut plain = true;
    let mut colon = false;
    for &byte in content {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'.' | b'+' | b'-' | b',' => {}
            b':' => colon = true,
            b' ' | b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => plain = false,
            _ => return None,
        }
    }
    if content == b"..." || matches!(first, b'T' | b'C') && decimal(others).is_some() {
        // Cut out, or who called.
    } else if plain && digits > 0 && !colon {
        let ns = seconds(content)?;
        // With a sign it is the time since the line before, as `dmesg -e` has it.
        if first != b'+' {
            stamp.get_or_insert(Stamp::SinceBoot { ns });
        }
    } else if digits > 0 && colon {
        *stamp = Some(Stamp::Written(super::Text::bounded(content, MAX_BRACKET)));
    } else {
        return None;
    }
    *reader = Reader::new(after);
    reader.eat(b":");
    Some(())
}

/// `1843.308145` in nanoseconds.
fn seconds(text: &[u8]) -> Option<u64> {
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let dot = text.iter().position(|&byte| byte == b'.').unwrap_or(text.len());
    let whole = decimal64(&text[..dot])?;
    let mut ns = whole.checked_mul(1_000_000_000)?;
    let mut unit = 100_000_000;
    for &byte in text.get(dot + 1..).unwrap_or(b"").iter().take(9) {
        ns = ns.checked_add(byte.is_ascii_digit().then(|| u64::from(byte - b'0') * unit)?)?;
        unit /= 10;
    }
    Some(ns)
}

/// `<4>`, and RFC 5424's version behind it.
fn priority(reader: &mut Reader<'_>, origin: &mut Origin) -> Option<()> {
    let mut here = *reader;
    here.expect(b"<")?;
    let value = here.decimal()?;
    here.expect(b">")?;
    here.eat(b"1 ");
    *origin = of_facility(value >> 3);
    *reader = here;
    Some(())
}

/// `4,1227,437812449932,c;`, see the kernel's Documentation/ABI/testing/dev-kmsg: priority, sequence, microseconds, flags
/// and whatever the kernel may add before the semicolon.
fn record_header<'a>(
    reader: &mut Reader<'a>,
    origin: &mut Origin,
    stamp: &mut Option<Stamp<'a>>,
) -> Option<()> {
    let mut here = *reader;
    let value = here.decimal()?;
    here.expect(b",")?;
    decimal64(here.take_while(|byte| byte.is_ascii_digit()))?;
    here.expect(b",")?;
    let microseconds = decimal64(here.take_while(|byte| byte.is_ascii_digit()))?;
    here.expect(b",")?;
    let end = here.rest().iter().take(128).position(|&byte| byte == b';')?;
    *reader = Reader::new(&here.rest()[end + 1..]);
    *origin = of_facility(value >> 3);
    *stamp = Some(Stamp::SinceBoot { ns: microseconds.saturating_mul(1000) });
    Some(())
}

fn of_facility(facility: u32) -> Origin {
    if facility == 0 { Origin::Kernel } else { Origin::User }
}

/// A wall clock's time that begins with a digit: ISO with `T` or a blank between date and time, the time alone, or
/// seconds since 1970.
fn clock<'a>(reader: &mut Reader<'a>, stamp: &mut Option<Stamp<'a>>) -> Option<()> {
    let mut here = *reader;
    let start = here.rest();
    let first = here.word();
    if is_date(first) && first.len() == 10 {
        here.spaces();
        if !is_time(here.word()) {
            return None;
        }
        // The zone of `journalctl -o short-full`.
        let mut zone = here;
        zone.spaces();
        if matches!(zone.word(), b"UTC" | b"GMT") {
            here = zone;
        }
    } else {
        let after_date = first.get(11..).unwrap_or(b"");
        let iso = is_date(first) && first.get(10) == Some(&b'T') && is_time(after_date);
        let epoch = first.len() > 11 && first.get(10) == Some(&b'.') && seconds(first).is_some();
        if !(iso || epoch || is_time(first)) {
            return None;
        }
    }
    let written = &start[..start.len() - here.rest().len()];
    *stamp = Some(Stamp::Written(super::Text::bounded(written, MAX_BRACKET)));
    *reader = here;
    Some(())
}

/// `2025-01-21…`
fn is_date(word: &[u8]) -> bool {
    matches!(word, [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, ..]
        if [y1, y2, y3, y4, m1, m2, d1, d2].iter().all(|byte| byte.is_ascii_digit()))
}

/// `19:14:43` and whatever fraction and zone is glued to it.
fn is_time(word: &[u8]) -> bool {
    matches!(word, [h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..]
        if [h1, h2, m1, m2, s1, s2].iter().all(|byte| byte.is_ascii_digit())
            && rest.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b',' | b'+' | b'-' | b':' | b'Z')))
}

/// Parts that begin with a letter or whose first word is a name.
fn word_part<'a>(
    reader: &mut Reader<'a>,
    origin: &mut Origin,
    stamp: &mut Option<Stamp<'a>>,
) -> Option<()> {
    if reader.eat(b"kernel:") {
        return Some(());
    }
    if facility_and_level(reader, origin).is_some() {
        return Some(());
    }
    let start = reader.rest();
    let mut here = *reader;
    let first = here.word();
    if first.is_empty() || first.len() > 255 {
        return None;
    }
    let after_first = here;
    here.spaces();
    if first.ends_with(b":") {
        // Talos: the node before facility and level.
        facility_and_level(&mut here, origin)?;
        *reader = here;
        return Some(());
    }
    // A host and the kernel's tag.
    if stamp.is_some() && (here.eat(b"kernel:") || here.eat(b"kernel - - - ")) {
        *reader = here;
        return Some(());
    }
    // `Dec  2 11:38:47`: the month in any language, or `Tue` before an ISO date.
    let second = here.word();
    if is_date(second) && first.len() == 3 {
        *reader = after_first;
        return Some(());
    }
    here.spaces();
    if second.len() <= 2 && decimal(second).is_some() && is_time(here.word()) {
        let written = &start[..start.len() - here.rest().len()];
        *stamp = Some(Stamp::Written(super::Text::bounded(written, MAX_BRACKET)));
        *reader = here;
        return Some(());
    }
    None
}

/// `kern  :warn  :` as util-linux pads it, `kern:     err:` as Talos does.
fn facility_and_level(reader: &mut Reader<'_>, origin: &mut Origin) -> Option<()> {
    const FACILITIES: [&[u8]; 13] = [
        b"kern",
        b"user",
        b"mail",
        b"daemon",
        b"auth",
        b"syslog",
        b"lpr",
        b"news",
        b"uucp",
        b"cron",
        b"authpriv",
        b"ftp",
        b"res",
    ];
    const LEVELS: [&[u8]; 9] =
        [b"emerg", b"alert", b"crit", b"err", b"error", b"warn", b"notice", b"info", b"debug"];
    let mut here = *reader;
    let facility = here.take_while(|byte| byte.is_ascii_alphanumeric());
    if !FACILITIES.contains(&facility) && !facility.starts_with(b"local") {
        return None;
    }
    here.spaces();
    here.expect(b":")?;
    here.spaces();
    let level = here.take_while(|byte| byte.is_ascii_alphabetic());
    if !LEVELS.contains(&level) && level != b"warning" {
        return None;
    }
    here.spaces();
    here.expect(b":")?;
    *origin = if facility == b"kern" { Origin::Kernel } else { Origin::User };
    *reader = here;
    Some(())
}
