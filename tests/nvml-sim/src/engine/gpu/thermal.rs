//! Heat, power, and what both do to the clocks.

use nvml_wrapper_sys::bindings as sys;
use serde::Deserialize;

use crate::engine::code::Code;
use crate::engine::reading::Reading;

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Thermal {
    pub gpu_celsius: Reading<i32>,
    pub memory_celsius: Reading<u32>,
    /// Degrees left to the temperature at which the board slows down, Ada and later ("T.Limit").
    pub margin_celsius: Reading<i32>,
    /// Absolute thresholds, boards before Ada.
    pub thresholds_celsius: Thresholds<u32>,
    /// Thresholds as margins, Ada and later: slowdown at -2 is two degrees past the limit.
    pub tlimit_celsius: Thresholds<i32>,
    /// Fans that the driver sees. Modules are cooled by the chassis and have none.
    pub fans: Vec<Fan>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, bound = "T: serde::de::DeserializeOwned")]
pub struct Thresholds<T> {
    pub shutdown: Reading<T>,
    pub slowdown: Reading<T>,
    pub memory_max: Reading<T>,
    pub gpu_max: Reading<T>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Fan {
    /// The speed asked for, as NVML tells it.
    pub speed_percent: Reading<u32>,
    /// The turns it makes in a minute (driver 565 and later).
    pub speed_rpm: Reading<u32>,
}

impl Thresholds<u32> {
    /// By NVML's number; the acoustic and GPS thresholds belong to desktop boards.
    pub fn by_kind(&self, kind: sys::nvmlTemperatureThresholds_t) -> Result<u32, Code> {
        match kind {
            sys::nvmlTemperatureThresholds_enum_NVML_TEMPERATURE_THRESHOLD_SHUTDOWN => {
                self.shutdown.get()
            }
            sys::nvmlTemperatureThresholds_enum_NVML_TEMPERATURE_THRESHOLD_SLOWDOWN => {
                self.slowdown.get()
            }
            sys::nvmlTemperatureThresholds_enum_NVML_TEMPERATURE_THRESHOLD_MEM_MAX => {
                self.memory_max.get()
            }
            sys::nvmlTemperatureThresholds_enum_NVML_TEMPERATURE_THRESHOLD_GPU_MAX => {
                self.gpu_max.get()
            }
            known
                if known < sys::nvmlTemperatureThresholds_enum_NVML_TEMPERATURE_THRESHOLD_COUNT =>
            {
                Err(Code::NOT_SUPPORTED)
            }
            _ => Err(Code::INVALID_ARGUMENT),
        }
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Power {
    /// What `nvmlDeviceGetPowerUsage` says: on some boards the average of a second, on others this moment's.
    pub usage_mw: Reading<u32>,
    pub average_mw: Reading<u32>,
    pub instant_mw: Reading<u32>,
    /// The limit in force, the one asked for, the board's own, and the range that may be set.
    pub enforced_limit_mw: Reading<u32>,
    pub requested_limit_mw: Reading<u32>,
    pub default_limit_mw: Reading<u32>,
    pub min_limit_mw: Reading<u32>,
    pub max_limit_mw: Reading<u32>,
    /// Since the driver was loaded.
    pub energy_mj: Reading<u64>,
}

named! {
    /// Why the clocks are lower than they could be, one bit each.
    ThrottleReason: u32 {
        "gpu_idle" = sys::nvmlClocksEventReasonGpuIdle,
        "applications_clocks_setting" = sys::nvmlClocksEventReasonApplicationsClocksSetting,
        "sw_power_cap" = sys::nvmlClocksEventReasonSwPowerCap,
        "hw_slowdown" = sys::nvmlClocksThrottleReasonHwSlowdown,
        "sync_boost" = sys::nvmlClocksEventReasonSyncBoost,
        "sw_thermal_slowdown" = sys::nvmlClocksEventReasonSwThermalSlowdown,
        "hw_thermal_slowdown" = sys::nvmlClocksThrottleReasonHwThermalSlowdown,
        "hw_power_brake_slowdown" = sys::nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
        "display_clock_setting" = sys::nvmlClocksEventReasonDisplayClockSetting,
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    pub reasons: Reading<Vec<ThrottleReason>>,
    pub supported: Reading<Vec<ThrottleReason>>,
    pub time_ns: ThrottleTime,
}

/// The reasons as NVML's bit set.
#[must_use]
pub fn reason_bits(reasons: &[ThrottleReason]) -> u64 {
    reasons.iter().fold(0, |bits, reason| bits | u64::from(reason.number()))
}

/// How long each cause has held the clocks down since the driver was loaded.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ThrottleTime {
    pub power: Reading<u64>,
    pub thermal: Reading<u64>,
    pub sync_boost: Reading<u64>,
    pub board_limit: Reading<u64>,
    pub low_utilization: Reading<u64>,
    pub reliability: Reading<u64>,
    pub app_clocks: Reading<u64>,
    pub base_clocks: Reading<u64>,
    /// The last three have field values only.
    pub sw_thermal: Reading<u64>,
    pub hw_thermal: Reading<u64>,
    pub hw_power_brake: Reading<u64>,
}

impl ThrottleTime {
    pub fn by_policy(&self, policy: sys::nvmlPerfPolicyType_t) -> Result<u64, Code> {
        match policy {
            sys::nvmlPerfPolicyType_enum_NVML_PERF_POLICY_POWER => self.power.get(),
            sys::nvmlPerfPolicyType_enum_NVML_PERF_POLICY_THERMAL => self.thermal.get(),
            sys::nvmlPerfPolicyType_enum_NVML_PERF_POLICY_SYNC_BOOST => self.sync_boost.get(),
            sys::nvmlPerfPolicyType_enum_NVML_PERF_POLICY_BOARD_LIMIT => self.board_limit.get(),
            sys::nvmlPerfPolicyType_enum_NVML_PERF_POLICY_LOW_UTILIZATION => {
                self.low_utilization.get()
            }
            sys::nvmlPerfPolicyType_enum_NVML_PERF_POLICY_RELIABILITY => self.reliability.get(),
            sys::nvmlPerfPolicyType_enum_NVML_PERF_POLICY_TOTAL_APP_CLOCKS => self.app_clocks.get(),
            sys::nvmlPerfPolicyType_enum_NVML_PERF_POLICY_TOTAL_BASE_CLOCKS => {
                self.base_clocks.get()
            }
            _ => Err(Code::INVALID_ARGUMENT),
        }
    }
}
