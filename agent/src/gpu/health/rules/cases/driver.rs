use super::{Board, CASE, Case, Degraded, Failed, Unreachable, findings};
use crate::gpu::{
    health::vitals::{Said, Trouble, Vitals},
    reading::Absent,
};

fn trouble(vitals: &mut Vitals, trouble: Trouble) {
    vitals.said.troubles.push((trouble, "nvmlDeviceGetTemperature"));
}

fn refused(by_design: bool) -> Absent {
    let reason = "NVML_ERROR_UNKNOWN: the driver gives no reason".to_owned();
    Absent { field: "temperature_celsius", call: "nvmlDeviceGetTemperature", reason, by_design }
}

pub const CASES: &[Case] = &[
    Case {
        rule: "gpu_lost",
        what: "nothing else is said of it",
        now: |v| {
            v.said.lost = true;
            v.memory.ecc_uncorrected = Some(9);
        },
        raises: Some(Unreachable),
        ..CASE
    },
    Case {
        rule: "gpu_lost",
        what: "a call that failed otherwise",
        now: |v| v.said.refused = 1,
        ..CASE
    },
    Case {
        rule: "nothing_read",
        what: "every figure is refused",
        now: |v| {
            let said = Said { refused: 40, ..Said::default() };
            *v = Vitals { said, absent: vec![refused(false)], ..Vitals::default() };
        },
        raises: Some(Unreachable),
        ..CASE
    },
    Case {
        rule: "nothing_read",
        what: "all but one are refused",
        now: |v| {
            let said = Said { answered: 1, refused: 39, ..Said::default() };
            *v = Vitals { said, absent: vec![refused(false)], ..Vitals::default() };
        },
        ..CASE
    },
    Case {
        rule: "nothing_read",
        what: "a board that has none of them",
        now: |v| *v = Vitals { absent: vec![refused(true)], ..Vitals::default() },
        ..CASE
    },
    Case {
        rule: "recovery_action",
        what: "a reset",
        now: |v| v.recovery_action = Some(1),
        raises: Some(Failed),
        ..CASE
    },
    Case {
        rule: "recovery_action",
        what: "one that no header has yet",
        now: |v| v.recovery_action = Some(99),
        raises: Some(Failed),
        ..CASE
    },
    Case { rule: "recovery_action", what: "none", now: |v| v.recovery_action = Some(0), ..CASE },
    Case {
        rule: "reset_required",
        what: "said by any call",
        now: |v| trouble(v, Trouble::ResetRequired),
        raises: Some(Failed),
        ..CASE
    },
    Case {
        rule: "reset_required",
        what: "an error that says no more than that",
        now: |v| v.absent.push(refused(false)),
        ..CASE
    },
    Case {
        rule: "power_cable",
        what: "said by any call",
        now: |v| trouble(v, Trouble::PowerCable),
        raises: Some(Failed),
        ..CASE
    },
    Case {
        rule: "power_cable",
        what: "held at the power limit",
        now: |v| v.thermal.clocks_event_reasons = Some(0x4),
        ..CASE
    },
    Case {
        rule: "interrupts",
        what: "said by any call",
        now: |v| trouble(v, Trouble::Interrupts),
        raises: Some(Failed),
        ..CASE
    },
    Case { rule: "interrupts", what: "an error", now: |v| v.said.refused = 3, ..CASE },
    Case {
        rule: "inforom_corrupted",
        what: "its check sum is wrong",
        now: |v| {
            v.inforom_valid = None;
            trouble(v, Trouble::Inforom);
        },
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "inforom_corrupted",
        what: "a board that has none",
        now: |v| v.inforom_valid = None,
        ..CASE
    },
];

#[test]
fn a_recovery_action_is_told_as_what_is_to_be_done() {
    for (number, action) in [(1, "RESET_GPU"), (6, "RESET_GPU"), (7, "RESTART_BM")] {
        let vitals = Vitals { recovery_action: Some(number), ..Board::H100.healthy() };
        let [finding] = &findings(&vitals, None)[..] else { panic!("one finding") };
        assert_eq!(finding.nvidia_action, Some(action), "{number}");
    }
}
