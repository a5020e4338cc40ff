//! Reads a BPF ring buffer through a window (`kernel/bpf/ringbuf.c`).
//!
//! It takes a large buffer to outlast a storm of lines, and what a process has mapped of one counts as its memory, twice
//! where it maps the whole as libraries do. Here a small part of the buffer is mapped, and the next part when the reader
//! gets there: some microseconds for some hundred records.
//!
//! The buffer's file has a page with the reader's position, a page with the writer's, and the data, twice, so that a
//! record that goes over the end can be read in one piece. A position counts every byte since the beginning. A record
//! is a length with two flags in it, four bytes for the kernel, and its bytes, filled up to a multiple of eight.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicU64, Ordering, fence},
};

use bytes::Bytes;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// What is mapped of the data: more than any record and a page.
const WINDOW: u64 = 256 << 10;
/// Bytes that are read before the writer is told that it may have them again.
const ARREARS: u64 = 16 << 10;

const HEADER: u64 = 8;
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;

/// The one reader of a ring buffer.
#[derive(Debug)]
pub struct Ring {
    fd: OwnedFd,
    /// Bytes of data.
    size: u64,
    /// Starts with the reader's position: written here, read by the kernel.
    reader: Mapping,
    /// Starts with the writer's position: written by the kernel.
    writer: Mapping,
    /// The part of the data that is read now: written by the kernel, up to the writer's position.
    window: Mapping,
    /// Where the window begins in the data.
    window_at: u64,
    /// Up to where records were read. The reader's position follows it.
    read: u64,
}

impl Ring {
    /// `fd` is the map's, `size` that of its data.
    pub fn new(fd: OwnedFd, size: u32) -> io::Result<Self> {
        let size = u64::from(size);
        if !size.is_power_of_two() || size < WINDOW {
            return Err(io::Error::other("the ring buffer is smaller than the window on it"));
        }
        let page = rustix::param::page_size() as u64;
        let reader = Mapping::new(fd.as_fd(), 0, page, ProtFlags::READ | ProtFlags::WRITE)?;
        let writer = Mapping::new(fd.as_fd(), page, page, ProtFlags::READ)?;
        let window = Mapping::new(fd.as_fd(), 2 * page, WINDOW, ProtFlags::READ)?;
        let read = reader.word(0).load(Ordering::Relaxed);
        Ok(Self { fd, size, reader, writer, window, window_at: 0, read })
    }

    /// The next record; `None` where there is no other, and then the descriptor becomes readable with the next.
    pub fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let mut header = self.header()?;
            if header.is_none() {
                // The kernel wakes the reader with a record that is at the reader's position. So the position comes
                // first, and then a look whether something came in between.
                self.give_back();
                fence(Ordering::SeqCst);
                header = self.header()?;
            }
            let Some(header) = header else { return Ok(None) };
            let length = u64::from(header & !(BUSY | DISCARDED));
            let start = self.reach(HEADER + length)? + HEADER;
            let record = (header & DISCARDED == 0).then(|| self.window.bytes(start, length));
            self.read += (HEADER + length).next_multiple_of(8);
            if self.read - self.reader.word(0).load(Ordering::Relaxed) >= ARREARS {
                self.give_back();
            }
            if record.is_some() {
                return Ok(record);
            }
        }
    }

    /// The header of the next record, if that is there as a whole.
    fn header(&mut self) -> io::Result<Option<u32>> {
        if self.read == self.writer.word(0).load(Ordering::Acquire) {
            return Ok(None);
        }
        let at = self.reach(HEADER)?;
        // Written last of a record.
        let bytes = self.window.word(at).load(Ordering::Acquire).to_ne_bytes();
        let header = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        Ok((header & BUSY == 0).then_some(header))
    }

    /// Lets the writer have what was read.
    fn give_back(&self) {
        self.reader.word(0).store(self.read, Ordering::Release);
    }

    /// Moves the window so that it has the next `length` bytes, and returns where in it they begin.
    fn reach(&mut self, length: u64) -> io::Result<u64> {
        let page = rustix::param::page_size() as u64;
        let at = self.read % self.size;
        if length > WINDOW - page {
            return Err(io::Error::other("a record is longer than the window on the ring buffer"));
        }
        if at < self.window_at || at + length > self.window_at + WINDOW {
            self.window_at = at - at % page;
            let offset = 2 * page + self.window_at;
            self.window = Mapping::new(self.fd.as_fd(), offset, WINDOW, ProtFlags::READ)?;
        }
        Ok(at - self.window_at)
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A part of the buffer's file. The kernel writes there meanwhile, so it is read as atomic words alone.
#[derive(Debug)]
struct Mapping(&'static [AtomicU64]);

impl Mapping {
    fn new(fd: BorrowedFd<'_>, offset: u64, length: u64, access: ProtFlags) -> io::Result<Self> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        // SAFETY: a new mapping at a place of the kernel's choice touches no memory that is in use.
        let start =
            unsafe { mmap(std::ptr::null_mut(), length, access, MapFlags::SHARED, fd, offset) }?;
        // SAFETY: `length` bytes are mapped from this page's start on until `drop`, and the slice does not leave this
        // value; atomics may change at any time. Nothing is stored where `access` does not allow it: see `give_back`.
        Ok(Self(unsafe {
            std::slice::from_raw_parts(start.cast(), length / size_of::<AtomicU64>())
        }))
    }

    /// The word at an offset that is a multiple of eight and in the mapping.
    fn word(&self, at: u64) -> &AtomicU64 {
        &self.0[usize::try_from(at / HEADER).unwrap_or(usize::MAX)]
    }

    fn bytes(&self, start: u64, length: u64) -> Bytes {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let first = usize::try_from(start / HEADER).unwrap_or(usize::MAX);
        let words = &self.0[first..][..length.div_ceil(size_of::<AtomicU64>())];
        let words = words.iter().map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
        let mut bytes: Vec<u8> = words.flatten().collect();
        bytes.truncate(length);
        bytes.into()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped, and nobody has a part of it any more.
        let unmapped = unsafe { munmap(self.0.as_ptr().cast_mut().cast(), size_of_val(self.0)) };
        if let Err(error) = unmapped {
            tracing::error!(%error, "Cannot unmap a part of the ring buffer.");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    /// The kernel's side of a ring buffer, on a file of the same shape.
    struct Writer {
        file: std::fs::File,
        size: u64,
        written: u64,
    }

    impl Writer {
        fn new(size: u64) -> (Self, Ring) {
            let page = rustix::param::page_size() as u64;
            let file = rustix::fs::memfd_create("ring", rustix::fs::MemfdFlags::CLOEXEC);
            let file: std::fs::File = file.expect("memfd").into();
            file.set_len(2 * page + 2 * size).expect("room");
            let fd = file.try_clone().expect("clone").into();
            let ring = Ring::new(fd, u32::try_from(size).expect("small")).expect("mapped");
            (Self { file, size, written: 0 }, ring)
        }

        fn position(&self, page: u64) -> u64 {
            let mut bytes = [0; 8];
            let page_size = rustix::param::page_size() as u64;
            self.file.read_exact_at(&mut bytes, page * page_size).expect("read");
            u64::from_ne_bytes(bytes)
        }

        /// Writes a record; false where there is no room.
        fn write(&mut self, bytes: &[u8], flags: u32) -> bool {
            let length = u32::try_from(bytes.len()).expect("short");
            let whole = (HEADER + u64::from(length)).next_multiple_of(8);
            if self.written + whole - self.position(0) > self.size {
                return false;
            }
            let mut record = (length | flags).to_ne_bytes().to_vec();
            record.extend([0xaa; 4]);
            record.extend(bytes);
            let page = rustix::param::page_size() as u64;
            for (byte, at) in record.iter().zip(self.written..) {
                for copy in [0, self.size] {
                    let place = 2 * page + at % self.size + copy;
                    self.file.write_all_at(&[*byte], place).expect("write");
                }
            }
            self.written += whole;
            self.file.write_all_at(&self.written.to_ne_bytes(), page).expect("write");
            true
        }
    }

    #[test]
    fn records_come_whole_and_in_order_over_the_windows_end_and_the_rings() {
        let (mut writer, mut ring) = Writer::new(WINDOW * 2);
        let record =
            |number: usize| vec![u8::try_from(number % 251).expect("small"); 1000 + number % 90];
        let mut read = 0;
        for number in 0..1500 {
            // Every seventh is taken back, as the kernel does with a record that nobody submits.
            let flags = if number % 7 == 3 { DISCARDED } else { 0 };
            while !writer.write(&record(number), flags) {
                while read % 7 == 3 {
                    read += 1;
                }
                assert_eq!(ring.next().expect("mapped"), Some(record(read).into()), "{read}");
                read += 1;
            }
        }
        let rest = std::iter::from_fn(|| ring.next().expect("mapped"));
        let expected = (read..1500).filter(|number| number % 7 != 3).map(record);
        assert!(rest.map(Vec::from).eq(expected));
        assert!(writer.written > 2 * writer.size, "it went round");
        assert_eq!(writer.position(0), writer.written, "all was given back");
    }

    #[test]
    fn a_record_that_is_being_written_and_what_follows_it_waits() {
        let (mut writer, mut ring) = Writer::new(WINDOW);
        assert!(
            writer.write(b"first", 0) && writer.write(b"second", BUSY) && writer.write(b"third", 0)
        );
        assert_eq!(ring.next().expect("mapped").as_deref(), Some(&b"first"[..]));
        assert_eq!(ring.next().expect("mapped"), None);
        let page = rustix::param::page_size() as u64;
        writer.file.write_all_at(&6u32.to_ne_bytes(), 2 * page + 16).expect("write");
        assert_eq!(ring.next().expect("mapped").as_deref(), Some(&b"second"[..]));
        assert_eq!(ring.next().expect("mapped").as_deref(), Some(&b"third"[..]));
        assert_eq!(ring.next().expect("mapped"), None);
    }

    #[test]
    fn what_cannot_be_a_ring_is_refused() {
        let (writer, _) = Writer::new(WINDOW);
        for size in [0, 3 << 20, u32::try_from(WINDOW).expect("small") / 2] {
            let fd = writer.file.try_clone().expect("clone").into();
            assert!(Ring::new(fd, size).is_err(), "{size}");
        }
        let (mut writer, mut ring) = Writer::new(WINDOW);
        writer.write(b"", u32::try_from(WINDOW).expect("small"));
        assert!(ring.next().is_err(), "longer than the window");
    }
}
