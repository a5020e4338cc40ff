//! stdout without a detour where the kernel allows it.
//!
//! tokio hands each write to stdout to another thread, because a write to a pipe may block; that costs two wake-ups for
//! every notification. pwritev2(2) with RWF_NOWAIT writes at once or says that it would block (pipes: Linux 6.4+). Where it
//! would, or the kernel cannot tell, tokio's way is taken.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use tokio::io::{AsyncWrite, Stdout};

/// "At the current position": what a pipe needs, in the place of an offset.
const HERE: u64 = u64::MAX;

/// The process's stdout; there is one.
#[derive(Debug)]
pub struct DirectStdout {
    /// Takes what cannot be written at once.
    detour: Stdout,
    /// The detour may hold bytes that must come first.
    under_way: bool,
}

impl DirectStdout {
    pub fn new() -> Self {
        Self { detour: tokio::io::stdout(), under_way: false }
    }
}

impl AsyncWrite for DirectStdout {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.under_way {
            match pwritev2(
                rustix::stdio::stdout(),
                &[IoSlice::new(bytes)],
                HERE,
                ReadWriteFlags::NOWAIT,
            ) {
                Ok(written) if written > 0 => return Poll::Ready(Ok(written)),
                Err(Errno::PIPE) => return Poll::Ready(Err(Errno::PIPE.into())),
                // It would block, or this kernel or this kind of file does not say.
                _ => {}
            }
        }
        self.under_way = true;
        Pin::new(&mut self.detour).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.detour).poll_flush(context))?;
        self.under_way = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.detour).poll_shutdown(context)
    }
}
