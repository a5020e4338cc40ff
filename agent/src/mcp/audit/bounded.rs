//! What a client sends, as much of it as a line has room for.

use std::io::{self, Write};

use serde_json::Value;

use crate::mcp::ascii;

/// As much of a text as takes `limit` bytes within a line, with a mark where it was cut.
pub fn cut(text: &str, limit: usize) -> String {
    const MARK: char = '…';
    let mut left = limit;
    let fits = text.char_indices().take_while(|(_, c)| {
        let taken = left.checked_sub(cost(*c));
        left = taken.unwrap_or(0);
        taken.is_some()
    });
    let end = fits.last().map_or(0, |(at, c)| at + c.len_utf8());
    if end == text.len() { text.to_owned() } else { format!("{}{MARK}", &text[..end]) }
}

/// What a character takes in a JSON string of ASCII.
fn cost(c: char) -> usize {
    match c {
        '"' | '\\' => 2,
        ' '..='~' => 1,
        _ => 6 * c.len_utf16(),
    }
}

/// The arguments where they take at most `limit` bytes, else their beginning as a string and how many bytes they take.
pub fn arguments(value: &Value, limit: usize) -> (Value, Option<usize>) {
    let mut head = Head { bytes: Vec::new(), limit, total: 0 };
    // It takes everything.
    let _ = ascii::json(&mut head, value);
    if head.total <= limit {
        return (value.clone(), None);
    }
    (Value::String(cut(&String::from_utf8_lossy(&head.bytes), limit)), Some(head.total))
}

/// Keeps the beginning of what is written and counts the rest.
struct Head {
    bytes: Vec<u8>,
    limit: usize,
    total: usize,
}

impl Write for Head {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // One more than the limit, so that it is seen to be cut.
        let room = (self.limit + 1).saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.total += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_takes_no_more_than_it_may() {
        for (text, limit, cut_to) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "abc…"),
            ("a\"b", 3, "a\"…"),
            ("\0\0", 11, "\0…"),
            ("ä𝄞", 18, "ä𝄞"),
            ("ä𝄞", 17, "ä…"),
            ("", 0, ""),
            ("a", 0, "…"),
        ] {
            assert_eq!(cut(text, limit), cut_to, "{text:?} in {limit}");
        }
    }

    #[test]
    fn arguments_are_whole_or_a_string_of_their_beginning() {
        let value = serde_json::json!({"gpu": "ä"});
        // {"gpu":"\u00e4"}
        assert_eq!(arguments(&value, 16), (value.clone(), None));
        assert_eq!(arguments(&value, 15), (Value::from("{\"gpu\":\"\\u0…"), Some(16)));
    }
}
