//! A session's stdout in the recorder's hands: the descriptor goes over the socket (SCM_RIGHTS), so that what the recorder
//! writes is at the client without another process that has to wake up in between.
//!
//! It is for pipes alone, which is what `kubectl exec` gives: a pipe can be opened anew through /proc/self/fd, and only the
//! new opening is made non-blocking, not the one that other processes hold too.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

use rustix::{
    cmsg_space,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use tokio::{
    io::Interest,
    net::{
        UnixStream,
        unix::pipe::{self, Sender},
    },
};

/// Sends `line` whole, with a descriptor where there is one to give.
pub async fn send(
    stream: &UnixStream,
    line: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut sent = 0;
    while sent < line.len() {
        stream.writable().await?;
        let write = || {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            // With the first byte.
            let descriptors = descriptor.filter(|_| sent == 0);
            if let Some(descriptor) = &descriptors {
                control.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(descriptor)));
            }
            let bytes = [IoSlice::new(&line[sent..])];
            Ok(sendmsg(stream, &bytes, &mut control, SendFlags::NOSIGNAL)?)
        };
        match stream.try_io(Interest::WRITABLE, write) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What has come by now, and a descriptor that came with it; no bytes are the other side's end.
pub async fn receive(
    stream: &UnixStream,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<OwnedFd>)> {
    loop {
        stream.readable().await?;
        let mut descriptor = None;
        let read = || {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut bytes = [IoSliceMut::new(&mut *buffer)];
            let read = recvmsg(stream, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    descriptor = descriptors.last();
                }
            }
            Ok(read.bytes)
        };
        match stream.try_io(Interest::READABLE, read) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return Ok((read?, descriptor)),
        }
    }
}

/// Opens a pipe that was handed over; an error where it is none, or is another user's.
pub fn writer(descriptor: &OwnedFd) -> io::Result<Sender> {
    let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    pipe::OpenOptions::new().open_sender(path)
}
