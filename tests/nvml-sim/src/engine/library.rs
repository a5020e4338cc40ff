//! The state of a loaded library: nothing, or a session with a node.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use super::code::Code;
use super::events::EventSets;
use super::faults::Exports;
use super::gpu::Gpu;
use super::gpu::load::ProcessKind;
use super::node::Node;
use super::scenario;

/// What `nvmlInit` opens and the last `nvmlShutdown` closes.
#[derive(Debug)]
pub struct Session {
    pub node: Node,
    pub started: Instant,
    pub event_sets: EventSets,
    pub lists: Lists,
}

/// How often each list of each GPU has been asked for.
#[derive(Debug, Default)]
pub struct Lists(Mutex<BTreeMap<(u32, ProcessKind), u32>>);

impl Lists {
    /// Counts a call in; how many there were before it.
    pub fn asked(&self, gpu: u32, list: ProcessKind) -> u32 {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = lists.entry((gpu, list)).or_default();
        *calls += 1;
        *calls - 1
    }
}

impl Session {
    /// Lets the faults of `symbol` on this GPU strike, and refuses when it is lost.
    pub fn reach(&self, gpu: &Gpu, symbol: &str) -> Result<(), Code> {
        gpu.reach(symbol, self.started)
    }
}

/// Calls take a copy of the session's `Arc` and hold no lock while they work, so a call that hangs hinders none.
#[derive(Debug, Default)]
pub struct Library(RwLock<Option<Opened>>);

#[derive(Debug)]
struct Opened {
    session: Arc<Session>,
    users: u32,
}

/// The one of this loaded file.
pub static LIBRARY: Library = Library(RwLock::new(None));

impl Library {
    pub fn session(&self) -> Result<Arc<Session>, Code> {
        let opened = self.0.read().unwrap_or_else(PoisonError::into_inner);
        opened.as_ref().map(|opened| Arc::clone(&opened.session)).ok_or(Code::UNINITIALIZED)
    }

    /// Reads the scenario, unless a session is open already: then it is joined, as in NVML.
    ///
    /// A scenario with a mistake in it is explained on stderr and is `INVALID_ARGUMENT`, which no real `nvmlInit`
    /// returns.
    pub fn init(&self, symbol: &str, exports: &Exports<'_>) -> Result<(), Code> {
        let session = match self.session() {
            Ok(session) => session,
            Err(_) => Arc::new(open(exports)?),
        };
        session.node.driver.faults.strike(symbol)?;
        if let Some(code) = session.node.driver.init_error {
            return Err(code);
        }
        let mut opened = self.0.write().unwrap_or_else(PoisonError::into_inner);
        opened.get_or_insert(Opened { session, users: 0 }).users += 1;
        Ok(())
    }

    /// The last user out closes the session and ends the waits in it.
    pub fn shutdown(&self) -> Result<(), Code> {
        let mut guard = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let opened = guard.as_mut().ok_or(Code::UNINITIALIZED)?;
        opened.users -= 1;
        if opened.users == 0
            && let Some(closed) = guard.take()
        {
            drop(guard);
            closed.session.event_sets.free_all();
        }
        Ok(())
    }
}

fn open(exports: &Exports<'_>) -> Result<Session, Code> {
    let node = scenario::from_environment(exports).map_err(|error| {
        // There is nowhere else to say it, and nothing to do when even stderr is closed.
        let _ = writeln!(std::io::stderr().lock(), "nvml-sim: {error}");
        Code::INVALID_ARGUMENT
    })?;
    let (event_sets, lists) = (EventSets::default(), Lists::default());
    Ok(Session { node, started: Instant::now(), event_sets, lists })
}
