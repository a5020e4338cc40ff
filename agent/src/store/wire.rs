//! What stands in the file: postcard encodings of the journal's parts. A change of any type here is a new
//! [`super::FORMAT`]; what was added since stands behind a part, where an agent that does not know it does not look and
//! one that does finds nothing in an older file:
//!
//! | part | behind it |
//! | --- | --- |
//! | event | [`StoredAttribution`], where there is one |
//! | group | the same of its first and its last event, each an option |
//! | journal | [`Snapshot::not_kept`] |

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    event::{
        Attribution, Event, Evicted, Group, KnownBy, Origin, Party, Pod, Report, Run, Snapshot,
        Source, Task, What,
        group::{Key, Pids},
    },
    xid::{self, MigInstance, PciAddress},
};

#[derive(Serialize, Deserialize)]
struct StoredEvent {
    seconds: u64,
    nanoseconds: u32,
    source: u8,
    /// pid, tid, cgroup id, name.
    task: Option<(u32, u32, u64, String)>,
    what: StoredWhat,
    origin: u8,
    follows: bool,
    confirmed_by: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
enum StoredWhat {
    Line {
        text: Vec<u8>,
        cut: bool,
    },
    Xid {
        /// Domain, bus, device, function.
        pci: Option<(u32, u8, u8, u8)>,
        code: u32,
        gpu_instance: Option<u32>,
        compute_instance: Option<u32>,
        message: Vec<u8>,
    },
}

#[derive(Serialize, Deserialize)]
struct StoredAttribution {
    known_by: u8,
    parties: Vec<StoredParty>,
}

#[derive(Serialize, Deserialize)]
struct StoredParty {
    pid: u32,
    name: String,
    /// UID, namespace, name, container, container id.
    pod: Option<[Option<String>; 5]>,
}

#[derive(Serialize, Deserialize)]
struct StoredGroup {
    count: u64,
    first: (u64, StoredEvent),
    last: (u64, StoredEvent),
    pids: Vec<u32>,
    more_pids: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredJournal {
    oldest: u64,
    newest: u64,
    ungrouped: u64,
    /// Id and first number.
    runs: Vec<(u64, u64)>,
    mark: Option<String>,
}

/// By the number that stands in the file.
const SOURCES: [Source; 5] =
    [Source::Ebpf, Source::Tracepoint, Source::KernelLog, Source::Nvml, Source::Replay];
const ORIGINS: [Origin; 3] = [Origin::Unstated, Origin::Kernel, Origin::User];
const KNOWN_BY: [KnownBy; 4] =
    [KnownBy::Line, KnownBy::Kernel, KnownBy::OnlyHolder, KnownBy::OneOfSeveral];

/// `None` for what a process did, which is not kept.
pub fn event(event: &Event) -> Option<Vec<u8>> {
    let mut bytes = encode(&StoredEvent::of(event)?);
    if let Some(attribution) = StoredAttribution::of(event) {
        bytes.extend(encode(&attribution));
    }
    Some(bytes)
}

pub fn read_event(seq: u64, bytes: &[u8]) -> Option<Event> {
    let (stored, behind) = decode::<StoredEvent>(bytes)?;
    let attribution = if behind.is_empty() { None } else { Some(decode(behind)?.0) };
    stored.event(seq, attribution)
}

pub fn key(key: Key) -> Vec<u8> {
    let Key { kind, code, pci, from_user } = key;
    encode(&(kind.name(), code, pci.map(numbers), from_user))
}

pub fn group(group: &Group) -> Option<Vec<u8>> {
    let of = |event: &Event| Some((event.seq, StoredEvent::of(event)?));
    let mut bytes = encode(&StoredGroup {
        count: group.count,
        first: of(&group.first)?,
        last: of(&group.last)?,
        pids: group.pids.seen.iter().copied().collect(),
        more_pids: group.pids.more,
    });
    let attributions = [&group.first, &group.last].map(|event| StoredAttribution::of(event));
    bytes.extend(encode(&attributions));
    Some(bytes)
}

pub fn read_group(bytes: &[u8]) -> Option<Group> {
    let (stored, behind) = decode(bytes)?;
    let StoredGroup { count, first, last, pids, more_pids } = stored;
    let [of_first, of_last] = if behind.is_empty() { [None, None] } else { decode(behind)?.0 };
    let first = Arc::new(first.1.event(first.0, of_first)?);
    let key = Key::of(&first.fault()?, first.report.origin);
    let last = Arc::new(last.1.event(last.0, of_last)?);
    let pids = Pids { seen: pids.into_iter().take(Pids::MOST).collect(), more: more_pids };
    Some(Group { key, count, first, last, pids })
}

pub fn journal(snapshot: &Snapshot) -> Vec<u8> {
    let Snapshot { oldest, newest, events: _, groups: _, ungrouped, runs, mark, not_kept } =
        snapshot;
    let mut bytes = encode(&StoredJournal {
        oldest: *oldest,
        newest: *newest,
        ungrouped: *ungrouped,
        runs: runs.iter().map(|run| (run.id, run.first)).collect(),
        mark: mark.clone(),
    });
    bytes.extend(encode(&not_kept.map(|Evicted { count, last }| (count, last))));
    bytes
}

/// Without the events and groups, which are in tables of their own.
pub fn read_journal(bytes: &[u8]) -> Option<Snapshot> {
    let (stored, behind) = decode(bytes)?;
    let StoredJournal { oldest, newest, ungrouped, runs, mark } = stored;
    let not_kept: [(u64, u64); 2] =
        if behind.is_empty() { Default::default() } else { decode(behind)?.0 };
    let runs = runs.into_iter().map(|(id, first)| Run { id, first }).collect();
    let not_kept = not_kept.map(|(count, last)| Evicted { count, last });
    Some(Snapshot { oldest, newest, ungrouped, runs, mark, not_kept, ..Snapshot::default() })
}

impl StoredEvent {
    fn of(event: &Event) -> Option<Self> {
        let Report { time, source, task, what, attribution: _, origin, follows } = &event.report;
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Some(Self {
            seconds: since.as_secs(),
            nanoseconds: since.subsec_nanos(),
            source: number(&SOURCES, *source),
            task: task
                .as_ref()
                .map(|Task { pid, tid, cgroup_id, comm }| (*pid, *tid, *cgroup_id, comm.clone())),
            what: StoredWhat::of(what)?,
            origin: number(&ORIGINS, *origin),
            follows: *follows,
            confirmed_by: event
                .confirmed_by
                .iter()
                .map(|source| number(&SOURCES, *source))
                .collect(),
        })
    }

    fn event(self, seq: u64, attribution: Option<StoredAttribution>) -> Option<Event> {
        let attribution = match attribution {
            Some(stored) => Some(stored.attribution()?),
            None => None,
        };
        let report = Report {
            time: SystemTime::UNIX_EPOCH
                .checked_add(Duration::new(self.seconds, self.nanoseconds.min(999_999_999)))?,
            source: named(&SOURCES, self.source)?,
            task: self.task.map(|(pid, tid, cgroup_id, comm)| Task { pid, tid, cgroup_id, comm }),
            what: self.what.what(),
            attribution,
            origin: named(&ORIGINS, self.origin)?,
            follows: self.follows,
        };
        let severity = xid::assess(&report.what.fault()?).severity;
        let confirmed_by = self
            .confirmed_by
            .into_iter()
            .map(|source| named(&SOURCES, source))
            .collect::<Option<_>>()?;
        Some(Event { seq, severity, report, confirmed_by })
    }
}

impl StoredWhat {
    fn of(what: &What) -> Option<Self> {
        Some(match what {
            What::Access(_) => return None,
            What::Line { text, cut } => Self::Line { text: text.to_vec(), cut: *cut },
            What::Xid { pci, code, instance, message } => Self::Xid {
                pci: pci.map(numbers),
                code: *code,
                gpu_instance: instance.gpu,
                compute_instance: instance.compute,
                message: message.to_vec(),
            },
        })
    }

    fn what(self) -> What {
        match self {
            Self::Line { text, cut } => What::Line { text: Bytes::from(text), cut },
            Self::Xid { pci, code, gpu_instance, compute_instance, message } => What::Xid {
                pci: pci.map(|(domain, bus, device, function)| PciAddress {
                    domain,
                    bus,
                    device,
                    function,
                }),
                code,
                instance: MigInstance { gpu: gpu_instance, compute: compute_instance },
                message: Bytes::from(message),
            },
        }
    }
}

impl StoredAttribution {
    fn of(event: &Event) -> Option<Self> {
        let Attribution { known_by, parties } = event.report.attribution.as_ref()?;
        let pod = |pod: &Pod| {
            let Pod { uid, namespace, name, container, container_id } = pod.clone();
            [uid, namespace, name, container, container_id]
        };
        let party = |Party { pid, name, pod: of }: &Party| StoredParty {
            pid: *pid,
            name: name.clone(),
            pod: of.as_deref().map(pod),
        };
        let parties = parties.iter().map(party).collect();
        Some(Self { known_by: number(&KNOWN_BY, *known_by), parties })
    }

    fn attribution(self) -> Option<Attribution> {
        let pod = |[uid, namespace, name, container, container_id]: [Option<String>; 5]| {
            Arc::new(Pod { uid, namespace, name, container, container_id })
        };
        let party = |StoredParty { pid, name, pod: of }| Party { pid, name, pod: of.map(pod) };
        let known_by = named(&KNOWN_BY, self.known_by)?;
        Some(Attribution { known_by, parties: self.parties.into_iter().map(party).collect() })
    }
}

fn numbers(pci: PciAddress) -> (u32, u8, u8, u8) {
    (pci.domain, pci.bus, pci.device, pci.function)
}

fn number<T: Copy + PartialEq>(all: &[T], one: T) -> u8 {
    all.iter().zip(0..).find(|(of, _)| **of == one).map_or(u8::MAX, |(_, number)| number)
}

fn named<T: Copy>(all: &[T], number: u8) -> Option<T> {
    all.get(usize::from(number)).copied()
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    // Fails only for types that have no length beforehand, and here is none.
    postcard::to_allocvec(value).unwrap_or_default()
}

/// A value, and what stands behind it.
fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<(T, &'a [u8])> {
    postcard::take_from_bytes(bytes).ok()
}
