//! Target `record`: any bytes as a record of the BPF program.
//!
//! A record that decodes has no byte of text that did not stand in it, whatever lengths it claims.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::{
    kernel::{self, Heard},
    lies_in,
};

/// # Panics
/// Where what the module promises does not hold.
pub fn check(input: &[u8]) {
    let record = Bytes::copy_from_slice(input);
    // The second is the latest boot there is: the time of the record does not fit behind it.
    for boot in [Duration::ZERO, Duration::from_secs(i64::MAX.unsigned_abs())] {
        let Some(boot) = SystemTime::UNIX_EPOCH.checked_add(boot) else { continue };
        match kernel::record::decode(record.clone(), boot) {
            Ok(Heard::Line(line)) => {
                assert!(line.time >= boot);
                assert!(lies_in(&line.text, &record), "{line:?}");
                assert_ne!(line.text.last(), Some(&b'\n'));
            }
            Ok(Heard::Xid(xid)) => {
                assert!(xid.time >= boot);
                assert!(lies_in(&xid.message, &record) && lies_in(&xid.pci, &record), "{xid:?}");
            }
            Err(_) => {}
        }
    }
}
