//! The log by `/dev/kmsg`: one record a read, each with a number that counts from the boot on.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{FileType, Mode, OFlags},
    io::Errno,
};

use super::{
    Passed, Place, Position,
    clock::{self, Clock},
    is_driver_line,
    record::Record,
};
use crate::kernel::Line;

/// The longest record of any kernel so far.
const LONGEST: usize = 8192;
/// Records that one call reads; 1 to 2 ms.
const AT_ONCE: usize = 1024;

#[derive(Debug)]
pub(super) struct Kmsg {
    /// The kernel keeps the place in the log with the open file.
    device: OwnedFd,
    /// Number and time of the last record. Set by reading, and before the first read by [`Self::resume`].
    last: Option<(u64, u64)>,
    /// From a mark that syslog(2) left: records until this time have been read. None as soon as one is later.
    until_us: Option<u64>,
    buffer: Vec<u8>,
}

impl Kmsg {
    pub(super) fn open() -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let device = rustix::fs::open("/dev/kmsg", flags, Mode::empty())?;
        // Some container managers put /dev/console or /dev/null in its place.
        let stat = rustix::fs::fstat(&device)?;
        let number = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || number != (1, 11) {
            return Err(io::Error::other("something else has its name"));
        }
        Ok(Self { device, last: None, until_us: None, buffer: vec![0; LONGEST] })
    }

    pub(super) fn resume(&mut self, (position, timestamp_us): Place) {
        match position {
            Position::Record { sequence } => self.last = Some((sequence, timestamp_us)),
            Position::Line { .. } => self.until_us = Some(timestamp_us),
        }
    }

    pub(super) fn place(&self) -> Option<Place> {
        self.last.map(|(sequence, timestamp_us)| (Position::Record { sequence }, timestamp_us))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    pub(super) fn read(
        &mut self,
        clock: &mut Clock,
        mut hear: impl FnMut(Line),
    ) -> io::Result<Passed> {
        let mut lost = 0;
        for _ in 0..AT_ONCE {
            let length = match rustix::io::read(&self.device, &mut self.buffer) {
                Ok(length) => length,
                Err(Errno::AGAIN) => return Ok(Passed { lost, more: false }),
                // Records were overwritten (PIPE), or one is longer than any known (INVAL): the kernel has gone past
                // them, and the next number tells how many they were.
                Err(Errno::PIPE | Errno::INVAL | Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let Some(record) = Record::parse(&self.buffer[..length]) else { continue };
            let now_us = clock::now_us();
            let Some(missing) = pass(&mut self.last, &mut self.until_us, &record) else { continue };
            lost += missing;
            clock.learn(record.timestamp_us, now_us);
            if is_driver_line(record.text) {
                hear(line(&record, clock));
            }
        }
        Ok(Passed { lost, more: true })
    }
}

/// Goes past a record: how many before it are missing; None when it had been read before.
fn pass(
    last: &mut Option<(u64, u64)>,
    until_us: &mut Option<u64>,
    record: &Record<'_>,
) -> Option<u64> {
    let &Record { sequence, timestamp_us, .. } = record;
    let mut missing = match *last {
        Some((last, _)) => sequence.checked_sub(last)?.checked_sub(1)?,
        // What was overwritten before anybody read is not missed.
        None => 0,
    };
    let first = last.replace((sequence, timestamp_us)).is_none();
    if let Some(until) = *until_us {
        if timestamp_us <= until {
            return None;
        }
        *until_us = None;
        // Not one of those that had been read is there any more.
        missing += u64::from(first);
    }
    Some(missing)
}

fn line(record: &Record<'_>, clock: &Clock) -> Line {
    let mut text = record.printed();
    while text.last() == Some(&b'\n') {
        text.pop();
    }
    let time = clock.time(Some(record.timestamp_us));
    Line { time, task: None, text: text.into(), cut: record.cut, origin: record.origin }
}
