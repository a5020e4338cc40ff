//! What a GPU may draw and how fast it runs.

use nvml_wrapper::{Device, enum_wrappers::device::Clock};

use crate::gpu::reading::Reader;

/// Limits of its power beside the one in force, which is the lowest of all that apply.
#[derive(Debug, Clone, Default)]
pub struct PowerLimits {
    pub default_mw: Option<u32>,
    /// What somebody has set; the default where nobody has.
    pub requested_mw: Option<u32>,
    /// What may be set.
    pub min_mw: Option<u32>,
    pub max_mw: Option<u32>,
}

impl PowerLimits {
    pub fn read(d: &Device<'_>, r: &mut Reader<'_>) -> Self {
        let range =
            r.read("power_limit_range", "nvmlDeviceGetPowerManagementLimitConstraints", || {
                d.power_management_limit_constraints()
            });
        Self {
            default_mw: r.read(
                "power_limit_default_mw",
                "nvmlDeviceGetPowerManagementDefaultLimit",
                || d.power_management_limit_default(),
            ),
            requested_mw: r.read(
                "power_limit_requested_mw",
                "nvmlDeviceGetPowerManagementLimit",
                || d.power_management_limit(),
            ),
            min_mw: range.as_ref().map(|range| range.min_limit),
            max_mw: range.map(|range| range.max_limit),
        }
    }
}

/// Of one domain of clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClockPair {
    pub now_mhz: Option<u32>,
    pub max_mhz: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Clocks {
    pub graphics: ClockPair,
    pub sm: ClockPair,
    pub memory: ClockPair,
    pub video: ClockPair,
}

impl Clocks {
    pub fn read(d: &Device<'_>, r: &mut Reader<'_>) -> Self {
        let mut pair = |now, max, clock: Clock| ClockPair {
            now_mhz: r.read(now, "nvmlDeviceGetClockInfo", || d.clock_info(clock)),
            max_mhz: r.read(max, "nvmlDeviceGetMaxClockInfo", || d.max_clock_info(clock)),
        };
        Self {
            graphics: pair("graphics_clock_mhz", "graphics_clock_max_mhz", Clock::Graphics),
            sm: pair("sm_clock_mhz", "sm_clock_max_mhz", Clock::SM),
            memory: pair("memory_clock_mhz", "memory_clock_max_mhz", Clock::Memory),
            video: pair("video_clock_mhz", "video_clock_max_mhz", Clock::Video),
        }
    }
}
