//! Events: what the scenario has planned, and the sets through which clients wait for it.
//!
//! An event is due a time after its GPU was registered with a set, or after it came into the scenario if that is later,
//! and every set gets it once. So a test that registers and waits sees the same in every run, whatever happened before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nvml_wrapper_sys::bindings as sys;
use serde::Deserialize;

use super::code::Code;
use super::watch::LOOK_EVERY;

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
    /// The event with its place in the list.
    pub fn plan(self, number: usize, gpus: usize) -> Result<PlannedEvent, String> {
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
            added: None,
            number,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the scenario, which is not always its index in NVML.
    pub gpu: u32,
    /// One `nvmlEventType…` bit.
    pub kind: u64,
    /// The Xid, where it is one.
    pub data: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedEvent {
    pub event: Event,
    /// From the registration of its GPU with a set, or from `added` if that is later.
    pub after: Duration,
    /// When it came into a scenario that clients had open already; [`succeed`] says so.
    pub added: Option<Instant>,
    /// What tells it from an equal one, and what a set remembers of it; [`succeed`] keeps it.
    pub number: usize,
}

/// Makes `plan`, which was just read, the successor of `old`: an event that stood there already stays the same event,
/// which the sets that had it do not get again; any other is new.
pub fn succeed(plan: &mut [PlannedEvent], old: &[PlannedEvent]) {
    let now = Instant::now();
    let mut known: Vec<&PlannedEvent> = old.iter().collect();
    let mut unused = old.iter().map(|planned| planned.number + 1).max().unwrap_or(0);
    for planned in plan {
        let same =
            |known: &&PlannedEvent| (known.event, known.after) == (planned.event, planned.after);
        if let Some(position) = known.iter().position(same) {
            let known = known.remove(position);
            (planned.added, planned.number) = (known.added, known.number);
        } else {
            (planned.added, planned.number) = (Some(now), unused);
            unused += 1;
        }
    }
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
    /// By their numbers.
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

    /// Blocks until an event is due that nobody had from this set, or the time is over. No lock is held meanwhile but
    /// while `plan` says what is planned now, which it is asked time and again.
    pub fn wait(
        &self,
        plan: impl Fn() -> Vec<PlannedEvent>,
        timeout: Duration,
    ) -> Result<Event, Code> {
        let deadline = Instant::now() + timeout;
        let mut state = lock(&self.state);
        loop {
            if state.closed {
                return Err(Code::UNINITIALIZED);
            }
            let now = Instant::now();
            let plan = plan();
            let next = state.next(&plan);
            if let Some((due, planned)) = next
                && due <= now
            {
                state.delivered.insert(planned.number);
                return Ok(planned.event);
            }
            if now >= deadline {
                return Err(Code::TIMEOUT);
            }
            let until = next.map_or(deadline, |(due, _)| due.min(deadline)).min(now + LOOK_EVERY);
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
    fn next<'a>(&self, plan: &'a [PlannedEvent]) -> Option<(Instant, &'a PlannedEvent)> {
        let open = plan.iter().filter(|planned| !self.delivered.contains(&planned.number));
        open.filter_map(|planned| {
            let registration = self.registered.get(&planned.event.gpu)?;
            let since =
                planned.added.map_or(registration.since, |added| added.max(registration.since));
            (registration.types & planned.event.kind != 0).then(|| (since + planned.after, planned))
        })
        .min_by_key(|(due, planned)| (*due, planned.number))
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

    fn xid(number: usize, gpu: u32, data: u64, after_ms: u64) -> PlannedEvent {
        PlannedEvent {
            event: Event { gpu, kind: XID, data },
            after: Duration::from_millis(after_ms),
            added: None,
            number,
        }
    }

    #[test]
    fn each_set_gets_an_event_once_and_in_order_of_time() {
        let plan = [xid(0, 0, 79, 20), xid(1, 1, 48, 0), xid(2, 2, 31, 0)];
        let (first, second) = (EventSet::default(), EventSet::default());
        for set in [&first, &second] {
            set.register(0, XID).unwrap();
            set.register(1, XID).unwrap();
            assert_eq!(set.wait(|| plan.to_vec(), LONG), Ok(plan[1].event));
            assert_eq!(set.wait(|| plan.to_vec(), LONG), Ok(plan[0].event));
            assert_eq!(
                set.wait(|| plan.to_vec(), Duration::from_millis(1)),
                Err(Code::TIMEOUT),
                "GPU 2 is not registered"
            );
        }
    }

    #[test]
    fn an_event_that_stays_in_the_plan_does_not_come_again() {
        let set = EventSet::default();
        set.register(0, XID).unwrap();
        let old = [xid(0, 0, 31, 0), xid(1, 0, 79, 3_600_000)];
        assert_eq!(set.wait(|| old.to_vec(), LONG), Ok(old[0].event));
        // One more like the first, before it; the second is due sooner.
        let mut new = [xid(0, 0, 31, 0), xid(1, 0, 31, 0), xid(2, 0, 79, 0)];
        succeed(&mut new, &old);
        assert_eq!(new.map(|planned| planned.added.is_some()), [false, true, true]);
        assert_eq!(set.wait(|| new.to_vec(), LONG).map(|event| event.data), Ok(31));
        assert_eq!(set.wait(|| new.to_vec(), LONG).map(|event| event.data), Ok(79));
        assert_eq!(set.wait(|| new.to_vec(), Duration::ZERO), Err(Code::TIMEOUT));
    }

    #[test]
    fn types_not_asked_for_are_not_delivered() {
        let set = EventSet::default();
        set.register(0, sys::nvmlEventTypeClock.into()).unwrap();
        assert_eq!(set.wait(|| vec![xid(0, 0, 79, 0)], Duration::ZERO), Err(Code::TIMEOUT));
        set.register(0, XID).unwrap();
        assert_eq!(
            set.wait(|| vec![xid(0, 0, 79, 0)], Duration::ZERO).map(|event| event.data),
            Ok(79)
        );
        assert_eq!(set.register(0, 1 << 40), Err(Code::NOT_SUPPORTED));
    }

    #[test]
    fn a_wait_lasts_its_time_and_freeing_the_set_ends_it() {
        let sets = EventSets::default();
        let number = sets.create();
        let set = sets.get(number).unwrap();
        let start = Instant::now();
        assert_eq!(set.wait(Vec::new, Duration::from_millis(40)), Err(Code::TIMEOUT));
        assert!(start.elapsed() >= Duration::from_millis(40));
        let waiting = thread::spawn(move || set.wait(Vec::new, LONG));
        sets.free(number).unwrap();
        assert_eq!(waiting.join().unwrap(), Err(Code::UNINITIALIZED));
        assert_eq!(sets.free(number), Err(Code::INVALID_ARGUMENT));
        assert_ne!(sets.create(), number, "a stale handle must not come to life again");
    }
}
