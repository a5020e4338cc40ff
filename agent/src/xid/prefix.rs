//! What stands before a driver's text in a log line.
//!
//! A line is the driver's own only if everything before its text is made of the parts below, in any
//! order. That is what tells `kernel: NVRM: Xid (…` from a user's text that has the same words
//! somewhere in it: a shell's command line, an audit record and a line of another program all have
//! something before the words that is none of these.
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
//! A syslog line with any other tag (`worker4 bash[911]: NVRM: …`, `worker4 user: NVRM: …`) is that
//! program's text and not the driver's. Where the line carries a facility it also says who wrote
//! it: [`Origin`].

use super::reader::{Reader, decimal, trim_end};
use super::time::{MAX_TIME, Stamp, Time, is_date, is_time, seconds};

/// Who wrote the line, as far as the line itself says.
///
/// Anyone who may open `/dev/kmsg` can write a line that looks like the driver's; the kernel marks
/// it with a facility other than its own (0). Only some log formats carry the facility on. A syslog
/// tag is not taken for a proof, since `logger -t kernel` sets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The facility is the kernel's: a driver's own print.
    Kernel,
    /// The facility is another: a process wrote the line through `/dev/kmsg`. Never a ground for a
    /// verdict.
    User,
    /// The line carries no facility.
    #[default]
    Unstated,
}

/// A line without its prefix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) speaker: Speaker,
    /// From the speaker's first byte on, without the line's end.
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
/// Longest word of a prefix: a host name has at most 253 bytes.
const MAX_WORD: usize = 256;

/// Takes the prefix off. None: the line is not one of the speakers'. This is what every line of a
/// log goes through, and for nearly all of them it is all there is: it looks at the first bytes and
/// never at the whole line.
pub(super) fn strip(line: &[u8]) -> Option<Line<'_>> {
    let mut prefix =
        Prefix { reader: Reader::new(line), origin: Origin::Unstated, time: Time::None };
    for _ in 0..MAX_PARTS {
        prefix.reader.spaces();
        match prefix.reader.peek()? {
            b'N' | b'n' | b'p' | b'v' => {
                let text = prefix.reader.rest();
                if let Some(speaker) = speaker(text) {
                    let text = trim_end(text);
                    let stamp = prefix.time.stamp();
                    return Some(Line { speaker, text, origin: prefix.origin, stamp });
                }
                prefix.word()?;
            }
            b'[' => prefix.bracket()?,
            b'<' => prefix.priority()?,
            b'0'..=b'9' => {
                prefix.record_header().or_else(|| prefix.clock()).or_else(|| prefix.word())?;
            }
            _ => prefix.word()?,
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

/// A line's prefix as far as it is read. Every method steps over the part it is named after, or
/// says None and leaves everything as it was.
struct Prefix<'a> {
    reader: Reader<'a>,
    origin: Origin,
    time: Time<'a>,
}

impl<'a> Prefix<'a> {
    /// `[…]`: a time, a caller or `...`. Talos puts a colon behind.
    fn bracket(&mut self) -> Option<()> {
        if self.seconds().is_some() {
            return Some(());
        }
        let inside = &self.reader.rest()[1..];
        let end = inside[..inside.len().min(MAX_TIME)].iter().position(|&byte| byte == b']')?;
        // `dmesg -d` puts the time since the line before behind a `<`.
        let content = inside[..end].trim_ascii_start();
        let content = content.split(|&byte| byte == b'<').next().unwrap_or(b"").trim_ascii_end();
        let (&first, others) = content.split_first()?;
        let (mut digit, mut colon, mut words) = (false, false, false);
        for &byte in content {
            match byte {
                b'0'..=b'9' => digit = true,
                b'.' | b'+' | b'-' | b',' => {}
                b':' => colon = true,
                b' ' | b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => words = true,
                _ => return None,
            }
        }
        let caller = matches!(first, b'T' | b'C') && decimal(others).is_some();
        match (digit, colon, words) {
            (true, true, _) => self.time = Time::Written(content),
            // With a sign it is the time since the line before, as `dmesg -e` has it.
            (true, false, false) if first == b'+' => {}
            (true, false, false) => self.since_boot(content),
            _ if caller || content == b"..." => {}
            _ => return None,
        }
        self.reader = Reader::new(&inside[end + 1..]);
        self.reader.eat(b":");
        Some(())
    }

    /// `[ 1843.308145]`, the form that nearly all lines have, in one go.
    fn seconds(&mut self) -> Option<()> {
        let mut here = self.reader;
        here.expect(b"[")?;
        here.spaces();
        let number = here.take_while(|byte| byte.is_ascii_digit() || byte == b'.');
        if number.len() < 2 || number == b"..." {
            return None;
        }
        here.expect(b"] ")?;
        self.since_boot(number);
        self.reader = here;
        Some(())
    }

    /// Once a part says that a process wrote the line, no later part takes that back: what stands
    /// behind it is that process's text.
    fn said(&mut self, origin: Origin) {
        if self.origin != Origin::User {
            self.origin = origin;
        }
    }

    /// Next to a wall clock's time, which says more to whoever reads it, the kernel's own is left
    /// out.
    fn since_boot(&mut self, seconds: &'a [u8]) {
        if matches!(self.time, Time::None) {
            self.time = Time::Seconds(seconds);
        }
    }

    /// `<4>`, and RFC 5424's version behind it.
    fn priority(&mut self) -> Option<()> {
        let mut here = self.reader;
        here.expect(b"<")?;
        let value = here.decimal()?;
        here.expect(b">")?;
        here.eat(b"1 ");
        self.said(of_facility(value >> 3));
        self.reader = here;
        Some(())
    }

    /// `4,1227,437812449932,c;`, see the kernel's Documentation/ABI/testing/dev-kmsg: priority,
    /// sequence, microseconds, flags and whatever the kernel may add before the semicolon.
    fn record_header(&mut self) -> Option<()> {
        let mut here = self.reader;
        let value = here.decimal()?;
        here.expect(b",")?;
        here.take_while(|byte| byte.is_ascii_digit());
        here.expect(b",")?;
        let microseconds = here.take_while(|byte| byte.is_ascii_digit());
        here.expect(b",")?;
        let end = here.rest().iter().take(128).position(|&byte| byte == b';')?;
        self.reader = Reader::new(&here.rest()[end + 1..]);
        self.said(of_facility(value >> 3));
        self.time = Time::Microseconds(microseconds);
        Some(())
    }

    /// A wall clock's time that begins with a digit: ISO with `T` or a blank between date and time,
    /// the time alone, or seconds since 1970.
    fn clock(&mut self) -> Option<()> {
        let mut here = self.reader;
        let start = here.rest();
        let first = word(&mut here);
        if is_date(first) && first.len() == 10 {
            here.spaces();
            if !is_time(word(&mut here)) {
                return None;
            }
            // The zone of `journalctl -o short-full`.
            let mut zone = here;
            zone.spaces();
            if matches!(word(&mut zone), b"UTC" | b"GMT") {
                here = zone;
            }
        } else {
            let iso = is_date(first) && first.get(10) == Some(&b'T') && is_time(&first[11..]);
            let epoch = first.get(10) == Some(&b'.') && seconds(first).is_some();
            if !(iso || epoch || is_time(first)) {
                return None;
            }
        }
        self.time = Time::Written(&start[..start.len() - here.rest().len()]);
        self.reader = here;
        Some(())
    }

    /// Parts that begin with a letter or whose first word is a name.
    fn word(&mut self) -> Option<()> {
        let start = self.reader.rest();
        let mut here = self.reader;
        let first = word(&mut here);
        if first == b"kernel:" {
            self.reader = here;
            return Some(());
        }
        let after_first = here;
        here.spaces();
        if facility(first.strip_suffix(b":").unwrap_or(first)).is_some()
            && self.facility_and_level().is_some()
        {
            return Some(());
        }
        match here.peek()? {
            // A host, then the kernel's tag.
            b'k' if !matches!(self.time, Time::None) => {
                let tagged = here.eat(b"kernel:") || here.eat(b"kernel - - - ");
                if tagged {
                    self.reader = here;
                    return Some(());
                }
            }
            // `Dec  2 11:38:47`, the month in any language; `Tue` before an ISO date.
            b'0'..=b'9' => {
                let second = word(&mut here);
                if first.len() == 3 && is_date(second) {
                    self.reader = after_first;
                    return Some(());
                }
                here.spaces();
                if second.len() <= 2 && decimal(second).is_some() && is_time(word(&mut here)) {
                    self.time = Time::Written(&start[..start.len() - here.rest().len()]);
                    self.reader = here;
                    return Some(());
                }
            }
            _ => {}
        }
        // Talos: the node, right before facility and level.
        if !first.ends_with(b":") || !matches!(self.time, Time::None) {
            return None;
        }
        let before = std::mem::replace(&mut self.reader, after_first);
        self.reader.spaces();
        let found = self.facility_and_level();
        if found.is_none() {
            self.reader = before;
        }
        found
    }

    /// `kern  :warn  :` as util-linux pads it, `kern:     err:` as Talos does.
    fn facility_and_level(&mut self) -> Option<()> {
        let mut here = self.reader;
        let origin = facility(here.take_while(|byte| byte.is_ascii_alphanumeric()))?;
        here.spaces();
        here.expect(b":")?;
        here.spaces();
        let level = here.take_while(|byte| byte.is_ascii_alphabetic());
        let known = matches!(
            level,
            b"emerg"
                | b"alert"
                | b"crit"
                | b"err"
                | b"error"
                | b"warn"
                | b"warning"
                | b"notice"
                | b"info"
                | b"debug"
        );
        here.spaces();
        if !known || !here.eat(b":") {
            return None;
        }
        self.said(origin);
        self.reader = here;
        Some(())
    }
}

/// A word of a prefix: up to the next blank. Longer ones than any host name are cut, and then are
/// nothing.
fn word<'a>(reader: &mut Reader<'a>) -> &'a [u8] {
    let rest = reader.rest();
    let (word, rest) = rest.split_at(blank(&rest[..rest.len().min(MAX_WORD)]));
    *reader = Reader::new(rest);
    word
}

/// Where the first blank is, or the end. Eight bytes at a time, since this is what most lines of a
/// log cost.
fn blank(text: &[u8]) -> usize {
    const LOWEST: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHEST: u64 = u64::from_ne_bytes([0x80; 8]);
    const BLANKS: u64 = u64::from_ne_bytes([b' '; 8]);
    let (chunks, rest) = text.as_chunks::<8>();
    for (index, chunk) in chunks.iter().enumerate() {
        // The highest bit of a byte that is zero, and perhaps of some behind it: of those before it
        // never.
        let zero_where_blank = u64::from_le_bytes(*chunk) ^ BLANKS;
        let found = zero_where_blank.wrapping_sub(LOWEST) & !zero_where_blank & HIGHEST;
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let tail = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
    text.len() - rest.len() + tail
}

fn of_facility(number: u32) -> Origin {
    if number == 0 { Origin::Kernel } else { Origin::User }
}

/// By the name that dmesg prints.
fn facility(name: &[u8]) -> Option<Origin> {
    match name {
        b"kern" => Some(Origin::Kernel),
        b"user" | b"mail" | b"daemon" | b"auth" | b"syslog" | b"lpr" | b"news" | b"uucp"
        | b"cron" | b"authpriv" | b"ftp" | b"local0" | b"local1" | b"local2" | b"local3"
        | b"local4" | b"local5" | b"local6" | b"local7" => Some(Origin::User),
        _ => None,
    }
}
