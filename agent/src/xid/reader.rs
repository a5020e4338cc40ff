//! The reader that walks the bytes of a line.

/// Walks bytes from left to right. Nothing here allocates, and nothing can panic: at the end every
/// step says no.
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
