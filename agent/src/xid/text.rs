//! What is kept of a line's bytes.

use std::fmt;
use std::fmt::Write as _;

/// A piece of a kernel line.
///
/// A line is bytes and not text: the driver prints a process name as the kernel has it, and a
/// process may put any byte into its own name. So a piece is kept as it came, bounded in length by
/// whoever cut it out, and made readable only when it is shown: [`fmt::Display`] replaces what is
/// not UTF-8 with `\xNN` and control characters, zero-width characters and direction marks with
/// `\u{…}`. What is shown therefore is one line, in the order it was written.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// The longest message that is kept: the kernel's own limit for the text of one record
    /// (`LOG_LINE_MAX`, 1024 less a prefix), so that only a line no kernel wrote is cut.
    pub const MAX_MESSAGE: usize = 1024;
    /// The longest process name that is kept: `NV_PROC_NAME_MAX_LENGTH` in the driver. Linux itself
    /// gives 15.
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

/// Control characters, zero-width characters, line and paragraph separators and direction
/// overrides; and Unicode's tags, in which a whole sentence can stand where a person sees nothing
/// and a language model reads it.
fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2069}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}
