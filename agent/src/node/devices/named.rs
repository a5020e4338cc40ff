//! What `/proc` said of a process a moment ago: each line of a storm names the same ones, and few lines become an event.

use std::time::{Duration, Instant};

use crate::{event::Party, pods::Bounded};

/// How long it holds: numbers are given again, and processes become other programs.
const HOLDS: Duration = Duration::from_secs(1);
/// Processes that are remembered.
const MOST: usize = 64;

/// Processes by number, with when they were looked up. One that was not there is remembered as well.
#[derive(Debug)]
pub struct Named(Bounded<u32, (Instant, Option<Party>)>);

impl Default for Named {
    fn default() -> Self {
        Self(Bounded::new(MOST))
    }
}

impl Named {
    /// The process of a number: as it was looked up lately, else by `look`.
    pub fn party(
        &mut self,
        pid: u32,
        now: Instant,
        look: impl FnOnce() -> Option<Party>,
    ) -> Option<Party> {
        if let Some((at, party)) = self.0.get(&pid)
            && now.saturating_duration_since(*at) < HOLDS
        {
            return party.clone();
        }
        let party = look();
        self.0.insert(pid, (now, party.clone()));
        party
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_looked_up_again_when_that_was_long_ago() {
        let (mut named, mut looks) = (Named::default(), Vec::new());
        let start = Instant::now();
        for (pid, after_ms) in [(7, 0), (7, 999), (8, 999), (7, 1000), (8, 1100), (7, 1999)] {
            let now = start + Duration::from_millis(after_ms);
            let party = named.party(pid, now, || {
                looks.push((pid, after_ms));
                // The other one is not there.
                (pid == 7).then(|| Party { pid, name: format!("p{after_ms}"), pod: None })
            });
            assert_eq!(party.is_some(), pid == 7);
        }
        assert_eq!(looks, [(7, 0), (8, 999), (7, 1000)]);
    }
}
