//! Heat and the clocks. Clocks that are low by the software power cap, for want of work or by a setting are as they should be.

use nvml_wrapper_sys::bindings::{
    nvmlClocksEventReasonSwThermalSlowdown, nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
    nvmlClocksThrottleReasonHwSlowdown, nvmlClocksThrottleReasonHwThermalSlowdown,
};

use super::{Case, NVML, OURS, Raised, Rule};
use crate::gpu::health::{Verdict, before::LATELY, vitals::Thermal};

pub const RULES: &[Rule] = &[
    Rule { id: "hw_thermal_slowdown", source: NVML, judge: hardware_thermal },
    Rule { id: "hw_power_brake", source: NVML, judge: power_brake },
    Rule { id: "hw_slowdown", source: NVML, judge: hardware },
    Rule { id: "sw_thermal_slowdown", source: NVML, judge: software_thermal },
    Rule { id: "slowdown_lately", source: NVML, judge: lately },
    Rule { id: "thermal_margin_thin", source: OURS, judge: margin },
    Rule { id: "memory_margin_thin", source: OURS, judge: memory_margin },
    Rule { id: "fan_stopped", source: NVML, judge: fan },
];

/// A margin at which the next warm minute slows the GPU down. Degrees Celsius.
const THIN_MARGIN_CELSIUS: i64 = 3;

const THERMAL: u32 = nvmlClocksThrottleReasonHwThermalSlowdown;
const BRAKE: u32 = nvmlClocksThrottleReasonHwPowerBrakeSlowdown;

/// Whether one of these reasons holds the clocks down.
fn has(case: &Case<'_>, bits: u32) -> Option<bool> {
    Some(case.now.thermal.clocks_event_reasons? & u64::from(bits) != 0)
}

/// The figures that slowdowns are told with.
fn slowed(case: &Case<'_>, raised: Raised) -> Raised {
    let Thermal { celsius, margin_celsius, clocks_event_reasons, .. } = &case.now.thermal;
    raised
        .maybe("clocks_event_reasons", clocks_event_reasons.map(|bits| format!("{bits:#x}")))
        .maybe("temperature_celsius", *celsius)
        .maybe("thermal_margin_celsius", *margin_celsius)
}

fn hardware_thermal(case: &Case<'_>) -> Option<Raised> {
    has(case, THERMAL)?.then(|| {
        let raised = Raised::new(
            Verdict::Degraded,
            "The hardware halves the clocks because it is too hot.",
            "Check fans, airflow, inlet temperature and the cooler's seat.",
        );
        let time = case.now.thermal.hardware_thermal_ns;
        slowed(case, raised).maybe("hardware_thermal_slowdown_ns", time)
    })
}

fn power_brake(case: &Case<'_>) -> Option<Raised> {
    has(case, BRAKE)?.then(|| {
        let raised = Raised::new(
            Verdict::Degraded,
            "The power brake is asserted: the board is told from outside to use less power.",
            "Check the power supplies and the rack's power capping; ask who asserts the brake.",
        );
        slowed(case, raised).maybe("power_brake_ns", case.now.thermal.power_brake_ns)
    })
}

/// The bit that goes with the two above, where it stands alone.
fn hardware(case: &Case<'_>) -> Option<Raised> {
    let alone = has(case, nvmlClocksThrottleReasonHwSlowdown)? && !has(case, THERMAL | BRAKE)?;
    alone.then(|| {
        let raised = Raised::new(
            Verdict::Degraded,
            "The hardware slows the clocks down.",
            "Check power and cooling of this board.",
        );
        slowed(case, raised)
    })
}

fn software_thermal(case: &Case<'_>) -> Option<Raised> {
    (has(case, nvmlClocksEventReasonSwThermalSlowdown)? && !has(case, THERMAL)?).then(|| {
        let raised = Raised::new(
            Verdict::Attention,
            "The driver lowers the clocks to stay under the temperature limit.",
            "Check fans, airflow and inlet temperature before the hardware has to step in.",
        );
        let time = case.now.thermal.software_thermal_ns;
        slowed(case, raised).maybe("software_thermal_slowdown_ns", time)
    })
}

/// The hardware has stepped in since the reading before, and does not now.
fn lately(case: &Case<'_>) -> Option<Raised> {
    let before = case.before.filter(|before| before.ago <= LATELY)?;
    let thermal = before.growth(case.now, |vitals| vitals.thermal.hardware_thermal_ns).unwrap_or(0);
    let brake = before.growth(case.now, |vitals| vitals.thermal.power_brake_ns).unwrap_or(0);
    let (thermal_now, brake_now) = (has(case, THERMAL)?, has(case, BRAKE)?);
    let missed = (thermal > 0 && !thermal_now) || (brake > 0 && !brake_now);
    missed.then(|| {
        let raised = Raised::new(
            Verdict::Attention,
            "The hardware has slowed the clocks down lately, and does not at this moment.",
            "Check fans, airflow, inlet temperature and power supplies; get_gpu_timeline shows when it was.",
        );
        raised
            .with("hardware_thermal_slowdown_grown_by_ns", thermal)
            .with("power_brake_grown_by_ns", brake)
            .since(before)
    })
}

/// Degrees left until the clocks are slowed down: T.Limit where the board has it, else by the temperature at which it happens.
fn margin_of(thermal: &Thermal) -> Option<i64> {
    let absolute = || Some(i64::from(thermal.slowdown_celsius?) - i64::from(thermal.celsius?));
    thermal.margin_celsius.map(i64::from).or_else(absolute)
}

/// Almost too hot: only said while nothing is slowed down for it yet.
fn margin(case: &Case<'_>) -> Option<Raised> {
    let thermal = &case.now.thermal;
    let margin = margin_of(thermal).filter(|margin| *margin <= THIN_MARGIN_CELSIUS)?;
    let slowed =
        THERMAL | nvmlClocksThrottleReasonHwSlowdown | nvmlClocksEventReasonSwThermalSlowdown;
    (!has(case, slowed).unwrap_or(false)).then(|| {
        let raised = Raised::new(
            Verdict::Attention,
            format!("{margin} °C are left until the clocks are slowed down for heat."),
            "Check fans, airflow and inlet temperature.",
        );
        raised
            .with("thermal_margin_celsius", margin)
            .maybe("temperature_celsius", thermal.celsius)
            .maybe("slowdown_temperature_celsius", thermal.slowdown_celsius)
    })
}

/// The same of memory, on boards that tell the temperature at which it makes the driver lower the clocks.
fn memory_margin(case: &Case<'_>) -> Option<Raised> {
    let (celsius, max) = (case.now.thermal.memory_celsius?, case.now.thermal.memory_max_celsius?);
    let margin = i64::from(max) - i64::from(celsius);
    (margin <= THIN_MARGIN_CELSIUS).then(|| {
        let raised = Raised::new(
            Verdict::Attention,
            format!("{margin} °C are left until memory is too hot."),
            "Check fans, airflow and inlet temperature.",
        );
        raised
            .with("memory_temperature_celsius", celsius)
            .with("memory_max_temperature_celsius", max)
    })
}

/// A fan that is to turn and does not. One that is not to turn is quiet on purpose.
fn fan(case: &Case<'_>) -> Option<Raised> {
    let mut fans = (0_usize..).zip(case.now.thermal.fans.iter().flatten());
    let stopped = |percent, rpm| percent > 0 && rpm == 0;
    let (number, fan) = fans
        .find(|(_, fan)| fan.intended_percent.zip(fan.rpm).is_some_and(|(p, r)| stopped(p, r)))?;
    let raised = Raised::new(
        Verdict::Degraded,
        format!("Fan {number} is to turn and does not."),
        "Check whether something blocks it; replace the fan or the board.",
    );
    let raised = raised.with("fan", number).maybe("fan_percent", fan.intended_percent);
    Some(raised.maybe("fan_rpm", fan.rpm).action("CHECK_MECHANICALS"))
}
