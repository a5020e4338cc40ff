//! The field values that health asks for, by their names in NVML's header: one call for all.

use nvml_wrapper::{FieldIdScheme, Nvml};
use nvml_wrapper_sys::bindings::field_id as id;

use super::asker::Asked;
use crate::gpu::raw::fields::Field;

macro_rules! asked {
    ($field:literal, $number:literal) => {
        Asked {
            field: $field,
            id: $number,
            call: concat!("nvmlDeviceGetFieldValues(", $number, ")"),
        }
    };
}

macro_rules! fields {
    ($all:ident: $($name:ident = $field:literal, $id:ident, $number:literal;)*) => {
        $(
            const _: () = assert!(id::$id == $number);
            pub const $name: Asked = asked!($field, $number);
        )*
        const $all: &[Asked] = &[$($name),*];
    };
}

fields! {
    OF_GPU:
    ECC_ENABLED = "ecc_enabled", NVML_FI_DEV_ECC_CURRENT, 1;
    ECC_PENDING = "ecc_enabled_after_reset", NVML_FI_DEV_ECC_PENDING, 2;
    ECC_CORRECTED = "ecc_corrected_volatile", NVML_FI_DEV_ECC_SBE_VOL_TOTAL, 3;
    ECC_UNCORRECTED = "ecc_uncorrected_volatile", NVML_FI_DEV_ECC_DBE_VOL_TOTAL, 4;
    ECC_UNCORRECTED_EVER = "ecc_uncorrected_aggregate", NVML_FI_DEV_ECC_DBE_AGG_TOTAL, 6;
    ECC_UNCORRECTED_DRAM = "ecc_uncorrected_dram_volatile", NVML_FI_DEV_ECC_DBE_VOL_DEV, 12;
    PAGES_CORRECTED = "retired_pages_single_bit", NVML_FI_DEV_RETIRED_SBE, 29;
    PAGES_UNCORRECTED = "retired_pages_double_bit", NVML_FI_DEV_RETIRED_DBE, 30;
    PAGES_PENDING = "retired_pages_pending", NVML_FI_DEV_RETIRED_PENDING, 31;
    MEMORY_CELSIUS = "memory_temperature_celsius", NVML_FI_DEV_MEMORY_TEMP, 82;
    LINKS = "nvlink", NVML_FI_DEV_NVLINK_LINK_COUNT, 91;
    REPLAYS = "pcie_replays", NVML_FI_DEV_PCIE_REPLAY_COUNTER, 94;
    ROWS_CORRECTED = "remapped_rows_correctable", NVML_FI_DEV_REMAPPED_COR, 142;
    ROWS_UNCORRECTED = "remapped_rows_uncorrectable", NVML_FI_DEV_REMAPPED_UNC, 143;
    ROWS_PENDING = "remapping_pending", NVML_FI_DEV_REMAPPED_PENDING, 144;
    ROWS_FAILED = "remapping_failed", NVML_FI_DEV_REMAPPED_FAILURE, 145;
    SWITCHED_LINKS = "nvlink_to_switches", NVML_FI_DEV_NVSWITCH_CONNECTED_LINK_COUNT, 147;
    PCIE_CORRECTED = "pcie_correctable_errors", NVML_FI_DEV_PCIE_COUNT_CORRECTABLE_ERRORS, 173;
    PCIE_NON_FATAL = "pcie_non_fatal_errors", NVML_FI_DEV_PCIE_COUNT_NON_FATAL_ERROR, 179;
    PCIE_FATAL = "pcie_fatal_errors", NVML_FI_DEV_PCIE_COUNT_FATAL_ERROR, 180;
    RECOVERY_ACTION = "recovery_action", NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, 230;
}

fields! {
    OF_LINK:
    LINK_STATE = "nvlink", NVML_FI_DEV_NVLINK_GET_STATE, 165;
    // Before Blackwell.
    LINK_REPLAYS = "nvlink_replays", NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY, 161;
    LINK_RECOVERIES = "nvlink_recoveries", NVML_FI_DEV_NVLINK_ERROR_DL_RECOVERY, 162;
    LINK_CRC_ERRORS = "nvlink_crc_errors", NVML_FI_DEV_NVLINK_ERROR_DL_CRC, 163;
    // Blackwell and later.
    LINK_FAILED_RECOVERIES = "nvlink_failed_recoveries", NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_FAILED_EVENTS, 214;
    LINK_RECOVERY_EVENTS = "nvlink_recoveries", NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_EVENTS, 215;
}

/// What is asked of one link.
pub fn of_link(link: u32) -> impl Iterator<Item = Field> {
    OF_LINK.iter().map(move |asked| Field { id: asked.id, scope: link })
}

/// The time that a cause has held the clocks down, in nanoseconds since the driver was loaded. From driver 580.82 on the fields
/// have other numbers than in the header this was built with.
#[derive(Debug, Clone, Copy)]
pub struct SlowdownTimes {
    pub software_thermal: Asked,
    pub hardware_thermal: Asked,
    pub power_brake: Asked,
}

const BEFORE_580_82: SlowdownTimes = SlowdownTimes {
    software_thermal: asked!("software_thermal_slowdown_ns", 251),
    hardware_thermal: asked!("hardware_thermal_slowdown_ns", 252),
    power_brake: asked!("power_brake_ns", 253),
};
const SINCE_580_82: SlowdownTimes = SlowdownTimes {
    software_thermal: asked!("software_thermal_slowdown_ns", 269),
    hardware_thermal: asked!("hardware_thermal_slowdown_ns", 270),
    power_brake: asked!("power_brake_ns", 271),
};

/// The numbers that the loaded driver uses.
pub fn slowdown_times(nvml: &Nvml) -> SlowdownTimes {
    match nvml.field_id_scheme() {
        FieldIdScheme::V12 => BEFORE_580_82,
        FieldIdScheme::V13Update1 => SINCE_580_82,
    }
}

/// What is asked for in the first call, NVLink's of link 0 included: whether the board has them at all.
pub fn all(times: SlowdownTimes) -> Vec<Field> {
    let SlowdownTimes { software_thermal, hardware_thermal, power_brake } = times;
    let times = [software_thermal, hardware_thermal, power_brake];
    let plain = OF_GPU.iter().chain(&times).map(|asked| Field { id: asked.id, scope: 0 });
    plain.chain(of_link(0)).collect()
}
