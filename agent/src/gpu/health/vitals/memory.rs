//! How sound the memory is.

use nvml_wrapper::Device;

use super::{
    asker::{Asker, Batch},
    fields,
};
use crate::gpu::raw::{self, Repairs, SpareRows, SramErrors};

#[derive(Debug, Clone, Default)]
pub struct Memory {
    pub ecc_enabled: Option<bool>,
    /// The mode after the next reset.
    pub ecc_enabled_after_reset: Option<bool>,
    /// Since the driver was loaded, all memories.
    pub ecc_corrected: Option<u64>,
    pub ecc_uncorrected: Option<u64>,
    /// Of these, in the GPU's own memory.
    pub ecc_uncorrected_dram: Option<u64>,
    /// Over the board's life: shown, never judged.
    pub ecc_uncorrected_ever: Option<u64>,
    pub sram: Option<SramErrors>,
    /// Rows of HBM that were replaced, over the board's life (Ampere and later; not while MIG instances exist).
    pub rows_corrected: Option<u64>,
    pub rows_uncorrected: Option<u64>,
    /// A row waits for the next GPU reset to be replaced.
    pub rows_pending: Option<bool>,
    /// A row could not be replaced.
    pub rows_failed: Option<bool>,
    pub spare_rows: Option<SpareRows>,
    /// Pages taken out of use over the board's life, after several correctable errors and after one that was not (before Ampere).
    pub pages_corrected: Option<u64>,
    pub pages_uncorrected: Option<u64>,
    pub pages_pending: Option<bool>,
    pub repairs: Option<Repairs>,
}

impl Memory {
    pub fn read(d: &Device<'_>, r: &mut Asker<'_>, batch: &mut Batch) -> Self {
        Self {
            ecc_enabled: r.flag(batch, fields::ECC_ENABLED),
            ecc_enabled_after_reset: r.flag(batch, fields::ECC_PENDING),
            ecc_corrected: r.count(batch, fields::ECC_CORRECTED),
            ecc_uncorrected: r.count(batch, fields::ECC_UNCORRECTED),
            ecc_uncorrected_dram: r.count(batch, fields::ECC_UNCORRECTED_DRAM),
            ecc_uncorrected_ever: r.count(batch, fields::ECC_UNCORRECTED_EVER),
            sram: r.read("sram", "nvmlDeviceGetSramEccErrorStatus", || raw::sram_errors(d)),
            rows_corrected: r.count(batch, fields::ROWS_CORRECTED),
            rows_uncorrected: r.count(batch, fields::ROWS_UNCORRECTED),
            rows_pending: r.flag(batch, fields::ROWS_PENDING),
            rows_failed: r.flag(batch, fields::ROWS_FAILED),
            spare_rows: r
                .read("memory_banks", "nvmlDeviceGetRowRemapperHistogram", || raw::spare_rows(d)),
            pages_corrected: r.count(batch, fields::PAGES_CORRECTED),
            pages_uncorrected: r.count(batch, fields::PAGES_UNCORRECTED),
            pages_pending: r.flag(batch, fields::PAGES_PENDING),
            repairs: r.read("repair", "nvmlDeviceGetRepairStatus", || raw::repairs(d)),
        }
    }
}
