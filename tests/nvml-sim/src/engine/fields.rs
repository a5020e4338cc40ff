//! Field values: NVML's second door to the same figures, by number, and for NVLink by link.

use nvml_wrapper_sys::bindings as sys;
use nvml_wrapper_sys::bindings::field_id as id;

use super::code::Code;
use super::gpu::Gpu;
use super::gpu::links::{Link, NvLink};
use super::link_fields;

/// A value with the type it travels as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValue {
    Unsigned(u32),
    Signed(i32),
    Long(u64),
}

use FieldValue::{Long, Signed, Unsigned};

/// Asks all links at once where a link is asked for.
const ALL_LINKS: u32 = u32::MAX;

/// Which numbers the driver uses for fields that were renumbered, see [`super::node::Driver`].
#[derive(Clone, Copy, Debug)]
pub struct Numbering {
    pub renumbered: bool,
}

impl Numbering {
    /// The bindings carry the old numbers.
    fn number(self, old: u32) -> u32 {
        if self.renumbered { old + 18 } else { old }
    }
}

/// The value of one field. `scope` is the link where the field is about links, else 0.
pub fn read(gpu: &Gpu, field: u32, scope: u32, numbering: Numbering) -> Result<FieldValue, Code> {
    let of_link = || link_fields::read(gpu, field, scope);
    if let Some(answer) = nvlink_field(gpu, field, scope).or_else(of_link) {
        return answer;
    }
    let time = &gpu.throttle.time_ns;
    match field {
        _ if field == numbering.number(id::NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN) => {
            time.sw_thermal.get().map(Long)
        }
        _ if field == numbering.number(id::NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN) => {
            time.hw_thermal.get().map(Long)
        }
        _ if field
            == numbering.number(id::NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN) =>
        {
            time.hw_power_brake.get().map(Long)
        }
        id::NVML_FI_DEV_PERF_POLICY_POWER => time.power.get().map(Long),
        id::NVML_FI_DEV_PERF_POLICY_THERMAL => time.thermal.get().map(Long),
        id::NVML_FI_DEV_PERF_POLICY_SYNC_BOOST => time.sync_boost.get().map(Long),
        id::NVML_FI_DEV_PERF_POLICY_BOARD_LIMIT => time.board_limit.get().map(Long),
        id::NVML_FI_DEV_PERF_POLICY_LOW_UTILIZATION => time.low_utilization.get().map(Long),
        id::NVML_FI_DEV_PERF_POLICY_RELIABILITY => time.reliability.get().map(Long),
        id::NVML_FI_DEV_PERF_POLICY_TOTAL_APP_CLOCKS => time.app_clocks.get().map(Long),
        id::NVML_FI_DEV_PERF_POLICY_TOTAL_BASE_CLOCKS => time.base_clocks.get().map(Long),
        id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION => {
            Ok(Unsigned(gpu.recovery_action.get()?.number()))
        }
        // Replaced by the recovery action; drivers of the profiles' age say so.
        id::NVML_FI_DEV_RESET_STATUS | id::NVML_FI_DEV_DRAIN_AND_RESET_STATUS => {
            Err(Code::DEPRECATED)
        }
        id::NVML_FI_DEV_IS_RESETLESS_MIG_SUPPORTED => gpu.mig.as_ref().map(|_| Unsigned(1)),
        id::NVML_FI_DEV_ECC_CURRENT..=id::NVML_FI_DEV_RETIRED_PENDING
        | id::NVML_FI_DEV_RETIRED_PENDING_SBE
        | id::NVML_FI_DEV_RETIRED_PENDING_DBE
        | id::NVML_FI_DEV_REMAPPED_COR..=id::NVML_FI_DEV_REMAPPED_FAILURE => {
            memory_field(gpu, field)
        }
        id::NVML_FI_DEV_PCIE_REPLAY_COUNTER
        | id::NVML_FI_DEV_PCIE_REPLAY_ROLLOVER_COUNTER
        | id::NVML_FI_DEV_PCIE_COUNT_CORRECTABLE_ERRORS..=id::NVML_FI_DEV_PCIE_COUNT_LANE_ERROR => {
            pcie_field(gpu, field)
        }
        _ => thermal_field(gpu, field, scope),
    }
}

const CORRECTED: u32 = sys::nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_CORRECTED;
const UNCORRECTED: u32 = sys::nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_UNCORRECTED;

fn memory_field(gpu: &Gpu, field: u32) -> Result<FieldValue, Code> {
    let ecc = || gpu.ecc_counters();
    let pages = || gpu.retired_pages.as_ref();
    let rows = || gpu.row_remap.as_ref();
    match field {
        id::NVML_FI_DEV_ECC_CURRENT => Ok(Unsigned(gpu.ecc.as_ref()?.enabled.into())),
        id::NVML_FI_DEV_ECC_PENDING => Ok(Unsigned(gpu.ecc.as_ref()?.pending.into())),
        id::NVML_FI_DEV_ECC_SBE_VOL_TOTAL => ecc()?.volatile.total(CORRECTED).map(Long),
        id::NVML_FI_DEV_ECC_DBE_VOL_TOTAL => ecc()?.volatile.total(UNCORRECTED).map(Long),
        id::NVML_FI_DEV_ECC_SBE_AGG_TOTAL => ecc()?.aggregate.total(CORRECTED).map(Long),
        id::NVML_FI_DEV_ECC_DBE_AGG_TOTAL => ecc()?.aggregate.total(UNCORRECTED).map(Long),
        id::NVML_FI_DEV_ECC_SBE_VOL_DEV => Ok(Long(ecc()?.volatile.dram_corrected)),
        id::NVML_FI_DEV_ECC_DBE_VOL_DEV => Ok(Long(ecc()?.volatile.dram_uncorrected)),
        id::NVML_FI_DEV_ECC_SBE_AGG_DEV => Ok(Long(ecc()?.aggregate.dram_corrected)),
        id::NVML_FI_DEV_ECC_DBE_AGG_DEV => Ok(Long(ecc()?.aggregate.dram_uncorrected)),
        id::NVML_FI_DEV_RETIRED_SBE => Ok(Long(pages()?.single_bit.len() as u64)),
        id::NVML_FI_DEV_RETIRED_DBE => Ok(Long(pages()?.double_bit.len() as u64)),
        id::NVML_FI_DEV_RETIRED_PENDING => Ok(Unsigned(pages()?.pending.into())),
        id::NVML_FI_DEV_REMAPPED_COR => Ok(Unsigned(rows()?.correctable)),
        id::NVML_FI_DEV_REMAPPED_UNC => Ok(Unsigned(rows()?.uncorrectable)),
        id::NVML_FI_DEV_REMAPPED_PENDING => Ok(Unsigned(rows()?.pending.into())),
        id::NVML_FI_DEV_REMAPPED_FAILURE => Ok(Unsigned(rows()?.failure.into())),
        _ => Err(Code::NOT_SUPPORTED),
    }
}

fn pcie_field(gpu: &Gpu, field: u32) -> Result<FieldValue, Code> {
    let reading = match field {
        id::NVML_FI_DEV_PCIE_REPLAY_COUNTER => &gpu.pcie.replays,
        id::NVML_FI_DEV_PCIE_REPLAY_ROLLOVER_COUNTER => &gpu.pcie.replay_rollovers,
        id::NVML_FI_DEV_PCIE_COUNT_CORRECTABLE_ERRORS => &gpu.pcie.correctable_errors,
        id::NVML_FI_DEV_PCIE_COUNT_NON_FATAL_ERROR => &gpu.pcie.non_fatal_errors,
        id::NVML_FI_DEV_PCIE_COUNT_FATAL_ERROR => &gpu.pcie.fatal_errors,
        _ => return Err(Code::NOT_SUPPORTED),
    };
    reading.get().map(Unsigned)
}

fn thermal_field(gpu: &Gpu, field: u32, scope: u32) -> Result<FieldValue, Code> {
    let (tlimit, power) = (&gpu.thermal.tlimit_celsius, &gpu.power);
    let reading = match field {
        id::NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION => return power.energy_mj.get().map(Long),
        id::NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT => return tlimit.shutdown.get().map(Signed),
        id::NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT => return tlimit.slowdown.get().map(Signed),
        id::NVML_FI_DEV_TEMPERATURE_MEM_MAX_TLIMIT => return tlimit.memory_max.get().map(Signed),
        id::NVML_FI_DEV_TEMPERATURE_GPU_MAX_TLIMIT => return tlimit.gpu_max.get().map(Signed),
        id::NVML_FI_DEV_MEMORY_TEMP => &gpu.thermal.memory_celsius,
        // The power of the module around the GPU, another scope, is not simulated.
        id::NVML_FI_DEV_POWER_AVERAGE..=id::NVML_FI_DEV_POWER_REQUESTED_LIMIT if scope != 0 => {
            return Err(Code::NOT_SUPPORTED);
        }
        id::NVML_FI_DEV_POWER_AVERAGE => &power.average_mw,
        id::NVML_FI_DEV_POWER_INSTANT => &power.instant_mw,
        id::NVML_FI_DEV_POWER_MIN_LIMIT => &power.min_limit_mw,
        id::NVML_FI_DEV_POWER_MAX_LIMIT => &power.max_limit_mw,
        id::NVML_FI_DEV_POWER_DEFAULT_LIMIT => &power.default_limit_mw,
        id::NVML_FI_DEV_POWER_CURRENT_LIMIT => &power.enforced_limit_mw,
        id::NVML_FI_DEV_POWER_REQUESTED_LIMIT => &power.requested_limit_mw,
        _ => return Err(Code::NOT_SUPPORTED),
    };
    reading.get().map(Unsigned)
}

/// `None` when the field is not about NVLink.
fn nvlink_field(gpu: &Gpu, field: u32, scope: u32) -> Option<Result<FieldValue, Code>> {
    let nvlink = || gpu.nvlink.as_ref();
    let of_link = |number: u32, figure: &dyn Fn(&Link, &NvLink) -> FieldValue| {
        nvlink().and_then(|nvlink| Ok(figure(&nvlink.link(number)?, nvlink)))
    };
    let sum =
        |counter: fn(&Link) -> u64| nvlink().and_then(|nvlink| nvlink.total(counter)).map(Long);
    for (first, seventh, total, counter) in PER_LINK_COUNTERS {
        if field == *total {
            return Some(sum(*counter));
        }
        if let Some(number) = link_in_field(field, *first, *seventh) {
            return Some(of_link(number, &|link, _| Long(counter(link))));
        }
    }
    let speed =
        |link: &Link, nvlink: &NvLink| Unsigned(if link.is_up() { nvlink.speed_mb_s } else { 0 });
    if let Some(number) = link_in_field(
        field,
        id::NVML_FI_DEV_NVLINK_SPEED_MBPS_L0,
        id::NVML_FI_DEV_NVLINK_SPEED_MBPS_L6,
    ) {
        return Some(of_link(number, &speed));
    }
    let scoped = |counter: fn(&Link) -> u64| {
        if scope == ALL_LINKS {
            sum(counter)
        } else {
            of_link(scope, &|link, _| Long(counter(link)))
        }
    };
    Some(match field {
        id::NVML_FI_DEV_NVLINK_LINK_COUNT => nvlink().map(|nvlink| Unsigned(nvlink.count())),
        id::NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON => {
            nvlink().map(|nvlink| Unsigned(nvlink.speed_mb_s))
        }
        id::NVML_FI_DEV_NVSWITCH_CONNECTED_LINK_COUNT => {
            nvlink().and_then(NvLink::switched_links).map(Unsigned)
        }
        id::NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY => scoped(|link| link.replay_errors),
        id::NVML_FI_DEV_NVLINK_ERROR_DL_RECOVERY => scoped(|link| link.recovery_errors),
        id::NVML_FI_DEV_NVLINK_ERROR_DL_CRC => scoped(|link| link.crc_flit_errors),
        id::NVML_FI_DEV_NVLINK_GET_SPEED => of_link(scope, &speed),
        id::NVML_FI_DEV_NVLINK_GET_STATE => {
            of_link(scope, &|link, _| Unsigned(link.state.number()))
        }
        id::NVML_FI_DEV_NVLINK_GET_VERSION => {
            of_link(scope, &|_, nvlink| Unsigned(nvlink.version.number()))
        }
        _ => return None,
    })
}

type LinkCounter = fn(&Link) -> u64;

/// The older counters have a field per link: links 0 to 5 in one run of numbers, 6 to 11 in another; and a total.
const PER_LINK_COUNTERS: &[(u32, u32, u32, LinkCounter)] = &[
    (
        id::NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_L0,
        id::NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_L6,
        id::NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL,
        |link| link.crc_flit_errors,
    ),
    (
        id::NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_L0,
        id::NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_L6,
        id::NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL,
        |link| link.crc_data_errors,
    ),
    (
        id::NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_L0,
        id::NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_L6,
        id::NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL,
        |link| link.replay_errors,
    ),
    (
        id::NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_L0,
        id::NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_L6,
        id::NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL,
        |link| link.recovery_errors,
    ),
];

fn link_in_field(field: u32, first: u32, seventh: u32) -> Option<u32> {
    match field {
        _ if (first..first + 6).contains(&field) => Some(field - first),
        _ if (seventh..seventh + 6).contains(&field) => Some(field - seventh + 6),
        _ => None,
    }
}
