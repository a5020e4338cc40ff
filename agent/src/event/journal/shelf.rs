//! Where the events of one [`Class`] are kept: as many as fit, in order, and what is known of those that did not.
//!
//! Numbers are given over all classes, so on a shelf they have gaps. What a shelf evicts costs nothing to remember: how many
//! there were and the last of them, which is enough to say how many a reader has missed.

use std::{collections::VecDeque, sync::Arc};

use super::super::{Attribution, Class, Event, Report, What};

/// Most bytes that the events of a class may take, with what keeping them costs; 3 MiB in all. What processes do fills a
/// shelf on any day, and calls that fail or hang can be many; neither is ever a reason to forget a fault.
const FAULTS: usize = 2560 << 10;
const TROUBLE: usize = 128 << 10;
const ROUTINE: usize = 384 << 10;

/// What a fault costs besides what it points to: its place on the shelf, and up to four in the queues of sources that have
/// not told of it.
pub const OVERHEAD_BYTES: usize = 352;
/// The same of what a process did, which waits in no queue.
const DEVICE_OVERHEAD_BYTES: usize = 256;

const _: () = assert!(size_of::<Event>() <= 200);

/// One shelf.
#[derive(Debug)]
pub struct Shelf {
    /// By number.
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    budget: usize,
    evicted: Evicted,
}

/// What is not on a shelf any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evicted {
    pub count: u64,
    /// The number of the last of them; 0 where there are none.
    pub last: u64,
}

/// The most bytes of a class.
pub fn budget(class: Class) -> usize {
    match class {
        Class::Fault => FAULTS,
        Class::Trouble => TROUBLE,
        Class::Routine => ROUTINE,
    }
}

impl Shelf {
    pub fn new(budget: usize, evicted: Evicted) -> Self {
        Self { events: VecDeque::new(), bytes: 0, budget, evicted }
    }

    pub fn evicted(&self) -> Evicted {
        self.evicted
    }

    /// All that were ever put there, as if they were gone.
    pub fn given(&self) -> Evicted {
        let last = self.events.back().map_or(self.evicted.last, |event| event.seq);
        Evicted { count: self.evicted.count + self.events.len() as u64, last }
    }

    pub fn oldest(&self) -> Option<&Arc<Event>> {
        self.events.front()
    }

    /// Puts the newest event there. Those that have to make room are gone.
    pub fn push(&mut self, event: Arc<Event>) {
        self.bytes += cost(&event);
        self.events.push_back(event);
        self.evict();
    }

    /// Changes an event, if it is still there, and returns what it is now.
    pub fn change(&mut self, seq: u64, how: impl FnOnce(&mut Event)) -> Option<Arc<Event>> {
        let at = self.events.binary_search_by_key(&seq, |event| event.seq).ok()?;
        let event = self.events.get_mut(at)?;
        self.bytes -= cost(event);
        how(Arc::make_mut(event));
        self.bytes += cost(event);
        Some(Arc::clone(event))
    }

    pub fn get(&self, seq: u64) -> Option<&Arc<Event>> {
        let at = self.events.binary_search_by_key(&seq, |event| event.seq).ok()?;
        self.events.get(at)
    }

    /// The events after a number.
    pub fn after(&self, seq: u64) -> impl Iterator<Item = &Arc<Event>> {
        self.events.range(self.count_to(seq)..)
    }

    /// How many there are up to a number.
    pub fn count_to(&self, seq: u64) -> usize {
        self.events.partition_point(|event| event.seq <= seq)
    }

    fn evict(&mut self) {
        while self.bytes > self.budget {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= cost(&oldest);
            self.evicted = Evicted { count: self.evicted.count + 1, last: oldest.seq };
        }
    }
}

fn cost(event: &Event) -> usize {
    let Report { what, attribution, .. } = &event.report;
    match what {
        What::Line { text, cut: _ } | What::Xid { message: text, .. } => {
            OVERHEAD_BYTES + text.len() + attribution.as_ref().map_or(0, Attribution::bytes)
        }
        What::Access(access) => DEVICE_OVERHEAD_BYTES + access.bytes(),
    }
}
