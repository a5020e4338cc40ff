//! Texts that go out.

use std::ffi::c_char;
use std::ptr::NonNull;

use super::{Shape, not_null};
use crate::engine::code::Code;

/// A buffer for a text; its length is the argument after it, a [`Len`].
#[derive(Debug)]
pub struct Text(NonNull<c_char>);

impl Shape for Text {
    type C = *mut c_char;

    unsafe fn adopt(raw: *mut c_char) -> Result<Self, Code> {
        not_null(raw).map(Self)
    }
}

/// The length of the [`Text`] before it, its null included; or of the words after it.
#[derive(Clone, Copy, Debug)]
pub struct Len(pub(super) usize);

impl Shape for Len {
    type C = u32;

    unsafe fn adopt(raw: u32) -> Result<Self, Code> {
        usize::try_from(raw).map(Self).map_err(|_| Code::INVALID_ARGUMENT)
    }
}

impl Text {
    /// A text that does not fit is `INSUFFICIENT_SIZE` and not cut.
    pub fn put(self, length: Len, text: &str) -> Result<(), Code> {
        if text.len() >= length.0 {
            return Err(Code::INSUFFICIENT_SIZE);
        }
        let start = self.0.cast::<u8>();
        // SAFETY: The buffer holds `length` bytes by the caller's promise, which is more than the text has. A string
        // of this library does not overlap the caller's memory.
        unsafe {
            start.copy_from_nonoverlapping(NonNull::from(text.as_bytes()).cast(), text.len());
            start.add(text.len()).write(0);
        }
        Ok(())
    }
}

/// A text in an array inside a struct, filled up with nulls, of which there is at least one.
pub fn array<const N: usize>(text: &str) -> Result<[c_char; N], Code> {
    if text.len() >= N {
        return Err(Code::INSUFFICIENT_SIZE);
    }
    let mut array = [0; N];
    for (place, byte) in array.iter_mut().zip(text.bytes()) {
        *place = c_char::from_ne_bytes([byte]);
    }
    Ok(array)
}

/// A buffer for a text whose length the header fixes at `N`.
#[derive(Debug)]
pub struct FixedText<const N: usize>(NonNull<c_char>);

impl<const N: usize> Shape for FixedText<N> {
    type C = *mut c_char;

    unsafe fn adopt(raw: *mut c_char) -> Result<Self, Code> {
        not_null(raw).map(Self)
    }
}

impl<const N: usize> FixedText<N> {
    pub fn put(self, text: &str) -> Result<(), Code> {
        Text(self.0).put(Len(N), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::args::adopt;

    #[test]
    fn a_text_fits_with_its_null_or_is_refused_untouched() {
        let mut buffer = [0x55_u8; 8];
        let raw = buffer.as_mut_ptr().cast::<c_char>();
        adopt::<Text>(raw).unwrap().put(Len(5), "H100").unwrap();
        assert_eq!(&buffer, b"H100\0\x55\x55\x55");
        let raw = buffer.as_mut_ptr().cast::<c_char>();
        assert_eq!(adopt::<Text>(raw).unwrap().put(Len(4), "A100"), Err(Code::INSUFFICIENT_SIZE));
        assert_eq!(&buffer, b"H100\0\x55\x55\x55");
    }
}
