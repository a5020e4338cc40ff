//! How arguments cross the boundary.
//!
//! A [`Shape`] is made of a raw C argument in one place, [`export!`](super::export), where the caller's promise holds
//! that the pointer is good. From then on the shape stands for that promise, its constructor being the only way to it,
//! and its methods are safe. Nothing is written before a call has succeeded, but the counts and versions by which NVML
//! says how much room it wants.

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::ptr::NonNull;

use nvml_wrapper_sys::bindings as sys;

use crate::engine::code::Code;

/// One argument of an exported function.
pub trait Shape: Sized {
    /// Its type in C.
    type C;

    /// # Safety
    /// `raw` is what a caller of NVML gave for this argument, who obeys NVML's header, and the shape does not outlive
    /// the call.
    unsafe fn adopt(raw: Self::C) -> Result<Self, Code>;
}

macro_rules! by_value {
    ($($number:ty),*) => {
        $(impl Shape for $number {
            type C = Self;

            unsafe fn adopt(raw: Self) -> Result<Self, Code> {
                Ok(raw)
            }
        })*
    };
}
by_value!(u32, u64, i32);

fn not_null<T>(raw: *mut T) -> Result<NonNull<T>, Code> {
    NonNull::new(raw).ok_or(Code::INVALID_ARGUMENT)
}

/// Where the caller wants one value.
#[derive(Debug)]
pub struct Out<T>(NonNull<T>);

impl<T> Shape for Out<T> {
    type C = *mut T;

    unsafe fn adopt(raw: *mut T) -> Result<Self, Code> {
        not_null(raw).map(Self)
    }
}

impl<T: Copy> Out<T> {
    /// The last thing a function does; the result is its result.
    pub fn set(self, value: T) -> Result<(), Code> {
        // SAFETY: Valid for writes of a `T`, by the caller's promise.
        unsafe { self.0.write(value) };
        Ok(())
    }
}

/// A text from the caller.
#[derive(Debug)]
pub struct Str(String);

impl Shape for Str {
    type C = *const c_char;

    unsafe fn adopt(raw: *const c_char) -> Result<Self, Code> {
        not_null(raw.cast_mut())?;
        // SAFETY: Not null, and ends in a null by the caller's promise.
        let text = unsafe { CStr::from_ptr(raw) };
        text.to_str().map(|text| Self(text.to_owned())).map_err(|_| Code::INVALID_ARGUMENT)
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A buffer for a text; its length is the argument after it, a [`Len`].
#[derive(Debug)]
pub struct Text(NonNull<c_char>);

impl Shape for Text {
    type C = *mut c_char;

    unsafe fn adopt(raw: *mut c_char) -> Result<Self, Code> {
        not_null(raw).map(Self)
    }
}

/// The length of the [`Text`] before it, its null included.
#[derive(Clone, Copy, Debug)]
pub struct Len(usize);

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

/// Room in a list, and what was needed: NVML's size query.
#[derive(Debug)]
pub struct Count {
    place: NonNull<u32>,
    room: usize,
}

impl Shape for Count {
    type C = *mut u32;

    unsafe fn adopt(raw: *mut u32) -> Result<Self, Code> {
        let place = not_null(raw)?;
        // SAFETY: Valid for reads of a count, by the caller's promise.
        let room = unsafe { place.read() };
        Ok(Self { place, room: usize::try_from(room).map_err(|_| Code::INVALID_ARGUMENT)? })
    }
}

impl Count {
    /// Whether `needed` fits. Says how many there are in either case.
    fn announce(&self, needed: usize, has_list: bool) -> Result<(), Code> {
        let announced = u32::try_from(needed).map_err(|_| Code::UNKNOWN)?;
        // SAFETY: Valid for writes of a count, by the caller's promise.
        unsafe { self.place.write(announced) };
        if needed > self.room || (needed > 0 && !has_list) {
            Err(Code::INSUFFICIENT_SIZE)
        } else {
            Ok(())
        }
    }
}

/// A list whose room is a [`Count`]. Null asks how long it is.
#[derive(Debug)]
pub struct List<T>(*mut T);

impl<T> Shape for List<T> {
    type C = *mut T;

    unsafe fn adopt(raw: *mut T) -> Result<Self, Code> {
        Ok(Self(raw))
    }
}

impl<T: Copy> List<T> {
    pub fn fill(self, count: &Count, items: &[T]) -> Result<(), Code> {
        count.announce(items.len(), !self.0.is_null())?;
        if !items.is_empty() {
            // SAFETY: The list is not null and has room for that many by the caller's promise; it does not overlap a
            // slice of this library.
            unsafe { self.0.copy_from_nonoverlapping(items.as_ptr(), items.len()) };
        }
        Ok(())
    }
}

/// A struct that begins with the version its caller knows: the only bytes that may be written are those of this
/// version, and a version that nobody knows, zero included, is `ARGUMENT_VERSION_MISMATCH`.
#[derive(Debug)]
pub struct Tagged<T> {
    place: NonNull<u32>,
    tag: u32,
    latest: PhantomData<T>,
}

impl<T> Shape for Tagged<T> {
    type C = *mut T;

    unsafe fn adopt(raw: *mut T) -> Result<Self, Code> {
        let place = not_null(raw)?.cast::<u32>();
        // SAFETY: Every version of such a struct begins with its version, by NVML's convention.
        let tag = unsafe { place.read() };
        Ok(Self { place, tag, latest: PhantomData })
    }
}

/// A struct with a version: `sizeof(struct) | version << 24`, NVML's `NVML_STRUCT_VERSION`.
///
/// # Safety
/// The struct is the one that callers pass under [`TAG`](Versioned::TAG), and begins with it.
pub unsafe trait Versioned: Copy {
    const TAG: u32;
}

macro_rules! versioned {
    ($($name:ident = $version:literal, $size:literal bytes;)*) => {
        $(
            const _: () = assert!(size_of::<sys::$name>() == $size, "not the size NVML documents");

            // SAFETY: Version, size and first field are those of the header; the size is checked above.
            unsafe impl Versioned for sys::$name {
                const TAG: u32 = $version << 24 | $size;
            }
        )*
    };
}

versioned! {
    nvmlMemory_v2_t = 2, 40 bytes;
    nvmlTemperature_v1_t = 1, 12 bytes;
    nvmlMarginTemperature_v1_t = 1, 8 bytes;
    nvmlEccSramErrorStatus_v1_t = 1, 104 bytes;
    nvmlRepairStatus_v1_t = 1, 12 bytes;
    nvmlGpuFabricInfo_v2_t = 2, 36 bytes;
    nvmlGpuFabricInfo_v3_t = 3, 40 bytes;
    nvmlSystemDriverBranchInfo_v1_t = 1, 84 bytes;
}

impl<T> Tagged<T> {
    /// The version that the caller knows.
    #[must_use]
    pub fn tag(&self) -> u32 {
        self.tag
    }

    fn check<V: Versioned>(&self) -> Result<(), Code> {
        if self.tag == V::TAG { Ok(()) } else { Err(Code::ARGUMENT_VERSION_MISMATCH) }
    }

    /// What the caller has put in.
    pub fn read<V: Versioned>(&self) -> Result<V, Code> {
        self.check::<V>()?;
        // SAFETY: The tag says that a `V` is there, and the caller vouches for the tag.
        Ok(unsafe { self.place.cast::<V>().read() })
    }

    pub fn set<V: Versioned>(self, value: V) -> Result<(), Code> {
        self.check::<V>()?;
        // SAFETY: As in `read`.
        unsafe { self.place.cast::<V>().write(value) };
        Ok(())
    }
}

/// Field values: each entry says what is asked and has room for the answer. The count is the argument before it.
#[derive(Debug)]
pub struct Fields(NonNull<sys::nvmlFieldValue_t>);

impl Shape for Fields {
    type C = *mut sys::nvmlFieldValue_t;

    unsafe fn adopt(raw: Self::C) -> Result<Self, Code> {
        not_null(raw).map(Self)
    }
}

/// The number of [`Fields`].
#[derive(Debug)]
pub struct FieldCount(usize);

impl Shape for FieldCount {
    type C = i32;

    unsafe fn adopt(raw: i32) -> Result<Self, Code> {
        usize::try_from(raw).ok().filter(|count| *count > 0).map(Self).ok_or(Code::INVALID_ARGUMENT)
    }
}

impl Fields {
    /// Lets `answer` turn each question into the entry that answers it.
    pub fn answer(
        self,
        count: &FieldCount,
        mut answer: impl FnMut(sys::nvmlFieldValue_t) -> sys::nvmlFieldValue_t,
    ) {
        for position in 0..count.0 {
            // SAFETY: The array has `count` entries, valid for reads and writes, by the caller's promise.
            let entry = unsafe { self.0.add(position) };
            // SAFETY: As above. Every bit pattern of an entry is a value.
            let question = unsafe { entry.read() };
            // SAFETY: As above.
            unsafe { entry.write(answer(question)) };
        }
    }
}

/// The handle of an event set. It carries a number and points at nothing.
#[derive(Clone, Copy, Debug)]
pub struct SetHandle(pub usize);

impl Shape for SetHandle {
    type C = sys::nvmlEventSet_t;

    unsafe fn adopt(raw: sys::nvmlEventSet_t) -> Result<Self, Code> {
        not_null(raw).map(|raw| Self(raw.addr().get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adopt<S: Shape>(raw: S::C) -> Result<S, Code> {
        // SAFETY: The tests below pass pointers to live locals, or null.
        unsafe { S::adopt(raw) }
    }

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

    #[test]
    fn a_list_says_how_much_room_it_needs() {
        let mut room = 0_u32;
        let count = adopt::<Count>(&raw mut room).unwrap();
        assert_eq!(
            List(std::ptr::null_mut()).fill(&count, &[1_u8, 2]),
            Err(Code::INSUFFICIENT_SIZE)
        );
        assert_eq!(room, 2);
        let mut list = [0_u8; 3];
        room = 3;
        let count = adopt::<Count>(&raw mut room).unwrap();
        assert_eq!(List(list.as_mut_ptr()).fill(&count, &[1, 2]), Ok(()));
        assert_eq!((room, list), (2, [1, 2, 0]));
        let count = adopt::<Count>(&raw mut room).unwrap();
        assert_eq!(List::<u8>(std::ptr::null_mut()).fill(&count, &[]), Ok(()));
        assert_eq!(room, 0);
    }

    #[test]
    fn only_the_bytes_of_the_callers_version_are_written() {
        // A caller who knows version 2 has 36 bytes; what follows is somebody else's.
        let mut memory = [0x5555_5555_u32; 10];
        memory[0] = sys::nvmlGpuFabricInfo_v2_t::TAG;
        // SAFETY: Plain integers, for which zero is a value.
        let mut answer: sys::nvmlGpuFabricInfo_v2_t = unsafe { std::mem::zeroed() };
        answer.version = sys::nvmlGpuFabricInfo_v2_t::TAG;
        let raw = memory.as_mut_ptr().cast::<sys::nvmlGpuFabricInfo_v3_t>();
        adopt::<Tagged<_>>(raw).unwrap().set(answer).unwrap();
        assert_eq!((memory[1], memory[9]), (0, 0x5555_5555));
    }

    #[test]
    fn a_version_nobody_knows_is_refused() {
        for tag in [0, 1, sys::nvmlMemory_v2_t::TAG + 1, sys::nvmlGpuFabricInfo_v3_t::TAG] {
            let mut memory = [0_u64; 5];
            memory[0] = u64::from(tag);
            let raw = memory.as_mut_ptr().cast::<sys::nvmlMemory_v2_t>();
            let tagged = adopt::<Tagged<_>>(raw).unwrap();
            assert_eq!(
                tagged.read::<sys::nvmlMemory_v2_t>().err(),
                Some(Code::ARGUMENT_VERSION_MISMATCH)
            );
            assert_eq!(memory[1..], [0; 4]);
        }
    }

    #[test]
    fn null_is_an_invalid_argument() {
        assert_eq!(adopt::<Out<u32>>(std::ptr::null_mut()).err(), Some(Code::INVALID_ARGUMENT));
        assert_eq!(adopt::<Str>(std::ptr::null()).err(), Some(Code::INVALID_ARGUMENT));
        assert_eq!(
            adopt::<Tagged<sys::nvmlMemory_v2_t>>(std::ptr::null_mut()).err(),
            Some(Code::INVALID_ARGUMENT)
        );
    }
}
