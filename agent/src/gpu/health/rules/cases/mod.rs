//! Every rule with what raises it and what comes close and does not: a change to a busy, healthy board, and the findings it makes.

mod docs;
mod driver;
mod memory;
mod nvlink;
mod pcie;
mod thermal;

use std::{collections::BTreeSet, time::Duration};

use super::{all, findings};
use crate::gpu::{
    health::{
        Verdict,
        before::{Before, Best},
        vitals::{Link, Memory, NvLink, Pcie, Said, Thermal, Vitals},
    },
    pcie::PcieLink,
    raw::{Fabric, Repairs, SpareRows, SramErrors},
};

use Verdict::{Attention, Degraded, Failed, Unreachable};

/// A board of these tests.
#[derive(Clone, Copy)]
enum Board {
    /// HGX H100, eight on switches, under full load at the power limit.
    H100,
    /// A100 on switches that make no fabric, with absolute thresholds; the same load.
    A100,
    /// T4 in a virtual machine, whose slot has fewer lanes than the board; the same load.
    T4,
}

/// What makes another board of a healthy one.
type Change = fn(&mut Vitals);

/// One case: what is different now, and what was different a while before.
struct Case {
    /// The rule that it is about.
    rule: &'static str,
    what: &'static str,
    board: Board,
    now: Change,
    /// How long before there was another reading, and how that one differed from a healthy board's.
    before: Option<(u64, Change)>,
    /// None: it comes close.
    raises: Option<Verdict>,
    /// Other rules that it raises.
    and: &'static [&'static str],
}

const CASE: Case = Case {
    rule: "",
    what: "",
    board: Board::H100,
    now: |_| {},
    before: None,
    raises: None,
    and: &[],
};

const SAME: Change = |_| {};

fn cases() -> impl Iterator<Item = &'static Case> {
    [driver::CASES, memory::CASES, thermal::CASES, pcie::CASES, nvlink::CASES].into_iter().flatten()
}

impl Board {
    fn healthy(self) -> Vitals {
        match self {
            Self::H100 => h100(),
            Self::A100 => a100(),
            Self::T4 => t4(),
        }
    }
}

fn h100() -> Vitals {
    let link = |number| Link {
        number,
        up: true,
        replays: Some(2),
        recoveries: Some(1),
        crc_errors: Some(400),
        ..Link::default()
    };
    Vitals {
        said: Said { answered: 60, ..Said::default() },
        library_since: None,
        gpu_utilization_percent: Some(100),
        mig_enabled: Some(false),
        recovery_action: Some(0),
        inforom_valid: Some(true),
        memory: Memory {
            ecc_enabled: Some(true),
            ecc_enabled_after_reset: Some(true),
            ecc_corrected: Some(7),
            ecc_uncorrected: Some(0),
            ecc_uncorrected_dram: Some(0),
            ecc_uncorrected_ever: Some(12),
            sram: Some(SramErrors {
                parity_volatile: 0,
                secded_volatile: 0,
                uncorrected_aggregate: 1,
                threshold_exceeded: false,
            }),
            rows_corrected: Some(3),
            rows_uncorrected: Some(1),
            rows_pending: Some(false),
            rows_failed: Some(false),
            spare_rows: Some(SpareRows { max: 2556, high: 3, partial: 1, low: 0, none: 0 }),
            repairs: Some(Repairs { channel_pending: false, tpc_pending: false }),
            ..Memory::default()
        },
        thermal: Thermal {
            celsius: Some(71),
            memory_celsius: Some(88),
            margin_celsius: Some(16),
            clocks_event_reasons: Some(0x4),
            software_thermal_ns: Some(0),
            hardware_thermal_ns: Some(3_000_000),
            power_brake_ns: Some(5_000_000),
            ..Thermal::default()
        },
        pcie: Pcie {
            link: link_of(5, 16),
            generation_max_of_gpu: Some(5),
            virtual_machine: Some(false),
            replays: Some(150),
            correctable_errors: Some(150),
            non_fatal_errors: Some(1),
            fatal_errors: Some(0),
        },
        nvlink: NvLink {
            links: (0..18).map(link).collect(),
            are_all: true,
            to_switches: Some(18),
            peers_on_switches: false,
            fabric: Some(Fabric { state: 3, health_summary: Some(0), ..Fabric::default() }),
        },
        absent: Vec::new(),
    }
}

fn a100() -> Vitals {
    let mut vitals = h100();
    vitals.memory.repairs = None;
    vitals.thermal = Thermal {
        celsius: Some(71),
        memory_celsius: Some(90),
        slowdown_celsius: Some(89),
        memory_max_celsius: Some(95),
        clocks_event_reasons: Some(0x4),
        ..Thermal::default()
    };
    vitals.pcie.link = link_of(4, 16);
    vitals.pcie.generation_max_of_gpu = Some(4);
    vitals.nvlink.links.truncate(12);
    (vitals.nvlink.to_switches, vitals.nvlink.fabric) = (Some(12), None);
    vitals
}

fn t4() -> Vitals {
    let mut vitals = a100();
    vitals.memory = Memory {
        ecc_enabled: Some(true),
        ecc_enabled_after_reset: Some(true),
        ecc_uncorrected: Some(0),
        pages_corrected: Some(4),
        pages_uncorrected: Some(1),
        pages_pending: Some(false),
        ..Memory::default()
    };
    vitals.pcie.link = PcieLink { width: Some(8), ..link_of(3, 16) };
    (vitals.pcie.generation_max_of_gpu, vitals.pcie.virtual_machine) = (Some(3), Some(true));
    vitals.nvlink = NvLink::default();
    vitals.mig_enabled = None;
    vitals
}

fn link_of(generation: u32, width: u32) -> PcieLink {
    PcieLink {
        generation: Some(generation),
        generation_max: Some(generation),
        width: Some(width),
        width_max: Some(width),
    }
}

/// As if there had been one reading before.
fn since(ago: Duration, vitals: Vitals) -> Before {
    let best = Best::default().with(&vitals);
    Before { ago, vitals, best }
}

#[test]
fn each_case_raises_what_it_says_and_nothing_else() {
    for case in cases() {
        let Case { rule, what, board, now, before, raises, and } = case;
        let mut vitals = board.healthy();
        now(&mut vitals);
        let before = before.map(|(ago, change)| {
            let mut vitals = board.healthy();
            change(&mut vitals);
            since(Duration::from_secs(ago), vitals)
        });
        let found = findings(&vitals, before.as_ref());
        let ids: BTreeSet<_> = found.iter().map(|finding| finding.id).collect();
        let own = raises.map(|_| *rule);
        assert_eq!(ids, own.iter().chain(*and).copied().collect(), "{rule}: {what}");
        for finding in &found {
            assert!(!finding.evidence.is_empty() && finding.advice.ends_with('.'), "{finding:?}");
            assert!(finding.summary.ends_with('.'), "{finding:?}");
        }
        let verdict = found.iter().find(|finding| finding.id == *rule).map(|it| it.verdict);
        assert_eq!(verdict, *raises, "{rule}: {what}");
    }
}

#[test]
fn each_rule_has_a_case_that_raises_it_and_one_that_comes_close() {
    let of = |raised: bool| -> BTreeSet<&str> {
        let mut ids: BTreeSet<_> = all().map(|rule| rule.id).collect();
        for case in cases().filter(|case| case.raises.is_some() == raised) {
            ids.remove(case.rule);
        }
        ids
    };
    assert_eq!((of(true), of(false)), Default::default(), "without a case");
    let known: BTreeSet<_> = all().map(|rule| rule.id).collect();
    assert_eq!(known.len(), all().count(), "two rules of one name");
    assert!(cases().all(|case| known.contains(case.rule)));
}

#[test]
fn busy_healthy_boards_have_no_finding_at_first_nor_later() {
    for board in [Board::H100, Board::A100, Board::T4] {
        let vitals = board.healthy();
        assert_eq!(findings(&vitals, None), []);
        let before = since(Duration::from_hours(1), vitals.clone());
        assert_eq!(findings(&vitals, Some(&before)), []);
    }
}

#[test]
fn a_rule_without_its_figure_stays_silent() {
    let nothing = Vitals::default();
    assert_eq!(findings(&nothing, None), []);
    let before = since(Duration::from_mins(1), nothing.clone());
    assert_eq!(findings(&nothing, Some(&before)), []);
    assert_eq!(findings(&h100(), Some(&before)), []);
}
