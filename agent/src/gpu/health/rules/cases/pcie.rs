use super::{Attention, Board, CASE, Case, Degraded, SAME, link_of};

pub const CASES: &[Case] = &[
    Case {
        rule: "pcie_width",
        what: "idle or not",
        now: |v| {
            v.pcie.link.width = Some(8);
            v.gpu_utilization_percent = Some(0);
        },
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "pcie_width",
        what: "a slot with eight lanes",
        now: |v| v.pcie.link = link_of(5, 8),
        ..CASE
    },
    Case {
        rule: "pcie_width",
        what: "in a virtual machine the slot is not seen",
        board: Board::T4,
        before: Some((60, SAME)),
        ..CASE
    },
    Case {
        rule: "pcie_width",
        what: "in a virtual machine it shrank",
        board: Board::T4,
        now: |v| v.pcie.link.width = Some(4),
        before: Some((60, SAME)),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "pcie_generation",
        what: "under load",
        now: |v| v.pcie.link.generation = Some(4),
        raises: Some(Attention),
        ..CASE
    },
    Case {
        rule: "pcie_generation",
        what: "idle",
        now: |v| {
            v.pcie.link.generation = Some(1);
            v.gpu_utilization_percent = Some(0);
        },
        ..CASE
    },
    Case {
        rule: "pcie_generation",
        what: "in a virtual machine it was faster while it worked",
        board: Board::T4,
        now: |v| v.pcie.link.generation = Some(1),
        before: Some((60, SAME)),
        raises: Some(Attention),
        ..CASE
    },
    Case {
        rule: "pcie_generation",
        what: "in a virtual machine the slot is not seen",
        board: Board::T4,
        now: |v| v.pcie.link.generation = Some(2),
        before: Some((60, |v| v.pcie.link.generation = Some(2))),
        ..CASE
    },
    Case {
        rule: "pcie_generation",
        what: "work has just begun",
        now: |v| {
            v.pcie.link.generation = Some(1);
            v.gpu_utilization_percent = Some(49);
        },
        ..CASE
    },
    Case {
        rule: "pcie_generation",
        what: "a slot older than its board",
        now: |v| v.pcie.link = link_of(4, 16),
        ..CASE
    },
    Case {
        rule: "pcie_generation",
        what: "a slot newer than its board",
        board: Board::A100,
        now: |v| v.pcie.link.generation_max = Some(5),
        ..CASE
    },
    Case {
        rule: "pcie_replays",
        what: "nine a minute",
        now: |v| v.pcie.replays = Some(150 + 18),
        before: Some((120, SAME)),
        raises: Some(Attention),
        ..CASE
    },
    Case {
        rule: "pcie_replays",
        what: "eight a minute",
        now: |v| v.pcie.replays = Some(150 + 16),
        before: Some((120, SAME)),
        ..CASE
    },
    Case {
        rule: "pcie_replays",
        what: "a few within a second",
        now: |v| v.pcie.replays = Some(155),
        before: Some((1, SAME)),
        ..CASE
    },
    Case {
        rule: "pcie_replays",
        what: "many since the driver was loaded",
        now: |v| v.pcie.replays = Some(100_000),
        ..CASE
    },
    Case {
        rule: "pcie_errors",
        what: "a fatal one",
        now: |v| v.pcie.fatal_errors = Some(1),
        before: Some((60, SAME)),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "pcie_errors",
        what: "one that is not fatal",
        now: |v| v.pcie.non_fatal_errors = Some(2),
        before: Some((60, SAME)),
        raises: Some(Attention),
        ..CASE
    },
    Case {
        rule: "pcie_errors",
        what: "corrected ones",
        now: |v| v.pcie.correctable_errors = Some(160),
        before: Some((60, SAME)),
        ..CASE
    },
    Case {
        rule: "pcie_errors",
        what: "the driver was loaded anew",
        now: |v| v.pcie.non_fatal_errors = Some(0),
        before: Some((60, SAME)),
        ..CASE
    },
];
