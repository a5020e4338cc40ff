use super::{Attention, Board, CASE, Case, Degraded, SAME};
use crate::gpu::health::vitals::Fan;

pub const CASES: &[Case] = &[
    Case {
        rule: "hw_thermal_slowdown",
        what: "with the bit that goes with it, and no margin",
        now: |v| {
            v.thermal.clocks_event_reasons = Some(0x8 | 0x40 | 0x20);
            v.thermal.margin_celsius = Some(-2);
        },
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "hw_thermal_slowdown",
        what: "some of it, since the driver was loaded",
        now: |v| v.thermal.hardware_thermal_ns = Some(90_000_000_000),
        ..CASE
    },
    Case {
        rule: "hw_power_brake",
        what: "asserted",
        now: |v| v.thermal.clocks_event_reasons = Some(0x8 | 0x80),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "hw_power_brake",
        what: "held at the power limit by the driver, and by applications clocks",
        now: |v| v.thermal.clocks_event_reasons = Some(0x4 | 0x2),
        ..CASE
    },
    Case {
        rule: "hw_slowdown",
        what: "for a reason that is not told",
        now: |v| v.thermal.clocks_event_reasons = Some(0x8),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "hw_slowdown",
        what: "both reasons are told",
        now: |v| v.thermal.clocks_event_reasons = Some(0x8 | 0x40 | 0x80),
        and: &["hw_thermal_slowdown", "hw_power_brake"],
        ..CASE
    },
    Case {
        rule: "hw_slowdown",
        what: "every reason there is to be slow on purpose",
        now: |v| v.thermal.clocks_event_reasons = Some(0x1 | 0x2 | 0x4 | 0x10 | 0x100),
        ..CASE
    },
    Case {
        rule: "sw_thermal_slowdown",
        what: "by the driver",
        now: |v| v.thermal.clocks_event_reasons = Some(0x20 | 0x4),
        raises: Some(Attention),
        ..CASE
    },
    Case {
        rule: "sw_thermal_slowdown",
        what: "a while ago",
        now: |v| v.thermal.software_thermal_ns = Some(9_000_000_000),
        before: Some((300, SAME)),
        ..CASE
    },
    Case {
        rule: "slowdown_lately",
        what: "by the brake, between two readings",
        now: |v| v.thermal.power_brake_ns = Some(5_000_001),
        before: Some((300, SAME)),
        raises: Some(Attention),
        ..CASE
    },
    Case {
        rule: "slowdown_lately",
        what: "by the brake, on some day",
        now: |v| v.thermal.power_brake_ns = Some(5_000_001),
        before: Some((86_400, SAME)),
        ..CASE
    },
    Case {
        rule: "slowdown_lately",
        what: "at this moment",
        now: |v| {
            v.thermal.power_brake_ns = Some(9_000_000);
            v.thermal.clocks_event_reasons = Some(0x88);
        },
        before: Some((300, SAME)),
        and: &["hw_power_brake"],
        ..CASE
    },
    Case {
        rule: "slowdown_lately",
        what: "not since the reading before",
        now: |v| v.thermal.power_brake_ns = Some(9_000_000),
        before: Some((300, |v| v.thermal.power_brake_ns = Some(9_000_000))),
        ..CASE
    },
    Case {
        rule: "thermal_margin_thin",
        what: "three degrees of T.Limit",
        now: |v| v.thermal.margin_celsius = Some(3),
        raises: Some(Attention),
        ..CASE
    },
    Case {
        rule: "thermal_margin_thin",
        what: "four degrees of T.Limit",
        now: |v| v.thermal.margin_celsius = Some(4),
        ..CASE
    },
    Case {
        rule: "thermal_margin_thin",
        what: "three degrees below the slowdown temperature",
        board: Board::A100,
        now: |v| v.thermal.celsius = Some(86),
        raises: Some(Attention),
        ..CASE
    },
    Case {
        rule: "thermal_margin_thin",
        what: "as warm as the board may be under load",
        board: Board::A100,
        now: |v| v.thermal.celsius = Some(85),
        ..CASE
    },
    Case {
        rule: "thermal_margin_thin",
        what: "said once: the clocks are slowed down for it",
        now: |v| {
            v.thermal.margin_celsius = Some(0);
            v.thermal.clocks_event_reasons = Some(0x20);
        },
        and: &["sw_thermal_slowdown"],
        ..CASE
    },
    Case {
        rule: "memory_margin_thin",
        what: "three degrees below its limit",
        board: Board::A100,
        now: |v| v.thermal.memory_celsius = Some(92),
        raises: Some(Attention),
        ..CASE
    },
    Case {
        rule: "memory_margin_thin",
        what: "four degrees below its limit",
        board: Board::A100,
        now: |v| v.thermal.memory_celsius = Some(91),
        ..CASE
    },
    Case {
        rule: "fan_stopped",
        what: "it is to turn",
        now: |v| v.thermal.fans = Some(vec![fan(60, 3000), fan(60, 0)]),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "fan_stopped",
        what: "none is to turn",
        now: |v| v.thermal.fans = Some(vec![fan(0, 0), fan(0, 0)]),
        ..CASE
    },
];

fn fan(percent: u32, rpm: u32) -> Fan {
    Fan { intended_percent: Some(percent), rpm: Some(rpm) }
}
