//! By how much error counters rose in a window.

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use crate::timeline::{Counter, Point, statistics};

#[derive(Debug, Serialize, JsonSchema)]
pub struct Counters {
    pub ecc_corrected: Option<u64>,
    pub ecc_uncorrected: Option<u64>,
    pub remapped_rows: Option<u64>,
    pub pcie_replays: Option<u64>,
    /// Replays, recoveries and CRC errors of all links.
    pub nvlink_errors: Option<u64>,
    /// For how long power held the clocks down, as the driver counts it.
    pub power_violation_ms: Option<u64>,
    pub thermal_violation_ms: Option<u64>,
}

impl Counters {
    pub fn of(points: &[Point]) -> Self {
        let rise = |counter| statistics::counted(points, counter);
        Self {
            ecc_corrected: rise(Counter::EccCorrected),
            ecc_uncorrected: rise(Counter::EccUncorrected),
            remapped_rows: rise(Counter::RemappedRows),
            pcie_replays: rise(Counter::PcieReplays),
            nvlink_errors: rise(Counter::NvlinkErrors),
            power_violation_ms: rise(Counter::PowerViolation),
            thermal_violation_ms: rise(Counter::ThermalViolation),
        }
    }

    /// Each with its name.
    pub fn all(&self) -> [(Counter, Option<u64>); 7] {
        [
            (Counter::EccCorrected, self.ecc_corrected),
            (Counter::EccUncorrected, self.ecc_uncorrected),
            (Counter::RemappedRows, self.remapped_rows),
            (Counter::PcieReplays, self.pcie_replays),
            (Counter::NvlinkErrors, self.nvlink_errors),
            (Counter::PowerViolation, self.power_violation_ms),
            (Counter::ThermalViolation, self.thermal_violation_ms),
        ]
    }

    /// Whether it has the counter of this name and could not read it.
    pub fn lacks(&self, field: &str) -> bool {
        self.all().iter().any(|(counter, rise)| counter.name() == field && rise.is_none())
    }
}
