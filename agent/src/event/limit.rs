//! Storms: of what one pod does over and over, a part is told and the rest is counted.
//!
//! A pod (a process that is in none) may tell [`BURST`] events of a kind at once and one each [`PERIOD`] after that. What
//! went before untold stands in [`Access::folded`] of the next that is told. A call that does not come back is always told.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{Access, Kind, Party};

/// At once.
const BURST: u32 = 32;
/// Then one in this time.
const PERIOD: Duration = Duration::from_secs(2);
/// Most pods and kinds that are counted at a time.
const MOST_KEYS: usize = 1024;

/// Who does what: what is limited together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    who: Who,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    /// By UID, or where that is not known by its container's id.
    Pod(String),
    Process(u32),
}

impl Key {
    #[must_use]
    pub fn of(access: &Access) -> Self {
        let Party { pid, name: _, pod } = &access.party;
        let pod = pod.as_ref().and_then(|pod| pod.uid.clone().or_else(|| pod.container_id.clone()));
        Self { who: pod.map_or(Who::Process(*pid), Who::Pod), kind: access.kind() }
    }
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// It is told; `folded` like it were not since the last that was.
    Tell { folded: u64 },
    /// It is counted.
    Fold,
}

/// A token bucket for each key.
#[derive(Debug, Default)]
pub struct Limit {
    buckets: HashMap<Key, Bucket>,
    /// Folded, and named by no later event, because their key had to make room.
    untold: u64,
}

#[derive(Debug)]
struct Bucket {
    /// When it will hold [`BURST`] tokens again.
    full: Instant,
    used: Instant,
    folded: u64,
}

impl Limit {
    pub fn admit(&mut self, key: Key, now: Instant) -> Admit {
        if key.kind == Kind::CallStalled {
            return Admit::Tell { folded: 0 };
        }
        if self.buckets.len() >= MOST_KEYS && !self.buckets.contains_key(&key) {
            self.make_room();
        }
        let bucket = self.buckets.entry(key).or_insert(Bucket { full: now, used: now, folded: 0 });
        bucket.used = now;
        let full = bucket.full.max(now) + PERIOD;
        if full - now > BURST * PERIOD {
            bucket.folded += 1;
            return Admit::Fold;
        }
        bucket.full = full;
        Admit::Tell { folded: std::mem::take(&mut bucket.folded) }
    }

    /// How many were folded of whom nothing was told since.
    #[must_use]
    pub fn untold(&self) -> u64 {
        self.untold + self.buckets.values().map(|bucket| bucket.folded).sum::<u64>()
    }

    /// Forgets the key that was not used for the longest time.
    fn make_room(&mut self) {
        let oldest = self.buckets.iter().min_by_key(|(_, bucket)| bucket.used);
        if let Some(oldest) = oldest.map(|(key, _)| key.clone())
            && let Some(bucket) = self.buckets.remove(&oldest)
        {
            self.untold += bucket.folded;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        calls::Call,
        event::{
            Pod,
            access::{Did, Failure, Way},
        },
    };

    fn access(pid: u32, uid: Option<&str>, did: Did) -> Access {
        let pod = uid.map(|uid| Arc::new(Pod { uid: Some(uid.to_owned()), ..Pod::default() }));
        let party = Party { pid, name: "a".to_owned(), pod };
        Access { party, ..Access::example(did) }
    }

    fn opened(pid: u32, uid: Option<&str>) -> Key {
        Key::of(&access(pid, uid, Did::Opened(Way::Opened)))
    }

    const TOLD: Admit = Admit::Tell { folded: 0 };

    #[test]
    fn a_burst_is_told_then_one_in_a_while_with_the_number_of_those_between() {
        let (mut limit, begin) = (Limit::default(), Instant::now());
        let mut at = |ms| limit.admit(opened(1, None), begin + Duration::from_millis(ms));
        assert!((0..32).all(|_| at(0) == TOLD));
        assert!((0..10).all(|_| at(1) == Admit::Fold));
        assert_eq!(
            (at(1999), at(2000), at(2001)),
            (Admit::Fold, Admit::Tell { folded: 11 }, Admit::Fold)
        );
        // After a pause as long as it takes, another burst.
        assert_eq!(at(100_000), Admit::Tell { folded: 1 });
        assert!((0..31).all(|_| at(100_000) == TOLD));
        assert_eq!(at(100_000), Admit::Fold);
        assert_eq!(limit.untold(), 1);
    }

    #[test]
    fn each_pod_and_kind_has_its_own_and_a_call_that_does_not_come_back_is_told() {
        let (mut limit, now) = (Limit::default(), Instant::now());
        // Many processes of one pod are limited together.
        let told = (0..100).filter(|pid| limit.admit(opened(*pid, Some("a")), now) == TOLD).count();
        assert_eq!(told, 32);
        assert_eq!(limit.admit(opened(1, Some("b")), now), TOLD);
        assert_eq!(limit.admit(opened(1, None), now), TOLD);
        let failed =
            Did::Failed { call: Call::Open, failure: Failure::Errno(5), took: Duration::ZERO };
        assert_eq!(limit.admit(Key::of(&access(1, Some("a"), failed)), now), TOLD);
        let stalled = Did::Stalled { call: Call::Open, inside: Duration::from_secs(30) };
        for _ in 0..100 {
            assert_eq!(limit.admit(Key::of(&access(1, Some("a"), stalled)), now), TOLD);
        }
    }

    #[test]
    fn who_was_not_heard_of_for_the_longest_time_makes_room_and_its_count_stays() {
        let (mut limit, begin) = (Limit::default(), Instant::now());
        for _ in 0..40 {
            limit.admit(opened(0, None), begin);
        }
        for pid in 1..2000 {
            let now = begin + Duration::from_millis(pid.into());
            assert_eq!(limit.admit(opened(pid, None), now), TOLD);
        }
        assert_eq!((limit.buckets.len(), limit.untold()), (MOST_KEYS, 8));
        // It has a full bucket again: what was folded stands in no event.
        assert_eq!(limit.admit(opened(0, None), begin + PERIOD), TOLD);
    }
}
