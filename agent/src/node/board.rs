//! How each source of events stands, for whoever asks and whoever waits.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    event::{Class, Filter, Kind, Kinds, Source},
    kernel::source::{Counter, Counts, State},
};

/// How long a tool waits for the sources to be set up.
const PATIENCE: Duration = Duration::from_secs(2);

/// How each source stands.
#[derive(Debug)]
pub struct Board {
    entries: Mutex<BTreeMap<Source, Entry>>,
    /// Counts changes; a waiter looks again at each.
    changed: watch::Sender<u64>,
}

#[derive(Clone)]
struct Entry {
    state: State,
    /// Set by the source when it is live, asked by whoever reads.
    counter: Option<Counter>,
}

impl Board {
    #[must_use]
    pub fn new() -> Self {
        Self { entries: Mutex::default(), changed: watch::Sender::new(0) }
    }

    pub fn set(&self, source: Source, state: State) {
        if self.state(source).as_ref() == Some(&state) {
            return;
        }
        let reason = if let State::Unavailable { reason, .. } = &state { reason } else { "" };
        tracing::info!(
            source = source.name(),
            state = state.name(),
            reason,
            "A source of events has changed."
        );
        let unknown = Entry { state: State::Starting, counter: None };
        self.lock().entry(source).or_insert(unknown).state = state;
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Sets a source live, with what reads its counts.
    pub fn live(&self, source: Source, how: String, counter: Counter) {
        self.lock().insert(source, Entry { state: State::Starting, counter: Some(counter) });
        self.set(source, State::Live(how));
    }

    #[must_use]
    pub fn read(&self) -> Vec<(Source, State, Counts)> {
        let entries = self.lock().clone();
        entries
            .into_iter()
            .map(|(source, entry)| (source, entry.state.clone(), entry.counts()))
            .collect()
    }

    /// What a source has counted; `None` where it is not live.
    #[must_use]
    pub fn live_counts(&self, source: Source) -> Option<Counts> {
        self.lock().get(&source).filter(|entry| entry.is_live()).map(Entry::counts)
    }

    #[must_use]
    pub fn state(&self, source: Source) -> Option<State> {
        self.lock().get(&source).map(|entry| entry.state.clone())
    }

    /// Whether the kernel's own lines are heard at this moment, and not NVML's numbers alone.
    #[must_use]
    pub fn lines_live(&self) -> bool {
        let lines = |source| !matches!(source, Source::Nvml | Source::Access);
        self.lock().iter().any(|(source, entry)| lines(*source) && entry.is_live())
    }

    /// Whether faults are heard at this moment.
    #[must_use]
    pub fn any_live(&self) -> bool {
        self.lock().iter().any(|(source, entry)| *source != Source::Access && entry.is_live())
    }

    /// Whether everything is heard at this moment that `filter` asks for. What processes do is part of that where it is
    /// asked for by name.
    #[must_use]
    pub fn hears(&self, filter: &Filter) -> bool {
        let by_name = match &filter.kinds {
            Kinds::These(kinds) => kinds.iter().any(|kind| !matches!(kind, Kind::Fault(_))),
            Kinds::All | Kinds::Faults | Kinds::Unasked => false,
        };
        let devices = || self.lock().get(&Source::Access).is_some_and(Entry::is_live);
        (self.any_live() || !filter.may_admit(Class::Fault)) && (!by_name || devices())
    }

    /// Driver lines that were lost between the kernel and the journal, and were not found in the kernel's log either.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let (mut lost, mut recovered) = (0, 0);
        for (source, _, counts) in self.read() {
            recovered += counts.recovered;
            if !matches!(source, Source::KernelLog | Source::Access) {
                lost += counts.dropped + counts.malformed;
            }
        }
        lost.saturating_sub(recovered)
    }

    /// What processes did with devices that was lost between the kernel and the journal.
    #[must_use]
    pub fn dropped_device_events(&self) -> u64 {
        let counts = self.lock().get(&Source::Access).map(Entry::counts);
        counts.map_or(0, |counts| counts.dropped + counts.malformed)
    }

    /// Records of the kernel's log, of anybody, that were overwritten before they were read while nothing else heard them.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.live_counts(Source::KernelLog).map_or(0, |counts| counts.dropped)
    }

    /// Waits until no source is still starting, or for [`PATIENCE`]: a sick driver may keep one from ever being set up.
    pub async fn settled(&self) {
        let mut changed = self.changed.subscribe();
        let settled = async {
            while self.lock().values().any(|entry| entry.state == State::Starting) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        // Over or settled: the caller goes on with what is there.
        let _ = tokio::time::timeout(PATIENCE, settled).await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Source, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_live(&self) -> bool {
        matches!(self.state, State::Live(_))
    }

    fn counts(&self) -> Counts {
        self.counter.as_ref().map_or_else(Counts::default, |counter| counter())
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("state", &self.state)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::xid;

    fn live(board: &Board, source: Source, dropped: u64) {
        let counts = Counts { dropped, ..Counts::default() };
        board.live(source, String::new(), Arc::new(move || counts));
    }

    #[test]
    fn silence_is_told_from_deafness_for_what_was_asked_for() {
        let these =
            |kinds: &[Kind]| Filter { kinds: Kinds::These(kinds.to_vec()), ..Filter::default() };
        let xids = Kind::Fault(xid::Kind::Xid);
        let hears = |sources: &[Source]| {
            let board = Board::new();
            for source in sources {
                live(&board, *source, 0);
            }
            let filters = [
                Filter::unasked(),
                these(&[xids]),
                these(&[Kind::GpuOpen]),
                these(&[xids, Kind::GpuOpen]),
            ];
            filters.map(|filter| board.hears(&filter))
        };
        assert_eq!(hears(&[]), [false, false, false, false]);
        assert_eq!(hears(&[Source::Nvml]), [true, true, false, false]);
        assert_eq!(hears(&[Source::Access]), [false, false, true, false]);
        assert_eq!(hears(&[Source::Ebpf, Source::Access]), [true, true, true, true]);
    }

    #[test]
    fn the_device_tracer_s_losses_are_its_own() {
        let board = Board::new();
        live(&board, Source::Ebpf, 3);
        live(&board, Source::Access, 5);
        assert_eq!((board.dropped(), board.dropped_device_events()), (3, 5));
        let board = Board::new();
        live(&board, Source::Access, 5);
        assert_eq!((board.any_live(), board.lines_live()), (false, false));
    }
}
