//! A GPU's memory: how full it is and how sound.

use nvml_wrapper_sys::bindings as sys;
use serde::Deserialize;

use crate::engine::code::Code;
use crate::engine::reading::Reading;

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    pub total_bytes: u64,
    /// Kept by driver and firmware.
    pub reserved_bytes: u64,
    /// Allocated by processes.
    pub used_bytes: u64,
    pub bar1_total_bytes: u64,
    pub bar1_used_bytes: u64,
    pub bus_width_bits: Reading<u32>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Ecc {
    pub enabled: bool,
    /// The mode after the next reset.
    pub pending: bool,
    /// Since the driver was loaded.
    pub volatile: EccCounters,
    /// Over the life of the board.
    pub aggregate: EccCounters,
    /// So many uncorrectable SRAM errors that the board is to be replaced.
    pub sram_threshold_exceeded: Reading<bool>,
    /// Where the lifetime's uncorrectable SRAM errors were.
    pub sram_sources: SramSources,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct EccCounters {
    pub sram_corrected: u64,
    pub sram_uncorrected_parity: u64,
    pub sram_uncorrected_secded: u64,
    pub dram_corrected: u64,
    pub dram_uncorrected: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct SramSources {
    pub l2: u64,
    pub sm: u64,
    pub pcie: u64,
    pub microcontroller: u64,
    pub other: u64,
}

impl Ecc {
    /// By NVML's number of the span: since driver load or over the life of the board.
    pub fn counters(&self, span: sys::nvmlEccCounterType_t) -> Result<&EccCounters, Code> {
        match span {
            sys::nvmlEccCounterType_enum_NVML_VOLATILE_ECC => Ok(&self.volatile),
            sys::nvmlEccCounterType_enum_NVML_AGGREGATE_ECC => Ok(&self.aggregate),
            _ => Err(Code::INVALID_ARGUMENT),
        }
    }
}

impl EccCounters {
    fn sram_uncorrected(&self) -> u64 {
        self.sram_uncorrected_parity + self.sram_uncorrected_secded
    }

    pub fn total(&self, kind: sys::nvmlMemoryErrorType_t) -> Result<u64, Code> {
        match kind {
            sys::nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_CORRECTED => {
                Ok(self.sram_corrected + self.dram_corrected)
            }
            sys::nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_UNCORRECTED => {
                Ok(self.sram_uncorrected() + self.dram_uncorrected)
            }
            _ => Err(Code::INVALID_ARGUMENT),
        }
    }

    /// Boards since Turing count by SRAM and DRAM; the finer locations of older ones are not supported.
    pub fn located(
        &self,
        kind: sys::nvmlMemoryErrorType_t,
        location: sys::nvmlMemoryLocation_t,
    ) -> Result<u64, Code> {
        let (corrected, uncorrected) = match location {
            sys::nvmlMemoryLocation_enum_NVML_MEMORY_LOCATION_SRAM => {
                (self.sram_corrected, self.sram_uncorrected())
            }
            sys::nvmlMemoryLocation_enum_NVML_MEMORY_LOCATION_DRAM => {
                (self.dram_corrected, self.dram_uncorrected)
            }
            known if known < sys::nvmlMemoryLocation_enum_NVML_MEMORY_LOCATION_COUNT => {
                return Err(Code::NOT_SUPPORTED);
            }
            _ => return Err(Code::INVALID_ARGUMENT),
        };
        match kind {
            sys::nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_CORRECTED => Ok(corrected),
            sys::nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_UNCORRECTED => Ok(uncorrected),
            _ => Err(Code::INVALID_ARGUMENT),
        }
    }
}

/// Rows replaced by spare ones, Ampere and later.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RowRemap {
    /// Rows remapped because of correctable and because of uncorrectable errors.
    pub correctable: u32,
    pub uncorrectable: u32,
    /// A row waits for the next reset to be remapped.
    pub pending: bool,
    /// A remapping failed: the spares are spent.
    pub failure: bool,
    pub banks: SpareRows,
}

/// Number of memory banks by how many of their spare rows are left.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct SpareRows {
    pub max: u32,
    pub high: u32,
    pub partial: u32,
    pub low: u32,
    pub none: u32,
}

/// Pages taken out of use, what boards before Ampere do.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RetiredPages {
    /// After several correctable errors, and after one uncorrectable.
    pub single_bit: Vec<RetiredPage>,
    pub double_bit: Vec<RetiredPage>,
    /// A page waits for the next reset to be retired.
    pub pending: bool,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RetiredPage {
    pub address: u64,
    /// Seconds since 1970.
    pub time_s: u64,
}

impl RetiredPages {
    pub fn by_cause(&self, cause: sys::nvmlPageRetirementCause_t) -> Result<&[RetiredPage], Code> {
        match cause {
            sys::nvmlPageRetirementCause_enum_NVML_PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS => {
                Ok(&self.single_bit)
            }
            sys::nvmlPageRetirementCause_enum_NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR => {
                Ok(&self.double_bit)
            }
            _ => Err(Code::INVALID_ARGUMENT),
        }
    }
}

/// Repairs that the next reset makes.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Repair {
    pub channel_pending: bool,
    pub tpc_pending: bool,
}
