//! The figures that health is judged by, as `detail: full` has them.

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use crate::{
    gpu::health::vitals::{Fan, Link, Memory, NvLink, Pcie, Thermal, Vitals},
    mcp::tools::absent::AbsentAnswer,
};

#[derive(Debug, Serialize, JsonSchema)]
pub struct Figures {
    pub temperature_celsius: Option<u32>,
    pub memory_temperature_celsius: Option<u32>,
    /// Degrees left until the clocks are slowed down (T.Limit); null on boards that have absolute thresholds instead.
    pub thermal_margin_celsius: Option<i32>,
    pub slowdown_temperature_celsius: Option<u32>,
    pub memory_max_temperature_celsius: Option<u32>,
    /// nvmlClocksEventReasons bits.
    pub clocks_event_reasons: Option<u64>,
    /// How long a cause has held the clocks down since the driver was loaded.
    pub software_thermal_slowdown_ns: Option<u64>,
    pub hardware_thermal_slowdown_ns: Option<u64>,
    pub power_brake_ns: Option<u64>,
    /// A figure for each fan. Like every list here, empty where NVML says that there are none, and null where it does not tell.
    pub fan_percent: Option<Vec<Option<u32>>>,
    pub fan_rpm: Option<Vec<Option<u32>>>,
    pub gpu_utilization_percent: Option<u32>,
    pub mig_enabled: Option<bool>,
    pub ecc_enabled: Option<bool>,
    pub ecc_enabled_after_reset: Option<bool>,
    /// Since the driver was loaded, like all that is volatile.
    pub ecc_corrected_volatile: Option<u64>,
    pub ecc_uncorrected_volatile: Option<u64>,
    /// Of these, in the GPU's own memory.
    pub ecc_uncorrected_dram_volatile: Option<u64>,
    /// Over the board's life; never judged.
    pub ecc_uncorrected_aggregate: Option<u64>,
    pub sram_uncorrected_parity_volatile: Option<u64>,
    pub sram_uncorrected_secded_volatile: Option<u64>,
    pub sram_uncorrected_aggregate: Option<u64>,
    pub sram_threshold_exceeded: Option<bool>,
    pub remapped_rows_correctable: Option<u64>,
    pub remapped_rows_uncorrectable: Option<u64>,
    pub remapping_pending: Option<bool>,
    pub remapping_failed: Option<bool>,
    /// Memory banks by how many of their spare rows are left.
    pub memory_banks_with_all_rows: Option<u32>,
    pub memory_banks_with_most_rows: Option<u32>,
    pub memory_banks_with_some_rows: Option<u32>,
    pub memory_banks_with_few_rows: Option<u32>,
    pub memory_banks_without_rows: Option<u32>,
    pub retired_pages_single_bit: Option<u64>,
    pub retired_pages_double_bit: Option<u64>,
    pub retired_pages_pending: Option<bool>,
    pub repair_channel_pending: Option<bool>,
    pub repair_tpc_pending: Option<bool>,
    pub inforom_valid: Option<bool>,
    pub pcie_generation: Option<u32>,
    /// Of GPU and slot together.
    pub pcie_generation_max: Option<u32>,
    pub pcie_generation_max_of_gpu: Option<u32>,
    pub pcie_width: Option<u32>,
    pub pcie_width_max: Option<u32>,
    /// The slot's end of the link is not seen, so that the link is judged only by what it was before.
    pub virtual_machine: Option<bool>,
    pub pcie_replays: Option<u64>,
    pub pcie_correctable_errors: Option<u64>,
    pub pcie_non_fatal_errors: Option<u64>,
    pub pcie_fatal_errors: Option<u64>,
    /// By their numbers.
    pub nvlink_up: Option<Vec<u32>>,
    pub nvlink_down: Option<Vec<u32>>,
    /// Sums over all links; null where the board has no such counter.
    pub nvlink_replays: Option<u64>,
    pub nvlink_recoveries: Option<u64>,
    pub nvlink_crc_errors: Option<u64>,
    pub nvlink_failed_recoveries: Option<u64>,
    /// NVML_GPU_FABRIC_STATE: 0 not supported, 1 not started, 2 in progress, 3 completed.
    pub fabric_state: Option<u32>,
    pub fabric_status: Option<u32>,
    pub fabric_health_mask: Option<u32>,
    /// NVML_GPU_FABRIC_HEALTH_SUMMARY: 0 not supported, 1 healthy, 2 unhealthy, 3 limited capacity.
    pub fabric_health_summary: Option<u32>,
    /// NVML_FI_DEV_GET_GPU_RECOVERY_ACTION: 0 none.
    pub recovery_action: Option<u32>,
    /// Why a value is null. `field` is its name, or what the names of several begin with.
    pub absent: Vec<AbsentAnswer>,
}

impl Figures {
    pub fn of(v: Vitals) -> Self {
        let Vitals { said: _, memory, thermal, pcie, nvlink, .. } = &v;
        let Memory { sram, spare_rows, repairs, .. } = memory;
        let Thermal { fans, .. } = thermal;
        let Pcie { link, .. } = pcie;
        let NvLink { links, are_all, fabric, .. } = nvlink;
        let that_are = |up: bool| {
            let links = links.iter().filter(|link| link.up == up);
            are_all.then(|| links.map(|link| link.number).collect())
        };
        let each = |figure: fn(&Fan) -> Option<u32>| {
            fans.as_ref().map(|fans| fans.iter().map(figure).collect())
        };
        let sum = |counter: fn(&Link) -> Option<u64>| {
            links.iter().filter_map(counter).reduce(u64::saturating_add)
        };
        Self {
            temperature_celsius: thermal.celsius,
            memory_temperature_celsius: thermal.memory_celsius,
            thermal_margin_celsius: thermal.margin_celsius,
            slowdown_temperature_celsius: thermal.slowdown_celsius,
            memory_max_temperature_celsius: thermal.memory_max_celsius,
            clocks_event_reasons: thermal.clocks_event_reasons,
            software_thermal_slowdown_ns: thermal.software_thermal_ns,
            hardware_thermal_slowdown_ns: thermal.hardware_thermal_ns,
            power_brake_ns: thermal.power_brake_ns,
            fan_percent: each(|fan| fan.intended_percent),
            fan_rpm: each(|fan| fan.rpm),
            gpu_utilization_percent: v.gpu_utilization_percent,
            mig_enabled: v.mig_enabled,
            ecc_enabled: memory.ecc_enabled,
            ecc_enabled_after_reset: memory.ecc_enabled_after_reset,
            ecc_corrected_volatile: memory.ecc_corrected,
            ecc_uncorrected_volatile: memory.ecc_uncorrected,
            ecc_uncorrected_dram_volatile: memory.ecc_uncorrected_dram,
            ecc_uncorrected_aggregate: memory.ecc_uncorrected_ever,
            sram_uncorrected_parity_volatile: sram.map(|it| it.parity_volatile),
            sram_uncorrected_secded_volatile: sram.map(|it| it.secded_volatile),
            sram_uncorrected_aggregate: sram.map(|it| it.uncorrected_aggregate),
            sram_threshold_exceeded: sram.map(|it| it.threshold_exceeded),
            remapped_rows_correctable: memory.rows_corrected,
            remapped_rows_uncorrectable: memory.rows_uncorrected,
            remapping_pending: memory.rows_pending,
            remapping_failed: memory.rows_failed,
            memory_banks_with_all_rows: spare_rows.map(|it| it.max),
            memory_banks_with_most_rows: spare_rows.map(|it| it.high),
            memory_banks_with_some_rows: spare_rows.map(|it| it.partial),
            memory_banks_with_few_rows: spare_rows.map(|it| it.low),
            memory_banks_without_rows: spare_rows.map(|it| it.none),
            retired_pages_single_bit: memory.pages_corrected,
            retired_pages_double_bit: memory.pages_uncorrected,
            retired_pages_pending: memory.pages_pending,
            repair_channel_pending: repairs.map(|it| it.channel_pending),
            repair_tpc_pending: repairs.map(|it| it.tpc_pending),
            inforom_valid: v.inforom_valid,
            pcie_generation: link.generation,
            pcie_generation_max: link.generation_max,
            pcie_generation_max_of_gpu: pcie.generation_max_of_gpu,
            pcie_width: link.width,
            pcie_width_max: link.width_max,
            virtual_machine: pcie.virtual_machine,
            pcie_replays: pcie.replays,
            pcie_correctable_errors: pcie.correctable_errors,
            pcie_non_fatal_errors: pcie.non_fatal_errors,
            pcie_fatal_errors: pcie.fatal_errors,
            nvlink_up: that_are(true),
            nvlink_down: that_are(false),
            nvlink_replays: sum(|link| link.replays),
            nvlink_recoveries: sum(|link| link.recoveries),
            nvlink_crc_errors: sum(|link| link.crc_errors),
            nvlink_failed_recoveries: sum(|link| link.failed_recoveries),
            fabric_state: fabric.map(|it| it.state),
            fabric_status: fabric.map(|it| it.status),
            fabric_health_mask: fabric.map(|it| it.health_mask),
            fabric_health_summary: fabric.and_then(|it| it.health_summary),
            recovery_action: v.recovery_action,
            absent: v.absent.into_iter().map(Into::into).collect(),
        }
    }
}
