//! The line that is being typed: as much of an editor as a person needs to mend a slip.
//!
//! Enter ends it, Backspace takes back a character and Ctrl-U the whole, Ctrl-D on an empty one is the end. Other keys that
//! are no text (arrows, function keys, Tab) do nothing, so that no control character gets into a message.

/// More than a request may have: what is longer goes on as it comes.
const LONGEST: usize = 2 << 20;

// What Ctrl-D, Ctrl-H and so on send.
const END: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const KILL: u8 = 0x15;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

#[derive(Debug)]
pub struct Line {
    text: Vec<u8>,
    /// The terminal's own idea of Backspace.
    erase: u8,
    key: Key,
}

/// In the middle of what a key that is no text sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    None,
    Escape,
    /// `ESC [` or `ESC O`, up to a letter or `~`.
    Sequence,
}

/// What a key has led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    More,
    Line(Vec<u8>),
    /// The beginning of a line that is too long to be kept.
    Part(Vec<u8>),
    End,
}

impl Line {
    pub fn new(erase: u8) -> Self {
        Self { text: Vec::new(), erase, key: Key::None }
    }

    pub fn typed(&self) -> &[u8] {
        &self.text
    }

    /// Takes keys up to the next that leads to something. `echo` is what the terminal has to show.
    pub fn take(&mut self, keys: &mut &[u8], echo: &mut Vec<u8>) -> Step {
        while let Some((&key, rest)) = keys.split_first() {
            *keys = rest;
            let step = self.press(key, echo);
            if step != Step::More {
                return step;
            }
        }
        Step::More
    }

    fn press(&mut self, key: u8, echo: &mut Vec<u8>) -> Step {
        match (self.key, key) {
            (Key::Escape, b'[' | b'O') => self.key = Key::Sequence,
            (Key::Escape, _) | (Key::Sequence, b'@'..=b'~') => self.key = Key::None,
            (Key::Sequence, b' '..=b'?') => {}
            (_, b'\n') => {
                self.key = Key::None;
                echo.push(b'\n');
                return Step::Line(std::mem::take(&mut self.text));
            }
            (_, ESCAPE) => self.key = Key::Escape,
            (_, END) if self.text.is_empty() => return Step::End,
            (_, KILL) if !self.text.is_empty() => {
                echo.extend(b"^U\n");
                self.text.clear();
            }
            (_, key) if [self.erase, BACKSPACE, DELETE].contains(&key) => self.take_back(echo),
            (_, b' '..) => {
                self.key = Key::None;
                self.text.push(key);
                echo.push(key);
                if self.text.len() == LONGEST {
                    return Step::Part(std::mem::take(&mut self.text));
                }
            }
            _ => {}
        }
        Step::More
    }

    /// Takes back a character, which may be several bytes.
    fn take_back(&mut self, echo: &mut Vec<u8>) {
        let Some(start) = self.text.iter().rposition(|byte| byte & 0xc0 != 0x80) else { return };
        self.text.truncate(start);
        echo.extend(b"\x08 \x08");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in the line after these keys, and what was shown.
    fn after(keys: &[u8]) -> (Step, String, String) {
        let (mut line, mut echo) = (Line::new(0x7f), Vec::new());
        let step = line.take(&mut &*keys, &mut echo);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (step, text(line.typed()), text(&echo))
    }

    #[test]
    fn keys_make_a_line_and_mend_it() {
        for (keys, typed, shown) in [
            ("ab\x7f", "a", "ab\x08 \x08"),
            ("aä\x08", "a", "aä\x08 \x08"),
            ("\x7f\x7fa", "a", "a"),
            ("abc\x15d", "d", "abc^U\nd"),
            ("\x15a", "a", "a"),
            ("a\x1b[Ab\x1b[3~c\x1bOPd", "abcd", "abcd"),
            ("a\x1bxb\x00\x01\tc\x04", "abc", "abc"),
            ("𝄞\x7f\x7f", "", "𝄞\x08 \x08"),
        ] {
            assert_eq!(
                after(keys.as_bytes()),
                (Step::More, typed.to_owned(), shown.to_owned()),
                "{keys:?}"
            );
        }
    }

    #[test]
    fn enter_ends_the_line_and_ctrl_d_an_empty_one() {
        let (mut line, mut echo) = (Line::new(0x7f), Vec::new());
        let mut keys = &b"ab\ncd\n\x04"[..];
        for step in [Step::Line(b"ab".to_vec()), Step::Line(b"cd".to_vec()), Step::End] {
            assert_eq!(line.take(&mut keys, &mut echo), step);
        }
        assert_eq!((keys, echo), (&b""[..], b"ab\ncd\n".to_vec()));
    }

    #[test]
    fn a_line_without_end_goes_on_in_parts() {
        let keys = vec![b'x'; LONGEST + 1];
        let (step, rest, _) = after(&keys[..LONGEST]);
        assert_eq!((step, rest.as_str()), (Step::Part(keys[1..].to_vec()), ""));
    }
}
