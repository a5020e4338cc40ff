//! JSON in ASCII alone: what tenants and clients wrote cannot steer a terminal or hide in it.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// One value, on one line, without the line's end.
pub fn json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    Ok(value.serialize(&mut Serializer::with_formatter(out, Ascii))?)
}

struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // Control characters below the blank never come here: serde_json escapes them itself.
        let plain = |c: char| c.is_ascii() && c != '\x7f';
        let mut rest = fragment;
        while let Some(at) = rest.find(|c| !plain(c)) {
            let (before, after) = rest.split_at(at);
            out.write_all(before.as_bytes())?;
            let end = after.find(plain).unwrap_or(after.len());
            for unit in after[..end].encode_utf16() {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &after[end..];
        }
        out.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_ascii_and_says_the_same() {
        let text = "a\u{9b}31m\u{202e} ä\u{7f}\0\n\"𝄞\\ end";
        let mut line = Vec::new();
        json(&mut line, &text).unwrap();
        assert!(line.iter().all(|byte| (b' '..0x7f).contains(byte)), "{line:?}");
        assert_eq!(serde_json::from_slice::<String>(&line).unwrap(), text);
    }
}
