//! Bytes of a kernel line: the reader that walks them and the piece that is kept of them.

use std::fmt;
use std::fmt::Write as _;

/// A piece of a kernel line.
///
/// A line is bytes and not text: the driver prints a process name as the kernel has it, and a process may put any byte
/// into its own name. So a piece is kept as it came, bounded in length by whoever cut it out, and made readable only
/// when it is shown: [`fmt::Display`] replaces what is not UTF-8 with `\xNN` and control characters, zero-width
/// characters and direction marks with `\u{…}`. What is shown therefore is one line, in the order it was written.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// The longest message that is kept: the kernel's own limit for the text of one record (`LOG_LINE_MAX`, 1024 less
    /// a prefix), so that only a line no kernel wrote is cut.
    pub const MAX_MESSAGE: usize = 1024;
    /// The longest process name that is kept: `NV_PROC_NAME_MAX_LENGTH` in the driver. Linux itself gives 15.
    pub const MAX_NAME: usize = 100;

    pub(super) fn bounded(bytes: &'a [u8], max: usize) -> Self {
        Self(&bytes[..bytes.len().min(max)])
    }

    /// The bytes as they stood in the line.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Whether nothing stood there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if is_unseen(character) {
                    write!(f, "{}", character.escape_unicode())?;
                } else {
                    f.write_char(character)?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Control characters, zero-width characters, line and paragraph separators and direction overrides.
fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Walks bytes from left to right. Nothing here allocates, and nothing can panic: at the end every step says no.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn peek(self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Steps over `literal` if it stands here.
    pub(super) fn eat(&mut self, literal: &[u8]) -> bool {
        match self.rest.strip_prefix(literal) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// As [`Self::eat`], for use with `?`.
    pub(super) fn expect(&mut self, literal: &[u8]) -> Option<()> {
        self.eat(literal).then_some(())
    }

    /// Steps over blanks and tabs.
    pub(super) fn spaces(&mut self) {
        self.take_while(|byte| byte == b' ' || byte == b'\t');
    }

    pub(super) fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|&byte| !keep(byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// What stands before the next `literal`, which is stepped over too.
    pub(super) fn until(&mut self, literal: &[u8]) -> Option<&'a [u8]> {
        let at = find(self.rest, literal)?;
        let taken = &self.rest[..at];
        self.rest = &self.rest[at + literal.len()..];
        Some(taken)
    }

    /// Steps to behind the next `literal`.
    pub(super) fn skip_to(&mut self, literal: &[u8]) -> Option<()> {
        self.until(literal).map(|_| ())
    }

    /// The next word: up to a blank or the end.
    pub(super) fn word(&mut self) -> &'a [u8] {
        self.take_while(|byte| byte != b' ' && byte != b'\t')
    }

    /// A decimal number that fits into 32 bits; with too many digits nothing is stepped over.
    pub(super) fn decimal(&mut self) -> Option<u32> {
        let before = self.rest;
        let value = decimal(self.take_while(|byte| byte.is_ascii_digit()));
        if value.is_none() {
            self.rest = before;
        }
        value
    }

    /// A decimal number with or without a minus before it.
    pub(super) fn signed(&mut self) -> Option<i32> {
        let before = self.rest;
        let minus = self.eat(b"-");
        let value = self.decimal().and_then(|value| i32::try_from(value).ok());
        if value.is_none() {
            self.rest = before;
        }
        value.map(|value| if minus { -value } else { value })
    }

    /// A hexadecimal number with or without `0x` before it, up to 64 bits.
    pub(super) fn hex(&mut self) -> Option<u64> {
        let before = self.rest;
        if !self.eat(b"0x") {
            self.eat(b"0X");
        }
        let value = hex(self.take_while(|byte| byte.is_ascii_hexdigit()));
        if value.is_none() {
            self.rest = before;
        }
        value
    }

    /// As [`Self::hex`], of what fits into 32 bits.
    pub(super) fn hex32(&mut self) -> Option<u32> {
        let before = self.rest;
        let value = self.hex().and_then(|value| u32::try_from(value).ok());
        if value.is_none() {
            self.rest = before;
        }
        value
    }
}

/// Where `needle` first stands in `hay`. Used on driver lines alone, which are rare and short.
pub(super) fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    let (first, others) = needle.split_first()?;
    let mut from = 0;
    loop {
        from += hay[from..].iter().position(|byte| byte == first)?;
        if hay[from + 1..].starts_with(others) {
            return Some(from);
        }
        from += 1;
    }
}

pub(super) fn contains(hay: &[u8], needle: &[u8]) -> bool {
    find(hay, needle).is_some()
}

/// All of `digits` as a decimal number.
pub(super) fn decimal(digits: &[u8]) -> Option<u32> {
    u32::try_from(decimal64(digits)?).ok()
}

/// All of `digits` as a decimal number.
pub(super) fn decimal64(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// All of `digits` as a hexadecimal number.
pub(super) fn hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, &byte| {
        let digit = char::from(byte).to_digit(16)?;
        Some(value << 4 | u64::from(digit))
    })
}

/// `bytes` without blanks, line ends and NULs at its end.
pub(super) fn trim_end(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&byte| !byte.is_ascii_whitespace() && byte != 0);
    &bytes[..end.map_or(0, |last| last + 1)]
}
