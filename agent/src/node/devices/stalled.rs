//! Calls that do not come back, each told once.

use std::time::{Duration, SystemTime};

use super::Follow;
use crate::{
    event::{Access, Party, access},
    kernel::devices::Inside,
};

/// A call that has not come back for so long is told. What the driver waits for itself it gives up after 4 to 45 s, by version.
const STALLED: Duration = Duration::from_secs(10);

impl Follow {
    /// What is to be told of the calls that are under way.
    pub fn stalled(&mut self, inside: Vec<Inside>, now: SystemTime) -> Vec<Access> {
        let long = |it: Inside| {
            let inside = now.duration_since(it.since).ok().filter(|for_| *for_ >= STALLED)?;
            Some((it, inside))
        };
        let stalled: Vec<_> = inside.into_iter().filter_map(long).collect();
        let calls = stalled.iter().map(|(it, _)| (it.tid, it.entered)).collect();
        let told = std::mem::replace(&mut self.stalled, calls);
        let news = stalled.into_iter().filter(|(it, _)| !told.contains(&(it.tid, it.entered)));
        news.map(|(it, inside)| self.stall(it, inside, now)).collect()
    }

    fn stall(&self, call: Inside, inside: Duration, now: SystemTime) -> Access {
        let Inside { process, tid, name, device, call, .. } = call;
        let known = self.table.find(process.pid, now).map(|it| self.table.party(it));
        let party = known.unwrap_or(Party { pid: process.pid, name, pod: None });
        let (pci, did) = (self.gpu(device), access::Did::Stalled { call, inside });
        Access { party, tid, device, pci, did, folded: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        calls::{Call, Device},
        kernel::devices::ProcessId,
    };

    /// A thread in a call that it entered so many seconds after boot, which by the wall clock was as many nanoseconds later.
    fn inside(tid: u32, entered: u64, late: u64) -> Inside {
        let process = ProcessId { pid: 10, started: Duration::from_secs(1) };
        let (name, entered) = ("python3".to_owned(), Duration::from_secs(entered));
        let since = SystemTime::UNIX_EPOCH + entered + Duration::from_nanos(late);
        Inside { process, tid, name, device: Device::Gpu(0), call: Call::Close, entered, since }
    }

    #[test]
    fn a_call_that_does_not_come_back_is_told_once() {
        let mut follow = Follow::default();
        let mut told = |seconds, inside: Vec<Inside>| -> Vec<(u32, access::Did)> {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            follow.stalled(inside, now).into_iter().map(|it| (it.tid, it.did)).collect()
        };
        let did = |seconds| {
            let inside = Duration::from_secs(seconds);
            access::Did::Stalled { call: Call::Close, inside }
        };
        assert_eq!(told(109, vec![inside(11, 100, 0)]), []);
        assert_eq!(told(110, vec![inside(11, 100, 0)]), [(11, did(10))]);
        // No two looks at the clocks give quite the same time.
        assert_eq!(told(115, vec![inside(11, 100, 83)]), []);
        assert_eq!(told(120, vec![inside(11, 100, 5), inside(12, 100, 0)]), [(12, did(20))]);
        // It came back, and the thread is in the next.
        assert_eq!(told(125, vec![inside(11, 124, 0), inside(12, 100, 7)]), []);
        assert_eq!(told(134, vec![inside(11, 124, 0), inside(12, 100, 2)]), [(11, did(10))]);
    }
}
