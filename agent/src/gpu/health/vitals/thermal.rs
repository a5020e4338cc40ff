//! Heat, and what holds the clocks down.

use std::ops::RangeInclusive;

use nvml_wrapper::{
    Device,
    enum_wrappers::device::{TemperatureSensor, TemperatureThreshold},
    error::NvmlError,
};

use super::{
    asker::{Asker, Batch},
    fields::{self, SlowdownTimes},
};
use crate::gpu::raw::{
    self,
    fields::{Field, Value},
};

#[derive(Debug, Clone, Default)]
pub struct Thermal {
    pub celsius: Option<u32>,
    pub memory_celsius: Option<u32>,
    /// Degrees left until the clocks are slowed down for heat: T.Limit, Ada and later.
    pub margin_celsius: Option<i32>,
    /// The temperatures at which the hardware halves the clocks and at which memory makes the driver lower them, of boards
    /// that have no T.Limit.
    pub slowdown_celsius: Option<u32>,
    pub memory_max_celsius: Option<u32>,
    /// `nvmlClocksEventReasons` bits.
    pub clocks_event_reasons: Option<u64>,
    /// How long each cause has held the clocks down since the driver was loaded.
    pub software_thermal_ns: Option<u64>,
    pub hardware_thermal_ns: Option<u64>,
    pub power_brake_ns: Option<u64>,
    /// Of each fan the speed asked for and, where the driver tells it, the turns it makes.
    pub fans: Option<Vec<Fan>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fan {
    pub intended_percent: Option<u32>,
    pub rpm: Option<u32>,
}

impl Thermal {
    pub fn read(
        d: &Device<'_>,
        r: &mut Asker<'_>,
        batch: &mut Batch,
        times: SlowdownTimes,
    ) -> Self {
        let margin_celsius =
            r.read("thermal_margin_celsius", "nvmlDeviceGetMarginTemperature", || {
                raw::margin_celsius(d)
            });
        let mut threshold = |field, kind| match margin_celsius {
            // What a board with T.Limit has for an answer is no temperature.
            Some(_) => {
                let why = "the board tells its margin";
                r.reader().not_asked(field, "nvmlDeviceGetTemperatureThreshold", why);
                None
            }
            None => r.read(field, "nvmlDeviceGetTemperatureThreshold", || {
                d.temperature_threshold(kind).and_then(possible)
            }),
        };
        let slowdown_celsius =
            threshold("slowdown_temperature_celsius", TemperatureThreshold::Slowdown);
        let memory_max_celsius =
            threshold("memory_max_temperature_celsius", TemperatureThreshold::MemoryMax);
        let memory = fields::MEMORY_CELSIUS;
        let memory_celsius = batch.answer(Field { id: memory.id, scope: 0 }).and_then(sensed);
        Self {
            celsius: r.read("temperature_celsius", "nvmlDeviceGetTemperature", || {
                d.temperature(TemperatureSensor::Gpu)
            }),
            memory_celsius: r.read(memory.field, memory.call, || memory_celsius),
            margin_celsius,
            slowdown_celsius,
            memory_max_celsius,
            clocks_event_reasons: r.read(
                "clocks_event_reasons",
                "nvmlDeviceGetCurrentClocksEventReasons",
                || raw::clocks_event_reasons(d),
            ),
            software_thermal_ns: r.count(batch, times.software_thermal),
            hardware_thermal_ns: r.count(batch, times.hardware_thermal),
            power_brake_ns: r.count(batch, times.power_brake),
            fans: fans(d, r),
        }
    }
}

/// Temperatures at which a board may do something. What is none stands for "there is none" on some boards.
const POSSIBLE_CELSIUS: RangeInclusive<u32> = 1..=150;

fn possible(threshold: u32) -> Result<u32, NvmlError> {
    POSSIBLE_CELSIUS.contains(&threshold).then_some(threshold).ok_or(NvmlError::NotSupported)
}

/// A board without the sensor is at 0 degrees on some drivers.
fn sensed(celsius: Value) -> Result<u32, NvmlError> {
    let celsius = celsius.unsigned().and_then(|celsius| u32::try_from(celsius).ok());
    celsius.filter(|celsius| *celsius > 0).ok_or(NvmlError::NotSupported)
}

/// More fans than any board has.
const MOST_FANS: u32 = 8;

fn fans(d: &Device<'_>, r: &mut Asker<'_>) -> Option<Vec<Fan>> {
    let count = r.read("fan", "nvmlDeviceGetNumFans", || d.num_fans())?;
    let mut fan = |number| Fan {
        intended_percent: r.read("fan_percent", "nvmlDeviceGetFanSpeed_v2", || d.fan_speed(number)),
        rpm: r.read("fan_rpm", "nvmlDeviceGetFanSpeedRPM", || d.fan_speed_rpm(number)),
    };
    Some((0..count.min(MOST_FANS)).map(&mut fan).collect())
}
