//! The log by syslog(2): all of it as one text, each time.
//!
//! There is no place kept and nothing numbered, so the last line read is looked for from the end. It carries the time in
//! µs, so that it is hardly ever there twice; where it is, the equal lines are counted. (With `printk.time=0` a storm of
//! one line alone cannot be followed exactly.) A poll that has little new to
//! find asks for the end of the text alone. What costs is the kernel's walk through its log, which it takes anyway.

use std::{io, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use super::{
    Passed, Place, Position,
    clock::{self, Clock},
    is_driver_line,
    record::LogLine,
};
use crate::{event::Origin, kernel::Line};

/// How much of the text's end is asked for, until the last line is found in it. A log larger than the last is read
/// from there on.
const WINDOWS: [usize; 3] = [16 << 10, 256 << 10, 4 << 20];
/// Polling is to take no more than a thousandth of a processor.
const SHARE: u32 = 1000;
const FASTEST: Duration = Duration::from_secs(2);
/// Unless the log is so large that events would come too late for whoever waits for them.
const SLOWEST: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Syslog {
    /// The end of what has been read. Set by reading, and before the first read by [`Self::resume`].
    last: Option<Place>,
    /// Processor time of the last read; [`Self::pace`] is made of it.
    cost: Duration,
}

impl Syslog {
    pub(super) fn open() -> io::Result<Self> {
        // The right is looked at first: for no text it says whether there would be one.
        read_all(&mut [])?;
        Ok(Self { last: None, cost: Duration::ZERO })
    }

    pub(super) fn resume(&mut self, place: Place) {
        self.last = Some(place);
    }

    pub(super) fn place(&self) -> Option<Place> {
        self.last
    }

    pub(super) fn pace(&self) -> Duration {
        (self.cost * SHARE).clamp(FASTEST, SLOWEST)
    }

    pub(super) fn read(
        &mut self,
        clock: &mut Clock,
        mut hear: impl FnMut(Line),
    ) -> io::Result<Passed> {
        let begun = processor_time();
        let (mut text, mut new, mut lost) = (Vec::new(), 0, 0);
        let windows = if self.last.is_some() { &WINDOWS[..] } else { &WINDOWS[2..] };
        for &window in windows {
            // Of the zeroes no page is there before the kernel writes to it.
            text = vec![0; window];
            let length = read_all(&mut text)?;
            text.truncate(length);
            let Some(place) = self.last else { break };
            match behind(&text, place) {
                Some(from) => {
                    (new, lost) = (from, 0);
                    break;
                }
                // Cleared (`dmesg -C`) and nothing printed since: no loss yet.
                None => lost = u64::from(!text.is_empty()),
            }
        }
        let now_us = clock::now_us();
        let new = &text[new..];
        for line in [lines(new).next(), lines(new).next_back()].into_iter().flatten() {
            if let Some(timestamp_us) = LogLine::parse(line).timestamp_us {
                clock.learn(timestamp_us, now_us);
            }
        }
        each(new, |origin, timestamp_us, text| {
            hear(Line {
                time: clock.time(timestamp_us),
                task: None,
                text: text.into(),
                cut: false,
                origin,
            });
        });
        if let Some(end) = end(&text) {
            self.last = Some(end);
        }
        self.cost = processor_time().saturating_sub(begun);
        Ok(Passed { lost, more: false })
    }
}

/// What this thread has used. The time by the clock would grow with everybody's load.
fn processor_time() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), u32::try_from(used.tv_nsec).unwrap_or(0))
}

/// Fills `text` with the end of the log, whole records, the oldest first: how much of it was filled.
fn read_all(text: &mut [u8]) -> io::Result<usize> {
    /// SYSLOG_ACTION_READ_ALL. It leaves the log as it is, unlike READ (2), READ_CLEAR (4) and CLEAR (5).
    const READ_ALL: libc::c_int = 3;
    let room = libc::c_int::try_from(text.len()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the kernel writes at most `room` bytes from the start of `text`, which has at least as many.
    let length = unsafe { libc::klogctl(READ_ALL, text.as_mut_ptr().cast(), room) };
    usize::try_from(length).map_err(|_| io::Error::last_os_error())
}

fn lines(text: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n')
}

/// Where `text` ends.
fn end(text: &[u8]) -> Option<Place> {
    let line = lines(text).next_back()?;
    let run = lines(text).rev().take_while(|other| *other == line).count();
    let position = Position::Line { hash: hash(line), run: run as u64 };
    Some((position, LogLine::parse(line).timestamp_us.unwrap_or(0)))
}

/// Where in `text` begins what is behind `last`; None where that is not there any more.
fn behind(text: &[u8], (position, timestamp_us): Place) -> Option<usize> {
    let mut end = text.len();
    let mut lines = lines(text).rev();
    let read = |line: &[u8]| match position {
        Position::Line { hash: last, .. } => hash(line) == last,
        // From a mark that /dev/kmsg left: the time has to do.
        Position::Record { .. } => {
            LogLine::parse(line).timestamp_us.is_some_and(|time| time <= timestamp_us)
        }
    };
    let line = lines.by_ref().find(|line| {
        let found = read(line);
        end -= if found { 0 } else { line.len() };
        found
    })?;
    if let Position::Line { run, .. } = position {
        // More equal lines than there were: those at the end are new.
        let now = 1 + lines.take_while(|other| *other == line).count();
        let new = now.saturating_sub(usize::try_from(run).unwrap_or(usize::MAX));
        end -= new * line.len();
    }
    Some(end)
}

/// Hands every driver's line to `hear`: who wrote it, its time, its text.
///
/// A record with newlines in it is several lines here, with the same prefix. Where it is a driver's, what follows is
/// put back; a line that has a driver's tag of its own stands alone, as two prints within a µs cannot be told from
/// one of two lines. A tag behind somebody else's first line may be of a file name with a newline in it, which any
/// process could have the kernel print: it is taken for what a process wrote.
fn each(text: &[u8], mut hear: impl FnMut(Origin, Option<u64>, Vec<u8>)) {
    let mut open: Option<(LogLine<'_>, Vec<u8>)> = None;
    let mut foreign: &[u8] = b"";
    let mut close = |open: Option<(LogLine<'_>, Vec<u8>)>| {
        let Some((line, mut text)) = open else { return };
        while text.last() == Some(&b'\n') {
            text.pop();
        }
        hear(line.origin, line.timestamp_us, text);
    };
    for line in lines(text) {
        let mut line = LogLine::parse(line.strip_suffix(b"\n").unwrap_or(line));
        let same = |prefix: &[u8]| line.timestamp_us.is_some() && line.prefix == prefix;
        if is_driver_line(line.text) {
            if same(foreign) {
                line.origin = Origin::User;
            }
            let text = line.text.to_vec();
            close(open.replace((line, text)));
        } else if let Some((_, text)) = open.as_mut().filter(|(first, _)| same(first.prefix)) {
            text.push(b'\n');
            text.extend_from_slice(line.text);
        } else {
            close(open.take());
            foreign = line.prefix;
        }
    }
    close(open);
}

/// FNV-1a: a mark outlives the process, and the standard library's hash is nowhere promised to stay.
fn hash(line: &[u8]) -> u64 {
    line.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_goes_on_right_behind_the_last_line() {
        // Equal lines, equal times, times that go back.
        let log: Vec<String> =
            ["1 a", "1 a", "1 b", "2 a", "2 a", "2 a", "1 c", "3 d", "3 d", "3 e"]
                .iter()
                .map(|line| format!("<4>[    {}.000000] {}\n", &line[..1], &line[2..]))
                .collect();
        let text = |from: usize, to: usize| log[from..to].concat().into_bytes();
        for (read, now) in
            (1..=log.len()).flat_map(|read| (read..=log.len()).map(move |now| (read, now)))
        {
            let place = end(&text(0, read)).expect("not empty");
            // The ring has lost its first lines, down to those equal to the last one.
            let run = log[..read].iter().rev().take_while(|line| **line == log[read - 1]).count();
            for gone in 0..=read - run {
                let got = behind(&text(gone, now), place);
                assert_eq!(got, Some(text(gone, read).len()), "{gone} {read} {now}");
            }
            if !log[read..].contains(&log[read - 1]) {
                assert_eq!(behind(&text(read, now), place), None, "{read} {now}");
            }
        }
    }

    #[test]
    fn a_mark_of_the_other_way_is_found_by_its_time() {
        let text =
            b"<4>[    1.000000] a\n<4>[    2.000000] b\n<4>[    2.000000] c\n<4>[    3.000000] d\n";
        for (timestamp_us, want) in
            [(0, None), (1_000_000, Some(20)), (2_500_000, Some(60)), (9_000_000, Some(80))]
        {
            let place = (Position::Record { sequence: 7 }, timestamp_us);
            assert_eq!(behind(text, place), want);
        }
        assert_eq!((behind(b"", (Position::Record { sequence: 7 }, 9)), end(b"")), (None, None));
    }

    #[test]
    fn records_of_several_lines() {
        let got = |text: &str| {
            let mut got = Vec::new();
            each(text.as_bytes(), |origin, timestamp_us, text| {
                let (time, text) = (timestamp_us.unwrap_or(0), text.escape_ascii());
                got.push(format!("{origin:?} {time} {text}|"));
            });
            got.concat()
        };
        for (text, want) in [
            ("", ""),
            ("<4>[    1.000000] usb 1-1: x\n", ""),
            ("<4>[    1.000000] NVRM: a\n<6>[    1.000000] b\n", "Kernel 1000000 NVRM: a|"),
            ("<12>[    1.000000] nvidia: \n", "User 1000000 nvidia: |"),
            // What follows with the same prefix belongs to it …
            (
                "<4>[    1.000000] NVRM: a\n<4>[    1.000000] b\n<4>[    1.000000] \n<4>[    1.000001] c\n",
                "Kernel 1000000 NVRM: a\\nb|",
            ),
            (
                "<4>[    1.000000][ T7] NVRM: a\n<4>[    1.000000][ T8] b\n",
                "Kernel 1000000 NVRM: a|",
            ),
            // … unless it can as well be a print of its own.
            (
                "<4>[    1.000000] NVRM: a\n<4>[    1.000000] NVRM: b\n<4>[    1.000000] c",
                "Kernel 1000000 NVRM: a|Kernel 1000000 NVRM: b\\nc|",
            ),
            // A name with a newline in it, in another's line.
            (
                "<4>[    1.000000] overlayfs: x\n<4>[    1.000000] NVRM: Xid\n<4>[    1.000000] NVRM: Xid\n",
                "User 1000000 NVRM: Xid|User 1000000 NVRM: Xid|",
            ),
            (
                "<4>[    1.000000] overlayfs: x\n<4>[    1.000001] NVRM: Xid\n",
                "Kernel 1000001 NVRM: Xid|",
            ),
            // Without times nothing tells what belongs together.
            ("<4>NVRM: a\n<4>b\n<4>NVRM: c\n", "Kernel 0 NVRM: a|Kernel 0 NVRM: c|"),
        ] {
            assert_eq!(got(text), want, "{text}");
            for length in 0..text.len() {
                got(&text[..length]);
            }
        }
    }
}
