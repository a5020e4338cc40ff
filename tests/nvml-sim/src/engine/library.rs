//! The state of a loaded library: nothing, or what the first `nvmlInit` opened.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write as _;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Instant;

use super::code::Code;
use super::events::EventSets;
use super::faults::{Exports, Fault};
use super::gpu::load::ProcessKind;
use super::node::Node;
use super::scenario;
use super::watch::{LOOK_EVERY, Watch};

/// What one call works on: the node as it is at that moment, and what all calls share.
///
/// A call takes it once and holds no lock while it works, so one that hangs hinders none, and none sees half a change.
#[derive(Clone, Debug)]
pub struct Session {
    pub node: Arc<Node>,
    opened: Arc<Opened>,
}

/// What the first `nvmlInit` opens and the last `nvmlShutdown` closes.
#[derive(Debug)]
pub struct Opened {
    /// Written by whichever call finds that the scenario's file has changed; read by every call.
    current: RwLock<Arc<Node>>,
    /// None without a file.
    watch: Option<Watch>,
    exports: Exports,
    /// Of the first `nvmlInit`; a change of the scenario leaves it.
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

impl Deref for Session {
    type Target = Opened;

    fn deref(&self) -> &Opened {
        &self.opened
    }
}

impl Session {
    fn of(opened: Arc<Opened>) -> Self {
        Self { node: opened.node(), opened }
    }

    /// The same some time later.
    #[must_use]
    pub fn now(&self) -> Self {
        Self::of(Arc::clone(&self.opened))
    }

    /// Lets the node's faults of `symbol` strike; the session as it is when they let go.
    pub fn through_driver(self, symbol: &str) -> Result<Self, Code> {
        self.strike(|node| node.driver.faults.of(symbol))
    }

    /// Lets the faults of `symbol` on this GPU strike, and refuses when it is lost.
    pub fn through_gpu(self, symbol: &str, index: u32) -> Result<Self, Code> {
        let session = self.strike(|node| node.by_index(index).ok()?.now().faults.of(symbol))?;
        if session.node.by_index(index)?.now().is_lost(session.started) {
            return Err(Code::GPU_IS_LOST);
        }
        Ok(session)
    }

    fn strike(self, find: impl Fn(&Node) -> Option<&Fault>) -> Result<Self, Code> {
        let begun = Instant::now();
        let mut session = self;
        loop {
            let Some(fault) = find(&session.node) else { return Ok(session) };
            let Some(rest) = fault.wait(begun.elapsed()) else {
                fault.outcome()?;
                return Ok(session);
            };
            thread::sleep(rest.min(LOOK_EVERY));
            session = session.now();
        }
    }
}

impl Opened {
    /// Reads the scenario. One with a mistake in it is explained on stderr and is `INVALID_ARGUMENT`, which no real
    /// `nvmlInit` returns.
    fn new(exports: Exports) -> Result<Self, Code> {
        let (node, watch) = scenario::from_environment(exports).map_err(|error| {
            say(&error);
            Code::INVALID_ARGUMENT
        })?;
        Ok(Self {
            current: RwLock::new(Arc::new(node)),
            watch,
            exports,
            started: Instant::now(),
            event_sets: EventSets::default(),
            lists: Lists::default(),
        })
    }

    /// The node as the scenario has it now, or as it last was without a mistake.
    fn node(&self) -> Arc<Node> {
        if let Some(watch) = &self.watch {
            watch.look(|content| {
                let read =
                    content.map_err(|source| scenario::Error::unreadable(watch.path(), source));
                match read.and_then(|text| scenario::from_file(watch.path(), text, self.exports)) {
                    Ok(node) => {
                        let node = node.after(&self.last());
                        *self.current.write().unwrap_or_else(PoisonError::into_inner) =
                            Arc::new(node);
                    }
                    Err(error) => say(&format_args!("the scenario stays as it was: {error}")),
                }
            });
        }
        self.last()
    }

    fn last(&self) -> Arc<Node> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// There is nowhere else to say it, and nothing to do when even stderr is closed.
fn say(what: &dyn Display) {
    let _ = writeln!(std::io::stderr().lock(), "nvml-sim: {what}");
}

#[derive(Debug, Default)]
pub struct Library(RwLock<Option<Users>>);

#[derive(Debug)]
struct Users {
    opened: Arc<Opened>,
    count: u32,
}

/// The one of this loaded file.
pub static LIBRARY: Library = Library(RwLock::new(None));

impl Library {
    pub fn session(&self) -> Result<Session, Code> {
        let users = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let opened =
            users.as_ref().map(|users| Arc::clone(&users.opened)).ok_or(Code::UNINITIALIZED)?;
        drop(users);
        Ok(Session::of(opened))
    }

    /// Reads the scenario, unless a session is open already: then it is joined, as in NVML.
    pub fn init(&self, symbol: &str, exports: Exports) -> Result<(), Code> {
        let session = match self.session() {
            Ok(session) => session,
            Err(_) => Session::of(Arc::new(Opened::new(exports)?)),
        };
        let session = session.through_driver(symbol)?;
        if let Some(code) = session.node.driver.init_error {
            return Err(code);
        }
        let mut users = self.0.write().unwrap_or_else(PoisonError::into_inner);
        users.get_or_insert(Users { opened: session.opened, count: 0 }).count += 1;
        Ok(())
    }

    /// The last user out closes the session and ends the waits in it.
    pub fn shutdown(&self) -> Result<(), Code> {
        let mut guard = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let users = guard.as_mut().ok_or(Code::UNINITIALIZED)?;
        users.count -= 1;
        if users.count == 0
            && let Some(closed) = guard.take()
        {
            drop(guard);
            closed.opened.event_sets.free_all();
        }
        Ok(())
    }
}
