//! The journal on disk, so that it survives a restart of the agent's container: one file (redb) on a volume of the pod.
//!
//! Each snapshot is one transaction, so a kill in the middle of a write leaves the one before. What cannot be read is set
//! aside under another name and told, never deleted and never half believed:
//!
//! | the file | what happens |
//! | --- | --- |
//! | is not there, or empty | a new one is made |
//! | has a torn tail (kill -9, power loss) | redb goes back to the last whole transaction |
//! | is damaged, or no journal | moved to `NAME.unreadable`, a new one is made |
//! | is of another version of this format or of redb | the same |
//! | is open in another agent | [`StoreError::InUse`] |
//! | cannot be written (full disk, read-only) | the journal goes on in memory, and [`keeper`] tries again |

pub mod keeper;
mod wire;

use std::{
    ffi::OsString,
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::event::Snapshot;

/// Event by number.
const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
/// Group by its key.
const GROUPS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("groups");
/// One entry: everything else.
const JOURNAL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("journal");
/// The key of that entry, and the version of what the values of all three tables look like.
const FORMAT: u64 = 1;
/// The journal itself is in memory; nothing is read back from here while the agent runs.
const CACHE_BYTES: usize = 256 << 10;

/// An open journal file; one process has it at a time.
#[derive(Debug)]
pub struct Store(Database);

/// What was found when a store was opened.
#[derive(Debug)]
pub struct Opened {
    pub store: Store,
    pub snapshot: Snapshot,
    /// A file that could not be read: where it is now, and why.
    pub set_aside: Option<(PathBuf, String)>,
}

/// Why the journal cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Give each recorder its own file.
    #[error("another agent keeps its journal in {}", .0.display())]
    InUse(PathBuf),
    /// Free space or mount a volume that can be written; the journal goes on in memory.
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    /// The store has failed before and has to be opened again.
    #[error("{}: {reason}", path.display())]
    Failed { path: PathBuf, reason: String },
}

/// What reading a file came to.
enum Read {
    Journal(Store, Snapshot),
    /// Not to be read; why.
    Unreadable(String),
}

impl Store {
    /// Opens `path` and reads what it holds; sets it aside where it cannot be read.
    pub fn open(path: &Path) -> Result<Opened, StoreError> {
        let reason = match open_and_read(path)? {
            Read::Journal(store, snapshot) => {
                return Ok(Opened { store, snapshot, set_aside: None });
            }
            Read::Unreadable(reason) => reason,
        };
        let aside = aside(path);
        fs::rename(path, &aside)
            .map_err(|error| StoreError::Io { path: path.to_owned(), error })?;
        match open_and_read(path)? {
            Read::Journal(store, snapshot) => {
                Ok(Opened { store, snapshot, set_aside: Some((aside, reason)) })
            }
            Read::Unreadable(reason) => Err(StoreError::Failed { path: path.to_owned(), reason }),
        }
    }

    /// Writes what has changed. All of it is there afterwards, or what was there before.
    pub fn save(&self, snapshot: &Snapshot) -> Result<(), redb::Error> {
        let write = self.0.begin_write()?;
        {
            let mut events = write.open_table(EVENTS)?;
            events.retain_in(..snapshot.oldest, |_, _| false)?;
            for event in &snapshot.events {
                if let Some(value) = wire::event(event) {
                    events.insert(event.seq, value.as_slice())?;
                }
            }
            let mut groups = write.open_table(GROUPS)?;
            for group in &snapshot.groups {
                if let Some(value) = wire::group(group) {
                    groups.insert(wire::key(group.key).as_slice(), value.as_slice())?;
                }
            }
            write.open_table(JOURNAL)?.insert(FORMAT, wire::journal(snapshot).as_slice())?;
        }
        write.commit()?;
        Ok(())
    }

    /// Empties it: what is written next is whole.
    pub fn clear(&self) -> Result<(), redb::Error> {
        let write = self.0.begin_write()?;
        write.delete_table(EVENTS)?;
        write.delete_table(GROUPS)?;
        write.delete_table(JOURNAL)?;
        write.commit()?;
        Ok(())
    }

    fn load(&self) -> Result<Result<Snapshot, String>, redb::Error> {
        let read = self.0.begin_read()?;
        let journal = match read.open_table(JOURNAL) {
            Ok(table) => table,
            // A file in which nothing was written yet.
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Ok(Snapshot::default())),
            Err(error) => return Err(error.into()),
        };
        let Some(value) = journal.get(FORMAT)? else {
            return Ok(Err("it is of another version of the agent".to_owned()));
        };
        let Some(mut snapshot) = wire::read_journal(value.value()) else {
            return Ok(Err("its head is no journal's".to_owned()));
        };
        for entry in read.open_table(EVENTS)?.iter()? {
            let (seq, value) = entry?;
            let Some(event) = wire::read_event(seq.value(), value.value()) else {
                return Ok(Err(format!("event {} is none", seq.value())));
            };
            snapshot.events.push(event.into());
        }
        for entry in read.open_table(GROUPS)?.iter()? {
            let (_, value) = entry?;
            let Some(group) = wire::read_group(value.value()) else {
                return Ok(Err("a group is none".to_owned()));
            };
            snapshot.groups.push(group);
        }
        Ok(Ok(snapshot))
    }
}

fn open_and_read(path: &Path) -> Result<Read, StoreError> {
    // redb checks what it reads; a file made to mislead it can still trip an assertion, which must not end the agent.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let store = Store(
            Database::builder()
                .set_cache_size(CACHE_BYTES)
                .set_check_integrity_on_open(true)
                .create(path)?,
        );
        let snapshot = store.load()?;
        Ok::<_, redb::Error>((store, snapshot))
    }));
    let Ok(opened) = opened else {
        return Ok(Read::Unreadable("it is damaged".to_owned()));
    };
    match opened {
        Ok((store, Ok(snapshot))) => Ok(Read::Journal(store, snapshot)),
        Ok((_, Err(reason))) => Ok(Read::Unreadable(reason)),
        Err(redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch) => {
            Err(StoreError::InUse(path.to_owned()))
        }
        Err(redb::Error::Io(error)) if error.kind() != io::ErrorKind::InvalidData => {
            Err(StoreError::Io { path: path.to_owned(), error })
        }
        Err(error) => Ok(Read::Unreadable(error.to_string())),
    }
}

fn aside(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".unreadable");
    name.into()
}

#[cfg(test)]
mod tests;
