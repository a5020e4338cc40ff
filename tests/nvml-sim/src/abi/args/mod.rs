//! How arguments cross the boundary.
//!
//! A [`Shape`] is made of a raw C argument in one place, [`export`](super::export), where the caller's promise holds
//! that the pointer is good. From then on the shape stands for that promise, its constructor being the only way to it,
//! and its methods are safe. Nothing is written before a call has succeeded, but the counts and versions by which NVML
//! says how much room it wants.

use std::ffi::{CStr, c_char};
use std::ptr::NonNull;

use nvml_wrapper_sys::bindings as sys;

use crate::engine::code::Code;

mod list;
mod text;
mod versioned;

pub use list::{Count, FieldCount, Fields, List, Roomy};
pub use text::{FixedText, Len, Text, array};
pub use versioned::{Tagged, Versioned};

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
    /// The same place as another struct of the same size, one without padding: Rust leaves in padding what was there,
    /// and clients read it.
    pub fn seen_as<U>(self) -> Out<U> {
        const { assert!(size_of::<T>() == size_of::<U>() && align_of::<T>() >= align_of::<U>()) };
        Out(self.0.cast())
    }

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

/// The handle of an event set. It carries a number and points at nothing.
#[derive(Clone, Copy, Debug)]
pub struct SetHandle(pub usize);

impl Shape for SetHandle {
    type C = sys::nvmlEventSet_t;

    unsafe fn adopt(raw: sys::nvmlEventSet_t) -> Result<Self, Code> {
        not_null(raw).map(|raw| Self(raw.addr().get()))
    }
}

/// The handle of a GPU instance: a number too.
#[derive(Clone, Copy, Debug)]
pub struct InstanceHandle(pub usize);

impl Shape for InstanceHandle {
    type C = sys::nvmlGpuInstance_t;

    unsafe fn adopt(raw: sys::nvmlGpuInstance_t) -> Result<Self, Code> {
        not_null(raw).map(|raw| Self(raw.addr().get()))
    }
}

/// For tests: an argument as a caller would pass it.
#[cfg(test)]
fn adopt<S: Shape>(raw: S::C) -> Result<S, Code> {
    // SAFETY: The tests pass pointers to live locals, or null.
    unsafe { S::adopt(raw) }
}

#[cfg(test)]
mod tests {
    use super::*;

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
