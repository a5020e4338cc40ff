//! Lists: those with room for answers, and field values, which are questions and answers at once.

use std::ffi::c_ulong;
use std::ptr::NonNull;

use nvml_wrapper_sys::bindings as sys;

use super::{Len, Shape, not_null};
use crate::engine::code::Code;

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

/// A list with room for as many items as the other arguments say that there can be.
#[derive(Debug)]
pub struct Roomy<T>(NonNull<T>);

impl<T> Shape for Roomy<T> {
    type C = *mut T;

    unsafe fn adopt(raw: *mut T) -> Result<Self, Code> {
        not_null(raw).map(Self)
    }
}

impl<T: Copy> Roomy<T> {
    /// `items` are no more than what the header promises room for.
    pub fn fill(self, items: &[T]) {
        // SAFETY: The list has that much room by the caller's promise, and does not overlap a slice of this library.
        unsafe { self.0.copy_from_nonoverlapping(NonNull::from(items).cast(), items.len()) };
    }
}

/// A set of numbers as bits of words; how many words there is room for is the [`Len`] before it.
#[derive(Debug)]
pub struct Words(NonNull<c_ulong>);

impl Shape for Words {
    type C = *mut c_ulong;

    unsafe fn adopt(raw: *mut c_ulong) -> Result<Self, Code> {
        not_null(raw).map(Self)
    }
}

impl Words {
    /// What there is room for beyond the set is 0; a set that does not fit is `INSUFFICIENT_SIZE`.
    pub fn fill(self, room: Len, words: &[u64]) -> Result<(), Code> {
        if words.len() > room.0 {
            return Err(Code::INSUFFICIENT_SIZE);
        }
        for position in 0..room.0 {
            let word = words.get(position).copied().unwrap_or(0);
            // SAFETY: The array has as many words as its length says, by the caller's promise.
            unsafe { self.0.add(position).write(word) };
        }
        Ok(())
    }
}

impl<T: Copy> List<T> {
    /// Fills what room there is, and says how many came in: what samples have instead of an error. Null asks how many there
    /// are.
    pub fn fill_room(self, count: &Count, items: &[T]) -> Result<(), Code> {
        let fitting = if self.0.is_null() { items.len() } else { items.len().min(count.room) };
        let written = u32::try_from(fitting).map_err(|_| Code::UNKNOWN)?;
        // SAFETY: Valid for writes of a count, by the caller's promise.
        unsafe { count.place.write(written) };
        if !self.0.is_null() {
            // SAFETY: The list has room for that many by the caller's promise; it does not overlap a slice of this library.
            unsafe { self.0.copy_from_nonoverlapping(items.as_ptr(), fitting) };
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::args::adopt;

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
    fn a_list_of_samples_is_filled_as_far_as_there_is_room() {
        for (has_list, mut room, written, filled) in [
            (false, 0_u32, 3, [0, 0]),
            (true, 2, 2, [1, 2]),
            (true, 1, 1, [1, 0]),
            (true, 0, 0, [0, 0]),
        ] {
            let mut list = [0_u8; 2];
            let place = if has_list { list.as_mut_ptr() } else { std::ptr::null_mut() };
            let count = adopt::<Count>(&raw mut room).unwrap();
            assert_eq!(List(place).fill_room(&count, &[1, 2, 3]), Ok(()));
            assert_eq!((room, list), (written, filled));
        }
    }
}
