//! Events: what the scenario has planned, and the sets through which clients wait for it.
//!
//! An event is due a time after its GPU was registered with a set, and every set gets it once. So a test that
//! registers and waits sees the same in every run, whatever happened before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nvml_wrapper_sys::bindings as sys;
use serde::Deserialize;

use super::code::Code;

named! {
    EventKind: u32 {
        "single_bit_ecc" = sys::nvmlEventTypeSingleBitEccError,
        "double_bit_ecc" = sys::nvmlEventTypeDoubleBitEccError,
        "pstate" = sys::nvmlEventTypePState,
        "xid" = sys::nvmlEventTypeXidCriticalError,
        "clock" = sys::nvmlEventTypeClock,
        "power_source" = sys::nvmlEventTypePowerSourceChange,
        "mig_config" = sys::nvmlEventMigConfigChange,
        "single_bit_ecc_storm" = sys::nvmlEventTypeSingleBitEccErrorStorm,
        "dram_retirement" = sys::nvmlEventTypeDramRetirementEvent,
        "dram_retirement_failure" = sys::nvmlEventTypeDramRetirementFailure,
        "non_fatal_poison" = sys::nvmlEventTypeNonFatalPoisonError,
        "fatal_poison" = sys::nvmlEventTypeFatalPoisonError,
        "gpu_unavailable" = sys::nvmlEventTypeGpuUnavailableError,
        "recovery_action" = sys::nvmlEventTypeGpuRecoveryAction,
    }
}

/// All types a data-centre board can be asked for.
pub const SUPPORTED: u64 = sys::nvmlEventTypeAll as u64;

/// The schema of `[[event]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventForm {
    gpu: u32,
    /// Short for `kind = "xid", data = N`.
    xid: Option<u64>,
    kind: Option<EventKind>,
    data: Option<u64>,
    after_ms: u64,
}

impl EventForm {
    pub fn plan(self, gpus: usize) -> Result<PlannedEvent, String> {
        let Self { gpu, xid, kind, data, after_ms } = self;
        if usize::try_from(gpu).is_ok_and(|gpu| gpu >= gpus) {
            return Err(format!("gpu = {gpu}, but there are {gpus} GPUs"));
        }
        let (kind, data) = match (xid, kind, data) {
            (Some(xid), None, None) => (sys::nvmlEventTypeXidCriticalError, xid),
            (None, Some(kind), data) => (kind.number(), data.unwrap_or(0)),
            _ => return Err("either xid, or kind and perhaps data".to_owned()),
        };
        Ok(PlannedEvent {
            event: Event { gpu, kind: kind.into(), data },
            after: Duration::from_millis(after_ms),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub gpu: u32,
    /// One `nvmlEventType…` bit.
    pub kind: u64,
    /// The Xid, where it is one.
    pub data: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedEvent {
    pub event: Event,
    /// From the registration of its GPU with a set.
    pub after: Duration,
}

/// The sets that are open, by the number their handle carries.
#[derive(Debug, Default)]
pub struct EventSets(Mutex<Opened>);

#[derive(Debug, Default)]
struct Opened {
    last: u32,
    sets: BTreeMap<u32, Arc<EventSet>>,
}

impl EventSets {
    pub fn create(&self) -> u32 {
        let mut opened = lock(&self.0);
        opened.last += 1;
        let number = opened.last;
        opened.sets.insert(number, Arc::default());
        number
    }

    pub fn get(&self, number: u32) -> Result<Arc<EventSet>, Code> {
        lock(&self.0).sets.get(&number).cloned().ok_or(Code::INVALID_ARGUMENT)
    }

    pub fn free(&self, number: u32) -> Result<(), Code> {
        let set = lock(&self.0).sets.remove(&number).ok_or(Code::INVALID_ARGUMENT)?;
        set.close();
        Ok(())
    }

    /// Ends every wait.
    pub fn free_all(&self) {
        let sets = std::mem::take(&mut lock(&self.0).sets);
        for set in sets.values() {
            set.close();
        }
    }
}

#[derive(Debug, Default)]
pub struct EventSet {
    state: Mutex<SetState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct SetState {
    closed: bool,
    registered: BTreeMap<u32, Registration>,
    /// Positions in the plan.
    delivered: BTreeSet<usize>,
}

#[derive(Debug)]
struct Registration {
    types: u64,
    since: Instant,
}

impl EventSet {
    /// Types add up; the clock of the plan runs from the first registration.
    pub fn register(&self, gpu: u32, types: u64) -> Result<(), Code> {
        if types & !SUPPORTED != 0 {
            return Err(Code::NOT_SUPPORTED);
        }
        let now = Instant::now();
        let mut state = lock(&self.state);
        state.registered.entry(gpu).or_insert(Registration { types: 0, since: now }).types |= types;
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Blocks until an event is due that nobody had from this set, or the time is over. No lock is held meanwhile.
    pub fn wait(&self, plan: &[PlannedEvent], timeout: Duration) -> Result<Event, Code> {
        let deadline = Instant::now() + timeout;
        let mut state = lock(&self.state);
        loop {
            if state.closed {
                return Err(Code::UNINITIALIZED);
            }
            let now = Instant::now();
            let next = state.next(plan);
            if let Some((due, position)) = next
                && due <= now
            {
                state.delivered.insert(position);
                return Ok(plan[position].event);
            }
            if now >= deadline {
                return Err(Code::TIMEOUT);
            }
            let until = next.map_or(deadline, |(due, _)| due.min(deadline));
            let waited = self.changed.wait_timeout(state, until - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }
}

impl SetState {
    /// The first event of the plan that is registered for and not delivered, and when it is due.
    fn next(&self, plan: &[PlannedEvent]) -> Option<(Instant, usize)> {
        let open =
            plan.iter().enumerate().filter(|(position, _)| !self.delivered.contains(position));
        open.filter_map(|(position, planned)| {
            let registration = self.registered.get(&planned.event.gpu)?;
            (registration.types & planned.event.kind != 0)
                .then(|| (registration.since + planned.after, position))
        })
        .min()
    }
}

/// A panic elsewhere leaves nothing half done behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const XID: u64 = sys::nvmlEventTypeXidCriticalError as u64;
    const LONG: Duration = Duration::from_secs(10);

    fn xid(gpu: u32, data: u64, after_ms: u64) -> PlannedEvent {
        PlannedEvent {
            event: Event { gpu, kind: XID, data },
            after: Duration::from_millis(after_ms),
        }
    }

    #[test]
    fn each_set_gets_an_event_once_and_in_order_of_time() {
        let plan = [xid(0, 79, 20), xid(1, 48, 0), xid(2, 31, 0)];
        let (first, second) = (EventSet::default(), EventSet::default());
        for set in [&first, &second] {
            set.register(0, XID).unwrap();
            set.register(1, XID).unwrap();
            assert_eq!(set.wait(&plan, LONG), Ok(plan[1].event));
            assert_eq!(set.wait(&plan, LONG), Ok(plan[0].event));
            assert_eq!(
                set.wait(&plan, Duration::from_millis(1)),
                Err(Code::TIMEOUT),
                "GPU 2 is not registered"
            );
        }
    }

    #[test]
    fn types_not_asked_for_are_not_delivered() {
        let set = EventSet::default();
        set.register(0, sys::nvmlEventTypeClock.into()).unwrap();
        assert_eq!(set.wait(&[xid(0, 79, 0)], Duration::ZERO), Err(Code::TIMEOUT));
        set.register(0, XID).unwrap();
        assert_eq!(set.wait(&[xid(0, 79, 0)], Duration::ZERO).map(|event| event.data), Ok(79));
        assert_eq!(set.register(0, 1 << 40), Err(Code::NOT_SUPPORTED));
    }

    #[test]
    fn a_wait_lasts_its_time_and_freeing_the_set_ends_it() {
        let sets = EventSets::default();
        let number = sets.create();
        let set = sets.get(number).unwrap();
        let start = Instant::now();
        assert_eq!(set.wait(&[], Duration::from_millis(40)), Err(Code::TIMEOUT));
        assert!(start.elapsed() >= Duration::from_millis(40));
        let waiting = thread::spawn(move || set.wait(&[], LONG));
        sets.free(number).unwrap();
        assert_eq!(waiting.join().unwrap(), Err(Code::UNINITIALIZED));
        assert_eq!(sets.free(number), Err(Code::INVALID_ARGUMENT));
        assert_ne!(sets.create(), number, "a stale handle must not come to life again");
    }
}
