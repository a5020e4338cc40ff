//! Waiting for a descriptor that somebody else reads from.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use tokio::io::unix::AsyncFd;

/// Tells when a descriptor has become readable. It has a duplicate of its own, so what it waits for may be read, or
/// closed, meanwhile.
#[derive(Debug)]
pub struct Ready(AsyncFd<OwnedFd>);

impl Ready {
    pub fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let fd = fd.try_clone_to_owned()?;
        // SAFETY: the descriptor is owned by the AsyncFd alone and open for as long as that lives.
        Ok(Self(unsafe { AsyncFd::register(fd) }?))
    }

    /// Waits until there is something that was not there when this last returned. Read then until nothing is left.
    pub async fn wait(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}
