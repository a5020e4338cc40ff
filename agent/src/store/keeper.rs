//! Writes the journal down as it changes.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Store, StoreError};
use crate::event::{Journal, Snapshot};

/// Reports that come together are written together.
const COALESCE: Duration = Duration::from_millis(20);
/// Of the time, at most one part in this many goes into writing.
const SHARE: u32 = 20;
/// Between two tries to write to a disk that is full.
const RETRY: Duration = Duration::from_secs(10);

/// How the journal is kept, for whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In this file.
    File(PathBuf),
    /// In this file at some later time; why not now.
    Failing(PathBuf, String),
}

/// Keeps one journal in one file.
#[derive(Debug)]
pub struct Keeper {
    journal: Journal,
    path: PathBuf,
    /// `None` while it cannot be opened.
    store: Option<Store>,
    /// Written here, read by `get_agent_status`.
    kept: Arc<Mutex<Kept>>,
}

impl Keeper {
    /// Opens `path` and goes on with the journal in it; where that cannot be had, with an empty one, and tries again later.
    /// Only a file that another agent writes is an error.
    pub fn start(path: PathBuf) -> Result<Self, StoreError> {
        let (store, snapshot, kept) = match Store::open(&path) {
            Ok(opened) => {
                if let Some((aside, reason)) = opened.set_aside {
                    tracing::error!(
                        reason,
                        "The journal of an earlier run cannot be read; it is now {} and a new one begins.",
                        aside.display()
                    );
                }
                (Some(opened.store), opened.snapshot, Kept::File(path.clone()))
            }
            Err(error @ StoreError::InUse(_)) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "The journal is in memory alone and ends with this process, until it can be written.");
                (None, Snapshot::default(), Kept::Failing(path.clone(), error.to_string()))
            }
        };
        let journal = Journal::restored(snapshot);
        Ok(Self { journal, path, store, kept: Arc::new(Mutex::new(kept)) })
    }

    #[must_use]
    pub fn journal(&self) -> Journal {
        self.journal.clone()
    }

    #[must_use]
    pub fn kept(&self) -> Arc<Mutex<Kept>> {
        Arc::clone(&self.kept)
    }

    /// Writes until `shutdown` completes, and then once more.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                () = self.journal.unsaved() => tokio::time::sleep(COALESCE).await,
            }
            let pause = self.write().await;
            tokio::select! {
                () = &mut shutdown => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.write().await;
    }

    /// Writes what there is off this thread, and returns how long to wait before the next time.
    async fn write(&mut self) -> Duration {
        let started = Instant::now();
        let (journal, path, store) = (self.journal.clone(), self.path.clone(), self.store.take());
        let written = tokio::task::spawn_blocking(move || write(&journal, &path, store)).await;
        let result = match written {
            Ok(Ok(store)) => {
                self.store = Some(store);
                Ok(())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(panicked) => Err(panicked.to_string()),
        };
        let kept = match &result {
            Ok(()) => Kept::File(self.path.clone()),
            Err(reason) => {
                self.journal.not_kept();
                Kept::Failing(self.path.clone(), reason.clone())
            }
        };
        let mut known = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != kept {
            if let Err(reason) = &result {
                tracing::error!(
                    reason,
                    "The journal cannot be written; it goes on in memory, and this is tried again."
                );
            } else {
                tracing::info!("The journal is written again.");
            }
            *known = kept;
        }
        if result.is_ok() { started.elapsed() * SHARE } else { RETRY }
    }
}

fn write(journal: &Journal, path: &Path, store: Option<Store>) -> Result<Store, StoreError> {
    let failed = |error: &redb::Error| StoreError::Failed {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let store = if let Some(store) = store {
        store
    } else {
        let store = Store::open(path)?.store;
        // What it holds is of an earlier time, and the journal is whole in the next snapshot.
        store.clear().map_err(|error| failed(&error))?;
        journal.not_kept();
        store
    };
    if let Some(snapshot) = journal.snapshot() {
        store.save(&snapshot).map_err(|error| failed(&error))?;
    }
    Ok(store)
}
