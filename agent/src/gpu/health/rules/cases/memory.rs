use super::{Attention, Board, CASE, Case, Degraded, Failed, SAME};
use crate::gpu::raw::{Repairs, SpareRows};

pub const CASES: &[Case] = &[
    Case {
        rule: "row_remap_failed",
        what: "whether or not another waits",
        now: |v| (v.memory.rows_failed, v.memory.rows_pending) = (Some(true), Some(true)),
        raises: Some(Failed),
        ..CASE
    },
    Case {
        rule: "row_remap_failed",
        what: "many rows remapped, long ago",
        now: |v| {
            (v.memory.rows_corrected, v.memory.rows_uncorrected) = (Some(400), Some(100));
        },
        ..CASE
    },
    Case {
        rule: "row_remap_pending",
        what: "until the next reset",
        now: |v| v.memory.rows_pending = Some(true),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "row_remap_pending",
        what: "rows remapped since the reading before",
        now: |v| v.memory.rows_uncorrected = Some(2),
        before: Some((600, SAME)),
        ..CASE
    },
    Case {
        rule: "spare_rows_spent",
        what: "in one bank",
        now: |v| {
            v.memory.spare_rows =
                Some(SpareRows { max: 2559, high: 0, partial: 0, low: 0, none: 1 });
        },
        raises: Some(Attention),
        ..CASE
    },
    Case {
        rule: "spare_rows_spent",
        what: "few left in one bank",
        now: |v| {
            v.memory.spare_rows =
                Some(SpareRows { max: 2559, high: 0, partial: 0, low: 1, none: 0 });
        },
        ..CASE
    },
    Case {
        rule: "retired_pages_limit",
        what: "sixty of both causes",
        board: Board::T4,
        now: |v| {
            (v.memory.pages_corrected, v.memory.pages_uncorrected) = (Some(50), Some(10));
        },
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "retired_pages_limit",
        what: "one less",
        board: Board::T4,
        now: |v| {
            (v.memory.pages_corrected, v.memory.pages_uncorrected) = (Some(49), Some(10));
        },
        ..CASE
    },
    Case {
        rule: "retired_pages_pending",
        what: "until the driver next starts",
        board: Board::T4,
        now: |v| v.memory.pages_pending = Some(true),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "retired_pages_pending",
        what: "retired and done with",
        board: Board::T4,
        now: |v| v.memory.pages_uncorrected = Some(2),
        ..CASE
    },
    Case {
        rule: "repair_pending",
        what: "a channel",
        now: |v| v.memory.repairs = Some(Repairs { channel_pending: true, tpc_pending: false }),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "repair_pending",
        what: "a processor cluster",
        now: |v| v.memory.repairs = Some(Repairs { channel_pending: false, tpc_pending: true }),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "repair_pending",
        what: "a board that repairs nothing",
        now: |v| v.memory.repairs = None,
        ..CASE
    },
    Case {
        rule: "sram_threshold",
        what: "exceeded",
        now: |v| v.memory.sram.iter_mut().for_each(|it| it.threshold_exceeded = true),
        raises: Some(Failed),
        ..CASE
    },
    Case {
        rule: "sram_threshold",
        what: "errors over the board's life below it",
        now: |v| v.memory.sram.iter_mut().for_each(|it| it.uncorrected_aggregate = 40),
        ..CASE
    },
    Case {
        rule: "ecc_uncorrected",
        what: "one since the driver was loaded",
        now: |v| v.memory.ecc_uncorrected = Some(1),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "ecc_uncorrected",
        what: "many over the board's life",
        now: |v| v.memory.ecc_uncorrected_ever = Some(1000),
        ..CASE
    },
    Case {
        rule: "ecc_corrected_rate",
        what: "more than ten a minute",
        now: |v| v.memory.ecc_corrected = Some(7 + 21),
        before: Some((120, SAME)),
        raises: Some(Attention),
        ..CASE
    },
    Case {
        rule: "ecc_corrected_rate",
        what: "ten a minute",
        now: |v| v.memory.ecc_corrected = Some(7 + 20),
        before: Some((120, SAME)),
        ..CASE
    },
    Case {
        rule: "ecc_corrected_rate",
        what: "many, and nobody knows since when",
        now: |v| v.memory.ecc_corrected = Some(1_000_000),
        ..CASE
    },
    Case {
        rule: "ecc_corrected_rate",
        what: "some within seconds",
        now: |v| v.memory.ecc_corrected = Some(7 + 20),
        before: Some((5, SAME)),
        ..CASE
    },
    Case {
        rule: "ecc_off",
        what: "and it will stay so",
        now: |v| {
            (v.memory.ecc_enabled, v.memory.ecc_enabled_after_reset) = (Some(false), Some(false));
            v.memory.ecc_uncorrected = None;
        },
        raises: Some(Attention),
        ..CASE
    },
    Case {
        rule: "ecc_off",
        what: "a board without it",
        now: |v| (v.memory.ecc_enabled, v.memory.ecc_enabled_after_reset) = (None, None),
        ..CASE
    },
    Case {
        rule: "ecc_mode_pending",
        what: "to be switched on",
        now: |v| v.memory.ecc_enabled = Some(false),
        raises: Some(Attention),
        ..CASE
    },
    Case {
        rule: "ecc_mode_pending",
        what: "only the mode of today is known",
        now: |v| v.memory.ecc_enabled_after_reset = None,
        ..CASE
    },
];
