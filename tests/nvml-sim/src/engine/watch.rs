//! Whether the scenario's file has changed since it was last read.
//!
//! A client that is running is given another node by writing the file anew, in place or by renaming another over it.
//! Calls ask here, so nothing runs while nobody calls, and the file is looked at no more often than [`LOOK_EVERY`].

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How long a change may go unnoticed, and how often a call that waits looks for one.
pub const LOOK_EVERY: Duration = Duration::from_millis(25);

/// How coarse the times of a file system may be: a file written twice within it can look the same both times.
const COARSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    looked: Instant,
    /// None while the file is too young to be known by its times.
    stamp: Option<Stamp>,
    /// What was last read, or why it could not be.
    content: Result<String, io::ErrorKind>,
}

/// What changes with a file's content.
#[derive(Debug, PartialEq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self {
            file: (file.dev(), file.ino()),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

impl Watch {
    /// Begins with what the caller has read already.
    #[must_use]
    pub fn new(path: PathBuf, content: String) -> Self {
        let seen = Seen { looked: Instant::now(), stamp: None, content: Ok(content) };
        Self { path, seen: Mutex::new(seen) }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives `take` what the file says now, if it is time to look and it says something else than before. Who asks while
    /// another thread looks waits for what that one finds.
    pub fn look(&self, take: impl FnOnce(io::Result<&str>)) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.looked.elapsed() < LOOK_EVERY {
            return;
        }
        seen.looked = Instant::now();
        let read = fs::metadata(&self.path).and_then(|metadata| {
            let stamp = Stamp::of(&metadata);
            if seen.stamp.as_ref() == Some(&stamp) {
                return Ok(None);
            }
            let settled = metadata.modified().is_ok_and(|modified| {
                SystemTime::now().duration_since(modified).is_ok_and(|age| age > COARSE)
            });
            let content = fs::read_to_string(&self.path)?;
            seen.stamp = settled.then_some(stamp);
            Ok(Some(content))
        });
        match read {
            Ok(None) => {}
            Ok(Some(content)) => {
                if seen.content.as_ref() != Ok(&content) {
                    take(Ok(&content));
                    seen.content = Ok(content);
                }
            }
            Err(error) => {
                seen.stamp = None;
                if seen.content.as_ref() != Err(&error.kind()) {
                    seen.content = Err(error.kind());
                    take(Err(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_change_is_seen_once_however_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scenario");
        fs::write(&path, "one").unwrap();
        let watch = Watch::new(path.clone(), "one".to_owned());
        let look = || {
            thread::sleep(LOOK_EVERY);
            let mut found = None;
            watch.look(|content| {
                found = Some(content.map(ToOwned::to_owned).map_err(|error| error.kind()));
            });
            found
        };
        assert_eq!(look(), None);
        // As long as before, and within the same tick of the file system's clock.
        fs::write(&path, "two").unwrap();
        assert_eq!(look(), Some(Ok("two".to_owned())));
        assert_eq!(look(), None);
        let other = folder.path().join("other");
        fs::write(&other, "six").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(look(), Some(Ok("six".to_owned())));
        fs::remove_file(&path).unwrap();
        assert_eq!((look(), look()), (Some(Err(io::ErrorKind::NotFound)), None));
        fs::write(&path, "ten").unwrap();
        assert_eq!(look(), Some(Ok("ten".to_owned())));
        // Settled, it is known by its times alone, and a change is still seen.
        thread::sleep(COARSE);
        assert_eq!((look(), look()), (None, None));
        fs::write(&path, "new").unwrap();
        assert_eq!(look(), Some(Ok("new".to_owned())));
    }
}
