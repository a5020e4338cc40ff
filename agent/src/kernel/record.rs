//! Bytes of the ring buffer → [`Heard`]. Every field is read by length-checked calls in the order the program writes
//! them; a record that is too short or contradicts itself is an error, never a guess.

use std::time::{Duration, SystemTime};

use agent_ebpf::{COMM_LEN, HEADER_LEN, Header, PCI_LEN, kind};
use bytes::{Buf as _, Bytes, TryGetError};

use super::{DriverXid, Heard, Line};
use crate::event::{Origin, Task};

/// Why a record cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a record of {0} bytes is shorter than its header of {HEADER_LEN}")]
    Header(usize),
    #[error("a record of an Xid has {0} bytes for the device's name of {PCI_LEN}")]
    Pci(usize),
    #[error("a record claims {claimed} bytes of text and has {has}")]
    Text { claimed: usize, has: usize },
    #[error("a record is of kind {0}, which there is not")]
    Kind(u32),
}

/// Decodes one record. `boot` is the wall clock's time at the start of `CLOCK_MONOTONIC`.
pub fn decode(mut record: Bytes, boot: SystemTime) -> Result<Heard, Malformed> {
    let whole = record.len();
    let header = header(&mut record).map_err(|_| Malformed::Header(whole))?;
    let time = boot.checked_add(Duration::from_nanos(header.monotonic_ns)).unwrap_or(boot);
    let Header { cgroup_id, pid, tid, code, .. } = header;
    let comm = String::from_utf8_lossy(before_nul(&header.comm)).into_owned();
    let task = Task { pid, tid, cgroup_id, comm };
    let origin = match header.kind {
        kind::LINE => Origin::Unstated,
        kind::LINE_OF_KERNEL => Origin::Kernel,
        kind::LINE_OF_USER => Origin::User,
        kind::XID => {
            if record.len() < PCI_LEN {
                return Err(Malformed::Pci(record.len()));
            }
            let mut pci = record.split_to(PCI_LEN);
            pci.truncate(before_nul(&pci).len());
            let message = text(record, &header)?;
            return Ok(Heard::Xid(DriverXid { time, task, pci, code, message }));
        }
        unknown => return Err(Malformed::Kind(unknown)),
    };
    let cut = header.printed_len > header.text_len;
    let text = text(record, &header)?;
    Ok(Heard::Line(Line { time, task: Some(task), text, cut, origin }))
}

fn header(record: &mut Bytes) -> Result<Header, TryGetError> {
    Ok(Header {
        monotonic_ns: record.try_get_u64_ne()?,
        cgroup_id: record.try_get_u64_ne()?,
        pid: record.try_get_u32_ne()?,
        tid: record.try_get_u32_ne()?,
        kind: record.try_get_u32_ne()?,
        code: record.try_get_u32_ne()?,
        text_len: record.try_get_u32_ne()?,
        printed_len: record.try_get_u32_ne()?,
        comm: {
            let mut comm = [0; COMM_LEN];
            record.try_copy_to_slice(&mut comm)?;
            comm
        },
    })
}

/// The text of a record of which the rest is read, without the newlines at its end.
fn text(mut rest: Bytes, header: &Header) -> Result<Bytes, Malformed> {
    let claimed = usize::try_from(header.text_len).unwrap_or(usize::MAX);
    if claimed > rest.len() {
        return Err(Malformed::Text { claimed, has: rest.len() });
    }
    rest.truncate(claimed);
    while rest.last() == Some(&b'\n') {
        rest.truncate(rest.len() - 1);
    }
    Ok(rest)
}

fn before_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u32, code: u32, behind: &[u8], text_len: u32, printed_len: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(5_000_000_000u64.to_ne_bytes());
        bytes.extend(77u64.to_ne_bytes());
        for number in [4711u32, 4712, kind, code, text_len, printed_len] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(b"python3\0leftover");
        assert_eq!(bytes.len(), HEADER_LEN);
        bytes.extend(behind);
        bytes
    }

    fn boot() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000)
    }

    fn time() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_005)
    }

    fn task() -> Task {
        Task { pid: 4711, tid: 4712, cgroup_id: 77, comm: "python3".into() }
    }

    #[test]
    fn a_record_becomes_a_line_and_leftovers_of_the_slot_do_not() {
        for (kind, origin) in [
            (kind::LINE, Origin::Unstated),
            (kind::LINE_OF_KERNEL, Origin::Kernel),
            (kind::LINE_OF_USER, Origin::User),
        ] {
            let heard = decode(record(kind, 0, b"NVRM: Xid\nleftover", 10, 10).into(), boot());
            let text = Bytes::from_static(b"NVRM: Xid");
            let line = Line { time: time(), task: Some(task()), text, cut: false, origin };
            assert_eq!(heard, Ok(Heard::Line(line)));
        }
    }

    #[test]
    fn a_cut_line_says_so() {
        let heard = decode(record(kind::LINE, 0, b"NVRM", 4, 2_000).into(), boot());
        assert!(matches!(heard, Ok(Heard::Line(Line { cut: true, .. }))));
    }

    #[test]
    fn an_xid_of_the_tracepoint_has_its_device_number_and_words() {
        let behind = b"0000:3b:00.0\0leftover...pid=7, name=x, MMU Faultleftover";
        let pci = Bytes::from_static(b"0000:3b:00.0");
        let message = Bytes::from_static(b"pid=7, name=x, MMU Fault");
        let xid = DriverXid { time: time(), task: task(), pci, code: 31, message };
        let heard = decode(record(kind::XID, 31, behind, 24, 24).into(), boot());
        assert_eq!(heard, Ok(Heard::Xid(xid)));
        // A device's name that fills its place.
        let behind = &[b'1'; PCI_LEN];
        let Ok(Heard::Xid(xid)) = decode(record(kind::XID, 79, behind, 0, 0).into(), boot()) else {
            panic!("well formed");
        };
        assert_eq!((&xid.pci[..], &xid.message[..]), (&behind[..], &b""[..]));
    }

    #[test]
    fn every_shorter_record_is_refused() {
        let behind = [b'x'; PCI_LEN + 3];
        for (kind, length) in [(kind::LINE, 3), (kind::LINE_OF_USER, 3), (kind::XID, PCI_LEN + 3)] {
            let whole = record(kind, 0, &behind[..length], 3, 3);
            assert!(decode(Bytes::copy_from_slice(&whole), boot()).is_ok());
            for length in 0..whole.len() {
                let cut = Bytes::copy_from_slice(&whole[..length]);
                assert!(decode(cut, boot()).is_err(), "{kind} {length}");
            }
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        assert_eq!(
            decode(record(kind::LINE, 0, b"abc", u32::MAX, 3).into(), boot()),
            Err(Malformed::Text { claimed: 0xffff_ffff, has: 3 })
        );
        for unknown in [4, u32::MAX] {
            assert_eq!(
                decode(record(unknown, 0, &[0; 64], 3, 3).into(), boot()),
                Err(Malformed::Kind(unknown))
            );
        }
    }
}
