//! Structs that say which version of themselves they are.

use std::marker::PhantomData;
use std::ptr::NonNull;

use nvml_wrapper_sys::bindings as sys;

use super::{Shape, not_null};
use crate::engine::code::Code;

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
    nvmlFanSpeedInfo_v1_t = 1, 12 bytes;
    nvmlEccSramErrorStatus_v1_t = 1, 104 bytes;
    nvmlRepairStatus_v1_t = 1, 12 bytes;
    nvmlGpuFabricInfo_v2_t = 2, 36 bytes;
    nvmlGpuFabricInfo_v3_t = 3, 40 bytes;
    nvmlSystemDriverBranchInfo_v1_t = 1, 84 bytes;
    nvmlGpuInstanceProfileInfo_v2_t = 2, 152 bytes;
    nvmlGpuInstanceProfileInfo_v3_t = 3, 152 bytes;
    nvmlPlatformInfo_v2_t = 2, 44 bytes;
    nvmlSystemConfComputeSettings_v1_t = 1, 20 bytes;
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

    /// Writes version `V` as another struct of the same size, one without padding, see [`Out::seen_as`](super::Out).
    pub fn set_as<V: Versioned, U>(self, value: U) -> Result<(), Code> {
        const { assert!(size_of::<V>() == size_of::<U>() && align_of::<V>() >= align_of::<U>()) };
        self.check::<V>()?;
        // SAFETY: As in `read`; a `U` takes as many bytes, on the same boundary.
        unsafe { self.place.cast::<U>().write(value) };
        Ok(())
    }

    pub fn set<V: Versioned>(self, value: V) -> Result<(), Code> {
        self.check::<V>()?;
        // SAFETY: As in `read`.
        unsafe { self.place.cast::<V>().write(value) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::args::adopt;

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
}
