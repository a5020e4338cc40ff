use super::{super::verdict, *};
use crate::gpu::{
    pcie::PcieLink,
    raw::{Fabric, RemappedRows},
};

/// A busy, healthy H100: full load, software power cap, everything at its best.
fn healthy() -> Vitals {
    Vitals {
        temperature_celsius: Some(71),
        thermal_margin_celsius: Some(16),
        clocks_event_reasons: Some(0x4),
        gpu_utilization_percent: Some(100),
        ecc_uncorrected_volatile: Some(0),
        ecc_uncorrected_aggregate: Some(12),
        remapped_rows: Some(RemappedRows {
            correctable: 3,
            uncorrectable: 1,
            pending: false,
            failed: false,
        }),
        retired_pages_pending: None,
        pcie: PcieLink {
            generation: Some(5),
            generation_max: Some(5),
            width: Some(16),
            width_max: Some(16),
        },
        pcie_replays: Some(150),
        nvlink_up: (0..18).collect(),
        fabric: Some(Fabric { state: 3, status: 0, health_mask: 0 }),
        recovery_action: Some(0),
        ..Vitals::default()
    }
}

#[track_caller]
fn check(change: impl FnOnce(&mut Vitals), expect: &[(&str, Verdict)]) {
    let mut vitals = healthy();
    change(&mut vitals);
    let found = findings(&vitals);
    let got: Vec<_> = found.iter().map(|finding| (finding.id, finding.verdict)).collect();
    assert_eq!(got, expect);
    assert!(found.iter().all(|finding| !finding.evidence.is_empty() && !finding.advice.is_empty()));
    assert_eq!(verdict(&found), expect.iter().map(|(_, v)| *v).max().unwrap_or(Verdict::Healthy));
}

#[test]
fn a_busy_healthy_gpu_has_no_finding() {
    check(|_| {}, &[]);
}

#[test]
fn a_gpu_of_which_nothing_could_be_read_has_no_finding_made_up() {
    check(|v| *v = Vitals::default(), &[]);
}

#[test]
fn a_lost_gpu_is_unreachable_and_nothing_else_is_said_of_it() {
    check(
        |v| {
            v.lost = true;
            v.ecc_uncorrected_volatile = Some(9);
        },
        &[("gpu_lost", Verdict::Unreachable)],
    );
}

#[test]
fn recovery_actions_are_keyed_on_the_number() {
    for action in [1, 2, 3, 4, 5, 6, 99] {
        check(|v| v.recovery_action = Some(action), &[("recovery_action", Verdict::Failed)]);
    }
}

#[test]
fn rows_that_were_remapped_long_ago_are_history() {
    let rows =
        |pending, failed| Some(RemappedRows { correctable: 9, uncorrectable: 9, pending, failed });
    check(|v| v.remapped_rows = rows(false, false), &[]);
    check(|v| v.remapped_rows = rows(true, false), &[("row_remap_pending", Verdict::Degraded)]);
    check(|v| v.remapped_rows = rows(true, true), &[("row_remap_failed", Verdict::Failed)]);
}

#[test]
fn pages_wait_for_retirement_or_not() {
    check(|v| v.retired_pages_pending = Some(false), &[]);
    check(
        |v| v.retired_pages_pending = Some(true),
        &[("retired_pages_pending", Verdict::Degraded)],
    );
}

#[test]
fn ecc_errors_count_since_the_driver_started_only() {
    check(|v| v.ecc_uncorrected_aggregate = Some(1000), &[]);
    check(|v| v.ecc_uncorrected_volatile = Some(1), &[("ecc_uncorrected", Verdict::Degraded)]);
}

#[test]
fn clocks_that_are_low_on_purpose_are_normal() {
    // Idle, applications clocks, software power cap, sync boost, display clocks.
    for bits in [0x1, 0x2, 0x4, 0x10, 0x100, 0x117] {
        check(|v| v.clocks_event_reasons = Some(bits), &[]);
    }
    check(
        |v| v.clocks_event_reasons = Some(0x8 | 0x40),
        &[("hw_thermal_slowdown", Verdict::Degraded)],
    );
    check(|v| v.clocks_event_reasons = Some(0x8 | 0x80), &[("hw_power_brake", Verdict::Degraded)]);
    check(|v| v.clocks_event_reasons = Some(0x8), &[("hw_slowdown", Verdict::Degraded)]);
    check(|v| v.clocks_event_reasons = Some(0x20), &[("sw_thermal_slowdown", Verdict::Attention)]);
}

#[test]
fn heat_is_said_once() {
    check(|v| v.thermal_margin_celsius = Some(4), &[]);
    check(|v| v.thermal_margin_celsius = Some(3), &[("thermal_margin_thin", Verdict::Attention)]);
    check(
        |v| {
            v.thermal_margin_celsius = Some(-2);
            v.clocks_event_reasons = Some(0x40);
        },
        &[("hw_thermal_slowdown", Verdict::Degraded)],
    );
}

#[test]
fn a_link_is_slow_only_under_load_but_narrow_always() {
    check(
        |v| {
            v.pcie.generation = Some(1);
            v.gpu_utilization_percent = Some(0);
        },
        &[],
    );
    check(|v| v.pcie.generation = Some(4), &[("pcie_generation", Verdict::Attention)]);
    check(
        |v| {
            v.pcie.width = Some(8);
            v.gpu_utilization_percent = Some(0);
        },
        &[("pcie_width", Verdict::Degraded)],
    );
}

#[test]
fn links_of_bridged_boards_may_be_down_those_of_a_fabric_may_not() {
    let one_down = |v: &mut Vitals| {
        v.nvlink_up.pop();
        v.nvlink_down.push(17);
    };
    check(one_down, &[("nvlink_down", Verdict::Degraded)]);
    check(
        |v| {
            one_down(v);
            v.fabric = Some(Fabric { state: 0, status: 0, health_mask: 0 });
        },
        &[],
    );
}

#[test]
fn fabric_health_is_read_field_by_field() {
    // Each field says "no" (2): healthy.
    check(|v| v.fabric = Some(Fabric { state: 3, status: 0, health_mask: 0b1010_1010 }), &[]);
    check(
        |v| v.fabric = Some(Fabric { state: 3, status: 0, health_mask: 0b01 }),
        &[("fabric", Verdict::Degraded)],
    );
    check(
        |v| v.fabric = Some(Fabric { state: 3, status: 999, health_mask: 0 }),
        &[("fabric", Verdict::Degraded)],
    );
    check(
        |v| v.fabric = Some(Fabric { state: 2, status: 0, health_mask: 0 }),
        &[("fabric", Verdict::Degraded)],
    );
}
