//! What a call came back with: `NV_STATUS`, by number.

use super::table::find;

pub(super) const STATUSES: &str = include_str!("../../data/nv-status.tsv");

/// NVIDIA's name for a status; `None`: it is in no release's header.
#[must_use]
pub fn status(code: u32) -> Option<&'static str> {
    find(STATUSES, code)
}

/// It speaks of a sick GPU, link or driver, and not of a request that cannot be met.
///
/// Everyday, and so not here: what asks for too much (`INVALID_…`, `NOT_SUPPORTED`, `INSUFFICIENT_PERMISSIONS`,
/// `OBJECT_NOT_FOUND`, `NO_MEMORY`), what says come again (`BUSY_RETRY`, `NOT_READY`, `STATE_IN_USE`,
/// `NVLINK_FABRIC_NOT_READY`, `MORE_PROCESSING_REQUIRED`, `TIMEOUT_RETRY`: a lock that another call held), `GPU_NOT_FULL_POWER` (a GPU in suspend,
/// which is left in it), `RESOURCE_LOST` (the process freed the object while it used it), and `GENERIC`, `INVALID_STATE`
/// and `OPERATING_SYSTEM`, which the driver returns for hundreds of reasons. None of the warnings (`NV_WARN_…`) is serious.
#[must_use]
pub fn is_serious(code: u32) -> bool {
    matches!(
        code,
        0x01 // BROKEN_FB: the GPU's memory cannot be reached.
        | 0x05 // CARD_NOT_PRESENT: where a GPU was, none is found.
        | 0x0b // ECC_ERROR: an uncorrectable error of its memory; UVM returns it to everyone from then on.
        | 0x0f // GPU_IS_LOST: it has fallen off the bus.
        | 0x10 // GPU_IN_FULLCHIP_RESET: it is being reset.
        | 0x1c // INSUFFICIENT_POWER: its power cable, or its board.
        | 0x45 // IRQ_NOT_FIRING: its interrupts do not arrive.
        | 0x47 // MEMORY_TRAINING_FAILED
        | 0x60 // RC_ERROR: a channel was torn down after a fault; an Xid says which.
        | 0x61 // REJECTED_VBIOS
        | 0x62 // RESET_REQUIRED: nothing will work on it until it is reset.
        | 0x65 // TIMEOUT: the GPU or its firmware did not answer in the driver's time.
        | 0x6f // PMU_NOT_READY: its power controller is not up.
        | 0x70 // FLCN_ERROR: one of its microcontrollers halted.
        | 0x71 // FATAL_ERROR
        | 0x72 // MEMORY_ERROR: memory does not read back as written, or an NVLink that it is reached by failed.
        | 0x74 // NVLINK_INIT_ERROR
        | 0x75 // NVLINK_MINION_ERROR: the links' microcontroller.
        | 0x76 // NVLINK_CLOCK_ERROR
        | 0x77 // NVLINK_TRAINING_ERROR
        | 0x79 // RISCV_ERROR: one of its microcontrollers (GSP among them) halted.
        | 0x7f // SECURE_BOOT_FAILED: its firmware did not start.
        | 0x82 // NVLINK_FABRIC_FAILURE: the fabric does not take it in.
        | 0x83 // GPU_MEMORY_ONLINING_FAILURE
        | 0x85 // THRESHOLD_CROSSED: a fatal one.
        | 0x86 // RESOURCE_RETIREMENT_ERROR: a bad page or unit could not be taken out of use.
        | 0x87 // FABRIC_STATE_OUT_OF_SYNC
        | 0x8c // DMA_XFER_FAILED
    )
}
