//! The maps of the programs, as long as these are attached: read by whoever asks, at any time.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use agent_ebpf::access::{
    CallKey, CallStats, Holder as RawHolder, MAP_CALLS, MAP_HOLDERS, MAP_MAJORS, MAP_PARAMETERS,
    MAP_THREADS, MAP_TOTALS, MAP_WINDOW, NOWHERE, REQUESTS, Thread, call, held, total,
};
use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray},
};

use super::{
    Counted, Holder, Inside, Majors, ProcessId, Total, Unseen,
    decode::{self, Frame},
    majors,
};
use crate::{
    calls::parameters,
    kernel::{
        Buffer,
        tracer::{TracerError, boot_time, refused},
    },
};

/// Entries of the maps, and bytes of the ring buffer.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    pub processes: u32,
    pub threads: u32,
    pub calls: u32,
    pub places: u32,
    pub ring: u32,
}

impl Room {
    pub fn of(buffer: Buffer) -> Self {
        match buffer {
            Buffer::Session => {
                Self { processes: 2048, threads: 2048, calls: 2048, places: 256, ring: 256 << 10 }
            }
            Buffer::Recorder => {
                Self { processes: 8192, threads: 8192, calls: 8192, places: 1024, ring: 1 << 20 }
            }
        }
    }
}

/// What the programs count. Read by whoever asks.
pub struct Maps {
    majors: Mutex<(Array<MapData, [u32; 4]>, Majors)>,
    holders: HashMap<MapData, u32, [u8; size_of::<RawHolder>()]>,
    threads: HashMap<MapData, u32, [u8; size_of::<Thread>()]>,
    calls: Mutex<HashMap<MapData, [u8; size_of::<CallKey>()], [u8; size_of::<CallStats>()]>>,
    window: Mutex<(Array<MapData, u32>, u32)>,
    totals: PerCpuArray<MapData, u64>,
    /// Written once; programs that use it are loaded after that, and take it by its descriptor.
    _requests: HashMap<MapData, u32, u32>,
    room: Room,
    malformed: AtomicU64,
}

impl Maps {
    /// Takes the maps out of the loaded programs, and tells these the driver's numbers and where its branch (580) has what
    /// in its parameters.
    pub fn take(
        programs: &mut Ebpf,
        room: Room,
        majors: Majors,
        branch: Option<u16>,
    ) -> Result<Self, TracerError> {
        let mut requests: HashMap<MapData, u32, u32> = take(programs, MAP_PARAMETERS)?;
        for row in parameters::of(branch).take(REQUESTS as usize) {
            let at = |place: Option<u16>| place.map_or(NOWHERE, u32::from);
            let places = at(row.command) << 16 | at(row.status);
            requests.insert(row.key, places, 0).map_err(refused)?;
        }
        let maps = Self {
            majors: Mutex::new((take(programs, MAP_MAJORS)?, majors)),
            holders: take(programs, MAP_HOLDERS)?,
            threads: take(programs, MAP_THREADS)?,
            calls: Mutex::new(take(programs, MAP_CALLS)?),
            window: Mutex::new((take(programs, MAP_WINDOW)?, 0)),
            totals: take(programs, MAP_TOTALS)?,
            _requests: requests,
            room,
            malformed: AtomicU64::new(0),
        };
        maps.set_majors(majors).map_err(refused)?;
        Ok(maps)
    }

    /// A record of the ring buffer was not as the programs write them.
    pub fn count_malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }

    pub fn frame(&self) -> Frame {
        Frame { boot: boot_time(), majors: self.majors().1 }
    }

    fn majors(&self) -> MutexGuard<'_, (Array<MapData, [u32; 4]>, Majors)> {
        self.majors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver was loaded anew and has other numbers.
    pub fn set_majors(&self, majors: Majors) -> Result<(), MapError> {
        let mut map = self.majors();
        map.0.set(0, [majors.nvidia, majors.uvm, majors.caps, 0], 0)?;
        map.1 = majors;
        Ok(())
    }

    /// Processes that have devices open.
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        let frame = self.frame();
        let all = entries(&self.holders, self.room.processes);
        all.iter().filter_map(|(pid, value)| decode::holder(*pid, value, &frame)).collect()
    }

    /// Calls that have not come back.
    #[must_use]
    pub fn inside(&self) -> Vec<Inside> {
        let frame = self.frame();
        let all = entries(&self.threads, self.room.threads);
        all.values().filter_map(|value| decode::inside(value, &frame)).collect()
    }

    /// What was counted, with the slowest calls of a window.
    #[must_use]
    pub fn counted(&self, window: u32) -> Vec<Counted> {
        let frame = self.frame();
        let all = entries(&*self.calls(), self.room.calls);
        all.iter().filter_map(|(key, value)| decode::counted(key, value, window, &frame)).collect()
    }

    fn calls(
        &self,
    ) -> MutexGuard<'_, HashMap<MapData, [u8; size_of::<CallKey>()], [u8; size_of::<CallStats>()]>>
    {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room: forgets what was counted of processes that are not `wanted`, if the map is more than half full.
    pub fn make_room(&self, wanted: impl Fn(ProcessId) -> bool) {
        let mut calls = self.calls();
        let keys: Vec<_> =
            calls.keys().take(self.room.calls as usize).filter_map(Result::ok).collect();
        if keys.len() < self.room.calls as usize / 2 {
            return;
        }
        for key in keys {
            if decode::process_of(&key).is_some_and(|process| !wanted(process)) {
                let _ = calls.remove(&key);
            }
        }
    }

    /// Begins a window in which the slowest calls are kept, and returns its number. The window before goes on being
    /// readable until the next.
    pub fn begin_window(&self) -> u32 {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.1 += 1;
        let number = window.1;
        if let Err(error) = window.0.set(0, number, 0) {
            tracing::warn!(%error, "The slowest calls of this window are not known.");
        }
        number
    }

    /// Calls by device.
    #[must_use]
    pub fn totals(&self) -> Vec<Total> {
        let of = |base: u32, bit: u32, call: u32| self.total(base + bit * call::LEN + call);
        (0..held::LEN)
            .map(|bit| Total {
                device: majors::of_bit(bit),
                opens: of(total::CALLS, bit, call::OPEN),
                closes: of(total::CALLS, bit, call::CLOSE),
                ioctls: of(total::CALLS, bit, call::IOCTL),
                failed: (0..call::LEN).map(|call| of(total::ERRORS, bit, call)).sum(),
            })
            .filter(|total| total.opens + total.closes + total.ioctls > 0)
            .collect()
    }

    /// What was not seen.
    #[must_use]
    pub fn unseen(&self) -> Unseen {
        Unseen {
            events: self.total(total::DROPPED) + self.malformed.load(Ordering::Relaxed),
            calls: self.total(total::UNCOUNTED),
            threads: self.total(total::UNFOLLOWED),
            holders: self.total(total::UNHELD),
        }
    }

    fn total(&self, index: u32) -> u64 {
        self.totals.get(&index, 0).map_or(0, |per_cpu| per_cpu.iter().sum())
    }
}

fn take<M: TryFrom<Map, Error = MapError>>(
    programs: &mut Ebpf,
    name: &'static str,
) -> Result<M, TracerError> {
    let map = programs.take_map(name).ok_or(TracerError::Object(name))?;
    M::try_from(map).map_err(refused)
}

/// Everything in a map that others change meanwhile: an entry that goes while it is looked at may bring the reader back
/// to the beginning.
fn entries<K: Pod + Ord, V: Pod>(map: &HashMap<MapData, K, V>, room: u32) -> BTreeMap<K, V> {
    map.iter().take(room as usize * 2).filter_map(Result::ok).collect()
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maps").field("room", &self.room).finish_non_exhaustive()
    }
}
