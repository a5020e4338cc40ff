//! Lines of any length and content, in constant memory.

use std::io::{self, BufRead as _, ErrorKind, Read};

use crate::xid::MAX_LINE;

/// What is read at a time: as much as a pipe holds, twice.
const CHUNK: usize = 128 << 10;

/// Splits a stream into lines. [`Self::read`] waits for more of it; [`Self::next`] then gives the lines that are whole.
#[derive(Debug)]
pub struct Lines<R> {
    source: R,
    buffer: Box<[u8]>,
    /// What is read and not given yet is `buffer[start..end]`.
    start: usize,
    end: usize,
    /// A line was given cut, and its rest is not read past yet.
    in_rest: bool,
    ended: bool,
}

/// One line without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// At most [`MAX_LINE`] bytes.
    pub bytes: &'a [u8],
    /// The line is longer than that.
    pub cut: bool,
}

impl<R: Read> Lines<R> {
    pub fn new(source: R) -> Self {
        Self {
            source,
            buffer: vec![0; CHUNK].into(),
            start: 0,
            end: 0,
            in_rest: false,
            ended: false,
        }
    }

    /// Reads on; false at the end of the stream, where its last line may still be to be given. Call it when
    /// [`Self::next`] has no more.
    pub fn read(&mut self) -> io::Result<bool> {
        // At most a line that is not whole yet: there is room behind it.
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let count = loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.end += count;
        self.ended = count == 0;
        Ok(!self.ended)
    }

    /// The next line, if there is a whole one, or as much of it as is looked at. The last may lack its line end.
    pub fn next(&mut self) -> Option<Line<'_>> {
        if self.in_rest {
            let (taken, whole) = line(&self.buffer[self.start..self.end]);
            self.start += taken;
            if !whole {
                return None;
            }
            self.in_rest = false;
        }
        let pending = &self.buffer[self.start..self.end];
        let (taken, whole) = line(pending);
        let bytes = if whole { &pending[..taken - 1] } else { &pending[..taken] };
        let cut = bytes.len() > MAX_LINE;
        if !whole && !cut && (!self.ended || bytes.is_empty()) {
            return None;
        }
        self.start += taken;
        self.in_rest = !whole && cut;
        Some(Line { bytes: &bytes[..bytes.len().min(MAX_LINE)], cut })
    }
}

/// How many bytes the first line in `bytes` has, with its end, and whether its end is there.
fn line(bytes: &[u8]) -> (usize, bool) {
    let mut rest = bytes;
    // The C library's memchr by way of the standard library. A slice is read without fail.
    let taken = rest.skip_until(b'\n').unwrap_or(bytes.len());
    (taken, taken > 0 && bytes[taken - 1] == b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives what it has in pieces of a size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len());
            self.0.read(&mut buffer[..length])
        }
    }

    fn lines(text: &[u8], piece: usize) -> Vec<(Vec<u8>, bool)> {
        let mut lines = Lines::new(Pieces(text, piece));
        let mut found = Vec::new();
        loop {
            let more = lines.read().unwrap();
            while let Some(Line { bytes, cut }) = lines.next() {
                found.push((bytes.to_vec(), cut));
            }
            if !more {
                return found;
            }
        }
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let long = [&b"x".repeat(MAX_LINE)[..], b"\n", &b"y".repeat(3 * CHUNK)].concat();
        let text = [b"a\n\nb\0\xff\n", &long[..], b"\nlast"].concat();
        let want = [
            (b"a".to_vec(), false),
            (Vec::new(), false),
            (b"b\0\xff".to_vec(), false),
            (b"x".repeat(MAX_LINE), false),
            (b"y".repeat(MAX_LINE), true),
            (b"last".to_vec(), false),
        ];
        for piece in [1, 7, 4096, MAX_LINE, CHUNK] {
            assert_eq!(lines(&text, piece), want, "in pieces of {piece}");
        }
    }

    #[test]
    fn an_end_makes_no_line_of_its_own() {
        assert_eq!(lines(b"", 1), []);
        assert_eq!(lines(b"\n", 1), [(Vec::new(), false)]);
        assert_eq!(lines(b"a\n", 1), [(b"a".to_vec(), false)]);
        let endless = b"z".repeat(2 * CHUNK);
        assert_eq!(lines(&endless, CHUNK), [(b"z".repeat(MAX_LINE), true)]);
    }
}
