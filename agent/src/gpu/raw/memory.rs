//! How sound a GPU's memory is, beyond counters: spare rows, SRAM errors, repairs that wait.

use std::mem::zeroed;

use nvml_wrapper::{
    Device,
    error::{NvmlError, nvml_sym, nvml_try},
};
use nvml_wrapper_sys::bindings::{
    nvmlEccSramErrorStatus_t, nvmlRepairStatus_t, nvmlRowRemapperHistogramValues_t,
};

use super::tag;

const _: () = assert!(size_of::<nvmlRowRemapperHistogramValues_t>() == 20);
const _: () = assert!(tag::<nvmlEccSramErrorStatus_t>(1) == 0x0100_0068);
const _: () = assert!(tag::<nvmlRepairStatus_t>(1) == 0x0100_000C);

/// How many memory banks have how many of their spare rows left (`nvmlDeviceGetRowRemapperHistogram`; Ampere and later).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpareRows {
    /// All of them.
    pub max: u32,
    pub high: u32,
    pub partial: u32,
    /// Few.
    pub low: u32,
    /// None: another bad row in such a bank cannot be replaced.
    pub none: u32,
}

/// See [`SpareRows`].
pub fn spare_rows(device: &Device<'_>) -> Result<SpareRows, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetRowRemapperHistogram.as_ref())?;
    let mut banks =
        nvmlRowRemapperHistogramValues_t { max: 0, high: 0, partial: 0, low: 0, none: 0 };
    // SAFETY: one out-parameter of the type NVML writes; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), &raw mut banks) })?;
    let nvmlRowRemapperHistogramValues_t { max, high, partial, low, none } = banks;
    Ok(SpareRows { max, high, partial, low, none })
}

/// Errors of the caches and registers (`nvmlDeviceGetSramEccErrorStatus`; drivers may want UID 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SramErrors {
    /// Uncorrectable ones since the driver was loaded, by how the memory is protected.
    pub parity_volatile: u64,
    pub secded_volatile: u64,
    pub uncorrected_aggregate: u64,
    /// More in one place than NVIDIA's field diagnostic lets pass.
    pub threshold_exceeded: bool,
}

/// See [`SramErrors`].
pub fn sram_errors(device: &Device<'_>) -> Result<SramErrors, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetSramEccErrorStatus.as_ref())?;
    // SAFETY: plain numbers, for all of which zero is a value.
    let mut status: nvmlEccSramErrorStatus_t = unsafe { zeroed() };
    status.version = tag::<nvmlEccSramErrorStatus_t>(1);
    // SAFETY: the struct carries the version and size it has; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), &raw mut status) })?;
    Ok(SramErrors {
        parity_volatile: status.volatileUncParity,
        secded_volatile: status.volatileUncSecDed,
        uncorrected_aggregate: status.aggregateUncParity.saturating_add(status.aggregateUncSecDed),
        threshold_exceeded: status.bThresholdExceeded != 0,
    })
}

/// Repairs that the next reset makes (`nvmlDeviceGetRepairStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repairs {
    /// A memory channel is exchanged for a spare one.
    pub channel_pending: bool,
    /// A cluster of processors (TPC) is exchanged for a spare one.
    pub tpc_pending: bool,
}

/// See [`Repairs`].
pub fn repairs(device: &Device<'_>) -> Result<Repairs, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetRepairStatus.as_ref())?;
    let mut status = nvmlRepairStatus_t {
        version: tag::<nvmlRepairStatus_t>(1),
        bChannelRepairPending: 0,
        bTpcRepairPending: 0,
    };
    // SAFETY: the struct carries the version and size it has; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), &raw mut status) })?;
    Ok(Repairs {
        channel_pending: status.bChannelRepairPending != 0,
        tpc_pending: status.bTpcRepairPending != 0,
    })
}
