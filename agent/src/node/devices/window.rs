//! What was counted between two readings.

use std::collections::HashMap;

use crate::{
    calls::{Call, Device},
    kernel::devices::{BUCKETS, CallStat, Counted, ProcessId},
};

/// Calls by process, device and call that came back after `before` was read and before `after` was.
#[must_use]
pub fn between(before: &[Counted], after: Vec<Counted>) -> Vec<Counted> {
    let key = |it: &Counted| -> (ProcessId, Device, Call) { (it.process, it.device, it.call) };
    let before: HashMap<_, CallStat> = before.iter().map(|it| (key(it), it.stat)).collect();
    let news = after.into_iter().map(|now| {
        let stat = before.get(&key(&now)).map_or(now.stat, |then| less(&now.stat, then));
        Counted { stat, ..now }
    });
    news.filter(|it| it.stat.count > 0).collect()
}

fn less(now: &CallStat, then: &CallStat) -> CallStat {
    // The map has forgotten it meanwhile and begun anew.
    if now.count < then.count {
        return *now;
    }
    CallStat {
        count: now.count - then.count,
        errors: now.errors.saturating_sub(then.errors),
        statuses: now.statuses.saturating_sub(then.statuses),
        took: now.took.saturating_sub(then.took),
        histogram: std::array::from_fn(|at| now.histogram[at].wrapping_sub(then.histogram[at])),
        ..*now
    }
}

/// Calls of several together; the failures are the last one's that has any.
#[must_use]
pub fn sum<'a>(stats: impl IntoIterator<Item = &'a CallStat>) -> CallStat {
    let mut sum = CallStat::default();
    for stat in stats {
        sum.count += stat.count;
        sum.errors += stat.errors;
        sum.statuses += stat.statuses;
        sum.took += stat.took;
        sum.last = sum.last.max(stat.last);
        sum.slowest = match (sum.slowest, stat.slowest) {
            (Some(one), Some(other)) if other.took <= one.took => Some(one),
            (one, other) => other.or(one),
        };
        sum.last_error = stat.last_error.filter(|_| stat.errors > 0).or(sum.last_error);
        sum.last_status = stat.last_status.filter(|_| stat.statuses > 0).or(sum.last_status);
        for (into, more) in sum.histogram.iter_mut().zip(stat.histogram) {
            *into = into.saturating_add(more);
        }
    }
    sum
}

/// Below how many nanoseconds a share of the calls stayed: the end of the bucket in which it lies. `None` for the last bucket,
/// which has no end, and for none at all.
#[must_use]
pub fn quantile(stat: &CallStat, percent: u64) -> Option<u64> {
    let all: u64 = stat.histogram.iter().copied().map(u64::from).sum();
    let wanted = (all * percent).div_ceil(100).max(1);
    let mut seen = 0;
    let bucket = stat.histogram.iter().position(|count| {
        seen += u64::from(*count);
        seen >= wanted
    })?;
    (bucket + 1 < BUCKETS).then(|| 1 << (bucket + 1))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::kernel::devices::Slowest;

    fn counted(pid: u32, count: u32, took_us: u64) -> Counted {
        let mut stat = CallStat { count: count.into(), ..CallStat::default() };
        stat.took = Duration::from_micros(took_us);
        stat.histogram[10] = count;
        let process = ProcessId { pid, started: Duration::from_secs(1) };
        Counted { process, device: Device::Uvm, call: Call::Close, stat }
    }

    #[test]
    fn what_came_between_two_readings_is_their_difference() {
        let before = vec![counted(1, 10, 100), counted(2, 5, 50), counted(3, 9, 9)];
        let after =
            vec![counted(1, 14, 180), counted(2, 5, 50), counted(4, 3, 3), counted(3, 2, 2)];
        let found = between(&before, after);
        // The third was forgotten and has begun anew.
        let expected = [counted(1, 4, 80), counted(4, 3, 3), counted(3, 2, 2)];
        assert_eq!(found, expected);
    }

    #[test]
    fn sums_keep_the_slowest_and_the_last_failure() {
        let slowest = |took| {
            let (took, at) = (Duration::from_secs(took), SystemTime::UNIX_EPOCH);
            Some(Slowest { took, at, tid: 7 })
        };
        let one =
            CallStat { errors: 1, last_error: Some(5), slowest: slowest(3), ..CallStat::default() };
        // An error of long ago is none of this window.
        let other = CallStat { last_error: Some(22), slowest: slowest(2), ..CallStat::default() };
        let sum = sum([&one, &other, &CallStat::default()]);
        assert_eq!((sum.slowest, sum.last_error, sum.errors), (slowest(3), Some(5), 1));
    }

    #[test]
    fn a_quantile_is_the_end_of_its_bucket() {
        let mut stat = CallStat::default();
        assert_eq!(quantile(&stat, 50), None);
        (stat.histogram[8], stat.histogram[20]) = (99, 1);
        assert_eq!((quantile(&stat, 50), quantile(&stat, 99)), (Some(512), Some(512)));
        assert_eq!(quantile(&stat, 100), Some(1 << 21));
        stat.histogram[BUCKETS - 1] = 1000;
        assert_eq!(quantile(&stat, 50), None);
    }
}
