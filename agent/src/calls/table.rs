//! A table of names by number, searched as the text that it is.
//!
//! A table is a data file: comments at its top, then a line for each number, sorted: eight hexadecimal digits, a tab, the
//! name. It is never read into anything: a look-up takes a dozen halvings of the text, and only failures and stalls are
//! looked up.

/// The name of a number; `None`: it is in no line.
pub(super) fn find(table: &'static str, number: u32) -> Option<&'static str> {
    let (mut low, mut high) = (0, table.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = table.get(..middle)?.rfind('\n').map_or(0, |at| at + 1);
        let end = table.get(middle..)?.find('\n').map_or(table.len(), |at| middle + at);
        match entry(table.get(start..end)?) {
            Some((found, name)) if found == number => return Some(name),
            Some((found, _)) if found > number => high = start,
            // Smaller, or one of the comments at the top.
            _ => low = end + 1,
        }
    }
    None
}

/// A line's number and name; `None` for a comment.
pub(super) fn entry(line: &str) -> Option<(u32, &str)> {
    let (number, name) = line.split_once('\t')?;
    Some((u32::from_str_radix(number, 16).ok()?, name))
}
