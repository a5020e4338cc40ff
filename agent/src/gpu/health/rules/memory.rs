//! Memory: errors since the driver was loaded, and repairs that wait or cannot be made. Lifetime counts are history, not a state.

use std::time::Duration;

use super::{Case, DCGM, MEMORY_ERRORS, NVML, OURS, Raised, Rule, reset_it};
use crate::gpu::health::Verdict;

pub const RULES: &[Rule] = &[
    Rule { id: "row_remap_failed", source: MEMORY_ERRORS, judge: rows_failed },
    Rule { id: "row_remap_pending", source: MEMORY_ERRORS, judge: rows_pending },
    Rule { id: "spare_rows_spent", source: MEMORY_ERRORS, judge: spare_rows },
    Rule { id: "retired_pages_limit", source: DCGM, judge: pages_limit },
    Rule { id: "retired_pages_pending", source: MEMORY_ERRORS, judge: pages_pending },
    Rule { id: "repair_pending", source: NVML, judge: repair },
    Rule { id: "sram_threshold", source: MEMORY_ERRORS, judge: sram },
    Rule { id: "ecc_uncorrected", source: MEMORY_ERRORS, judge: uncorrected },
    Rule { id: "ecc_corrected_rate", source: DCGM, judge: corrected_rate },
    Rule { id: "ecc_off", source: OURS, judge: ecc_off },
    Rule { id: "ecc_mode_pending", source: NVML, judge: ecc_mode },
];

/// Retired pages from which on a board is a candidate for replacement; there is room for 64.
const PAGES_LIMIT: u64 = 60;
/// Corrected errors a minute that are more than chance. DCGM calls its number provisional, so that it never takes a GPU out of use.
const CORRECTED_PER_MINUTE: f64 = 10.0;

const RESET: &str = concat!("Drain this GPU at the next opportunity and ", reset_it!(), ".");

fn rows(case: &Case<'_>, raised: Raised) -> Raised {
    let memory = &case.now.memory;
    raised
        .maybe("remapped_rows_correctable", memory.rows_corrected)
        .maybe("remapped_rows_uncorrectable", memory.rows_uncorrected)
        .maybe("remapping_pending", memory.rows_pending)
        .maybe("remapping_failed", memory.rows_failed)
        .maybe("memory_banks_without_rows", memory.spare_rows.map(|rows| rows.none))
}

/// What Xid 64 says, for as long as the board lives.
fn rows_failed(case: &Case<'_>) -> Option<Raised> {
    (case.now.memory.rows_failed?).then(|| {
        let raised = Raised::new(
            Verdict::Failed,
            "A memory row could not be remapped: the spare rows of its bank are used up.",
            "Take the GPU out of service, run NVIDIA's field diagnostic and replace the board: the next error in that bank cannot be repaired.",
        );
        rows(case, raised.action("CONTACT_SUPPORT"))
    })
}

/// What Xid 63 says, until the next reset.
fn rows_pending(case: &Case<'_>) -> Option<Raised> {
    (case.now.memory.rows_pending? && case.now.memory.rows_failed != Some(true)).then(|| {
        let raised = Raised::new(
            Verdict::Degraded,
            "A memory row is marked for remapping, which happens at the next GPU reset.",
            RESET,
        );
        rows(case, raised.action("RESET_GPU"))
    })
}

/// Banks that have used all of their spare rows. Those with few left are as they should be.
fn spare_rows(case: &Case<'_>) -> Option<Raised> {
    let banks = case.now.memory.spare_rows.filter(|banks| banks.none > 0)?;
    (case.now.memory.rows_failed != Some(true)).then(|| {
        let raised = Raised::new(
            Verdict::Attention,
            format!("{} memory bank(s) have no spare row left.", banks.none),
            "Plan for a replacement: one more uncorrectable error there makes the remapping fail, which is NVIDIA's criterion for an RMA.",
        );
        raised
            .with("memory_banks_without_rows", banks.none)
            .with("memory_banks_with_few_rows", banks.low)
            .maybe("remapped_rows_uncorrectable", case.now.memory.rows_uncorrected)
    })
}

fn pages_limit(case: &Case<'_>) -> Option<Raised> {
    let memory = &case.now.memory;
    let (single, double) = (memory.pages_corrected?, memory.pages_uncorrected?);
    let pages = single.saturating_add(double);
    (pages >= PAGES_LIMIT).then(|| {
        let raised = Raised::new(
            Verdict::Degraded,
            format!("{pages} memory pages are retired, of 64 that can be."),
            "Run NVIDIA's field diagnostic and plan for a replacement of the board.",
        );
        raised
            .with("retired_pages_single_bit", single)
            .with("retired_pages_double_bit", double)
            .action("CONTACT_SUPPORT")
    })
}

fn pages_pending(case: &Case<'_>) -> Option<Raised> {
    let memory = &case.now.memory;
    (memory.pages_pending?).then(|| {
        let raised = Raised::new(
            Verdict::Degraded,
            "A memory page is marked for retirement, which happens when the driver next starts.",
            "Drain the node and reload the driver or reboot.",
        );
        raised
            .with("retired_pages_pending", true)
            .maybe("retired_pages_single_bit", memory.pages_corrected)
            .maybe("retired_pages_double_bit", memory.pages_uncorrected)
            .action("RESET_GPU")
    })
}

fn repair(case: &Case<'_>) -> Option<Raised> {
    let repairs = case.now.memory.repairs.filter(|it| it.channel_pending || it.tpc_pending)?;
    let what = if repairs.channel_pending { "memory channel" } else { "processor cluster (TPC)" };
    let raised = Raised::new(
        Verdict::Degraded,
        format!(
            "A {what} waits to be exchanged for a spare one, which happens at the next GPU reset."
        ),
        RESET,
    );
    let raised = raised.with("repair_channel_pending", repairs.channel_pending);
    Some(raised.with("repair_tpc_pending", repairs.tpc_pending).action("RESET_GPU"))
}

fn sram(case: &Case<'_>) -> Option<Raised> {
    let sram = case.now.memory.sram.filter(|sram| sram.threshold_exceeded)?;
    let raised = Raised::new(
        Verdict::Failed,
        "The caches and registers had more uncorrectable errors than NVIDIA lets pass.",
        "Take the GPU out of service, run NVIDIA's field diagnostic and replace the board.",
    );
    Some(
        raised
            .with("sram_threshold_exceeded", true)
            .with("sram_uncorrected_aggregate", sram.uncorrected_aggregate)
            .action("CONTACT_SUPPORT"),
    )
}

fn uncorrected(case: &Case<'_>) -> Option<Raised> {
    let memory = &case.now.memory;
    let count = memory.ecc_uncorrected.filter(|count| *count > 0)?;
    let raised = Raised::new(
        Verdict::Degraded,
        format!("{count} uncorrected ECC error(s) since the driver was loaded."),
        "Results computed on this GPU since then are suspect. See analyze_xid_errors for Xid 48, 63, 64, 94 and 95; drain and reset the GPU.",
    );
    Some(
        raised
            .with("ecc_uncorrected_volatile", count)
            .maybe("ecc_uncorrected_dram_volatile", memory.ecc_uncorrected_dram)
            .maybe("sram_uncorrected_parity_volatile", memory.sram.map(|it| it.parity_volatile))
            .maybe("sram_uncorrected_secded_volatile", memory.sram.map(|it| it.secded_volatile))
            .action("WORKFLOW_XID_48"),
    )
}

/// A storm of corrected errors, which a count alone never is.
fn corrected_rate(case: &Case<'_>) -> Option<Raised> {
    let before = case.before?;
    let grown = before.growth(case.now, |vitals| vitals.memory.ecc_corrected)?;
    let rate = before.rate(grown, Duration::from_mins(1))?;
    (rate > CORRECTED_PER_MINUTE).then(|| {
        let raised = Raised::new(
            Verdict::Attention,
            format!("ECC corrects {rate:.0} errors a minute."),
            "Nothing is lost yet. See analyze_xid_errors for Xid 63 and 92; run NVIDIA's field diagnostic when the node is next drained.",
        );
        raised.with("ecc_corrected_grown_by", grown).since(before)
    })
}

fn ecc_off(case: &Case<'_>) -> Option<Raised> {
    let memory = &case.now.memory;
    (!memory.ecc_enabled? && !memory.ecc_enabled_after_reset.unwrap_or(false)).then(|| {
        let raised = Raised::new(
            Verdict::Attention,
            "ECC is switched off: memory errors go unnoticed.",
            "Unless that is wanted: nvidia-smi --ecc-config=1 -i <index>, then reset the GPU.",
        );
        raised.with("ecc_enabled", false)
    })
}

fn ecc_mode(case: &Case<'_>) -> Option<Raised> {
    let (now, then) = (case.now.memory.ecc_enabled?, case.now.memory.ecc_enabled_after_reset?);
    (now != then).then(|| {
        let mode = if then { "on" } else { "off" };
        let raised = Raised::new(
            Verdict::Attention,
            format!("ECC will be switched {mode} by the next GPU reset."),
            concat!("If that is wanted, drain this GPU and ", reset_it!(), "."),
        );
        raised.with("ecc_enabled", now).with("ecc_enabled_after_reset", then)
    })
}
