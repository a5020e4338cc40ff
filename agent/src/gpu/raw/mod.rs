//! The NVML calls that nvml-wrapper does not wrap: all of this room's `unsafe` but one symbol look-up.
//!
//! Each function takes its symbol through `.as_ref()`, so that a driver too old to have it is an error and not a panic,
//! and each versioned struct carries the tag NVML expects: its size, and its version in the top byte.

mod events;
mod fabric;
pub mod fields;
mod health;
pub mod identity;
mod memory;
pub mod mig;
mod processes;
mod samples;
mod topology;

use nvml_wrapper::{
    Device,
    error::{NvmlError, nvml_sym, nvml_try},
};
use nvml_wrapper_sys::bindings::nvmlReturn_t;

pub use events::{XidEvent, XidEvents};
pub use fabric::{Fabric, fabric};
pub use health::{clocks_event_reasons, margin_celsius, pcie_generation_max_of_gpu};
pub use memory::{Repairs, SpareRows, SramErrors, repairs, spare_rows, sram_errors};
pub use processes::{Listed, ProcessList, Sample, process_samples, processes};
pub use samples::{Sampled, Sampling, samples};
pub use topology::{c2c_enabled, common_ancestor, link_peer_kind, p2p_status};

/// `NVML_STRUCT_VERSION` of nvml.h.
#[expect(
    clippy::cast_possible_truncation,
    reason = "no NVML struct is larger than 16 MiB: its size has 24 bits"
)]
const fn tag<T>(version: u32) -> u32 {
    size_of::<T>() as u32 | version << 24
}

/// NVML's number for the architecture; nvml-wrapper refuses those newer than itself.
pub fn architecture(device: &Device<'_>) -> Result<u32, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetArchitecture.as_ref())?;
    let mut number = 0;
    // SAFETY: one out-parameter of the type NVML writes; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), &raw mut number) })?;
    Ok(number)
}

/// Lists are asked for with room for this many more than NVML said: they grow between two calls.
const HEADROOM: usize = 64;
/// No list of processes is longer; a driver that asks for more room is not obeyed.
const MOST: usize = 1 << 16;

/// A list that NVML writes, with room at first for [`HEADROOM`] and then for as many as it says there are, and more. One
/// that outgrows its room eight times is [`NvmlError::InsufficientSize`].
fn list_of<T: Copy>(
    fill: impl FnMut(*mut u32, *mut T) -> nvmlReturn_t,
) -> Result<Vec<T>, NvmlError> {
    list_in(HEADROOM, fill)
}

/// The same with another room at first.
fn list_in<T: Copy>(
    mut room: usize,
    mut fill: impl FnMut(*mut u32, *mut T) -> nvmlReturn_t,
) -> Result<Vec<T>, NvmlError> {
    for _ in 0..8 {
        let mut list: Vec<T> = Vec::with_capacity(room);
        // SAFETY: there is room for as many, and zero is a value of what NVML's lists are of, which are plain numbers. A
        // library that says more than it wrote hands out nothing of this process.
        unsafe { list.as_mut_ptr().write_bytes(0, room) };
        let mut count = u32::try_from(room).unwrap_or(u32::MAX);
        match nvml_try(fill(&raw mut count, list.as_mut_ptr())) {
            Err(NvmlError::InsufficientSize(_)) => {
                room = (count as usize).max(room).min(MOST) + HEADROOM;
            }
            Err(error) => return Err(error),
            Ok(()) => {
                // SAFETY: all that there is room for was written above.
                unsafe { list.set_len((count as usize).min(room)) };
                return Ok(list);
            }
        }
    }
    Err(NvmlError::InsufficientSize(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_was_not_written_is_zero_and_no_longer_than_its_room() {
        // What the allocator most likely hands out next.
        drop(vec![u64::MAX; HEADROOM]);
        let list = list_of(|count, list: *mut u64| {
            // SAFETY: one number each, for which there is room.
            unsafe {
                *count = 1000;
                *list = 7;
            }
            0
        });
        let list = list.unwrap();
        assert_eq!(list.len(), HEADROOM);
        assert!(list[0] == 7 && list[1..].iter().all(|number| *number == 0), "{list:?}");
    }
}
