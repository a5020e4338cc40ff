//! Bytes of the ring buffer → [`Line`]. Every field is read by length-checked calls in the order the program writes
//! them; a record that is too short or contradicts itself is an error, never a guess.

use std::time::{Duration, SystemTime};

use agent_ebpf::{COMM_LEN, HEADER_LEN};
use bytes::{Buf as _, Bytes, TryGetError};

use super::Line;
use crate::event::{Origin, Task};

/// Why a record cannot be a console record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a record of {0} bytes is shorter than its header of {HEADER_LEN}")]
    Header(usize),
    #[error("a record claims {claimed} bytes of text and has {has}")]
    Text { claimed: usize, has: usize },
}

/// Decodes one record. `boot` is the wall clock's time at the start of `CLOCK_MONOTONIC`.
pub fn decode(mut record: Bytes, boot: SystemTime) -> Result<Line, Malformed> {
    let whole = record.len();
    let (monotonic_ns, text_len, printed_len, task) =
        header(&mut record).map_err(|_| Malformed::Header(whole))?;
    let claimed = usize::try_from(text_len).unwrap_or(usize::MAX);
    if claimed > record.len() {
        return Err(Malformed::Text { claimed, has: record.len() });
    }
    record.truncate(claimed);
    while record.last() == Some(&b'\n') {
        record.truncate(record.len() - 1);
    }
    let time = boot.checked_add(Duration::from_nanos(monotonic_ns)).unwrap_or(boot);
    Ok(Line {
        time,
        task: Some(task),
        text: record,
        cut: printed_len > text_len,
        origin: Origin::Unstated,
    })
}

fn header(record: &mut Bytes) -> Result<(u64, u32, u32, Task), TryGetError> {
    let monotonic_ns = record.try_get_u64_ne()?;
    let cgroup_id = record.try_get_u64_ne()?;
    let pid = record.try_get_u32_ne()?;
    let tid = record.try_get_u32_ne()?;
    let text_len = record.try_get_u32_ne()?;
    let printed_len = record.try_get_u32_ne()?;
    let mut comm = [0; COMM_LEN];
    record.try_copy_to_slice(&mut comm)?;
    let name = comm.split(|byte| *byte == 0).next().unwrap_or_default();
    let task = Task { pid, tid, cgroup_id, comm: String::from_utf8_lossy(name).into_owned() };
    Ok((monotonic_ns, text_len, printed_len, task))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &[u8], text_len: u32, printed_len: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(5_000_000_000u64.to_ne_bytes());
        bytes.extend(77u64.to_ne_bytes());
        for number in [4711u32, 4712, text_len, printed_len] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(b"python3\0leftover");
        assert_eq!(bytes.len(), HEADER_LEN);
        bytes.extend(text);
        bytes
    }

    fn boot() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000)
    }

    #[test]
    fn a_record_becomes_a_line_and_leftovers_of_the_slot_do_not() {
        let line = decode(record(b"NVRM: Xid\nleftover of the slot", 10, 10).into(), boot())
            .expect("well formed");
        let task = Task { pid: 4711, tid: 4712, cgroup_id: 77, comm: "python3".into() };
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_005);
        assert_eq!(
            line,
            Line {
                time,
                task: Some(task),
                text: Bytes::from_static(b"NVRM: Xid"),
                cut: false,
                origin: Origin::Unstated
            }
        );
    }

    #[test]
    fn a_cut_line_says_so() {
        assert!(decode(record(b"NVRM", 4, 2_000).into(), boot()).expect("well formed").cut);
    }

    #[test]
    fn every_shorter_record_is_refused() {
        let whole = record(b"abc", 3, 3);
        for length in 0..whole.len() {
            assert!(decode(Bytes::copy_from_slice(&whole[..length]), boot()).is_err(), "{length}");
        }
        assert_eq!(
            decode(record(b"abc", u32::MAX, 3).into(), boot()),
            Err(Malformed::Text { claimed: 0xffff_ffff, has: 3 })
        );
    }
}
