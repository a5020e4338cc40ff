//! What the driver says of the whole GPU.

use super::{Case, NVML, OURS, Raised, Rule, reset_it};
use crate::{
    gpu::{
        health::{Verdict, vitals::Trouble},
        pcie::PcieLink,
    },
    xid::{Action, RecoveryAction},
};

pub const RULES: &[Rule] = &[
    // First: of a GPU that is lost nothing else is told.
    Rule { id: "gpu_lost", source: NVML, judge: lost },
    Rule { id: "nothing_read", source: OURS, judge: nothing_read },
    Rule { id: "recovery_action", source: NVML, judge: recovery_action },
    Rule { id: "reset_required", source: NVML, judge: reset_required },
    Rule { id: "power_cable", source: NVML, judge: power_cable },
    Rule { id: "interrupts", source: NVML, judge: interrupts },
    Rule { id: "inforom_corrupted", source: NVML, judge: inforom },
];

fn lost(case: &Case<'_>) -> Option<Raised> {
    case.now.said.lost.then(|| {
        Raised::new(
            Verdict::Unreachable,
            "NVML no longer reaches this GPU (NVML_ERROR_GPU_IS_LOST).",
            "Drain the node, then reboot it; if the GPU is lost again, reseat or replace it. analyze_xid_errors shows whether Xid 79 came first.",
        )
        .with("nvml_return", "NVML_ERROR_GPU_IS_LOST")
        .action("RESTART_BM")
    })
}

/// NVML refuses every figure that the board should have, with whatever error: the GPU may be well, and nobody can say so.
fn nothing_read(case: &Case<'_>) -> Option<Raised> {
    let (said, link) = (&case.now.said, &case.now.pcie.link);
    // What NVML knows without asking the GPU is no sign of life.
    let silent = said.answered == 0 && said.refused > 0 && *link == PcieLink::default();
    let first = case.now.absent.iter().find(|absent| !absent.by_design);
    silent.then(|| {
        Raised::new(
            Verdict::Unreachable,
            "NVML refuses every figure of this GPU.",
            "Run `nvidia-smi -q` on the node: where it fails too, drain the node and reset the GPU, else reboot. analyze_xid_errors shows what came first.",
        )
        .with("figures_refused", said.refused)
        .maybe("nvml", first.map(|absent| format!("{}: {}", absent.call, absent.reason)))
    })
}

/// The driver's own verdict, the number of Xid 154.
fn recovery_action(case: &Case<'_>) -> Option<Raised> {
    let recovery = case.now.recovery_action.map(RecoveryAction::from_number)?;
    let (advice, action) = match recovery {
        RecoveryAction::None => return None,
        RecoveryAction::Other(_) => (
            "Read the driver's release notes for the recovery action named.",
            Action::ContactSupport,
        ),
        known => (known.action().plain(), known.action()),
    };
    let name = recovery.name().replace('_', " ");
    let summary = format!("The driver asks for a recovery action: {name}.");
    let raised = Raised::new(Verdict::Failed, summary, advice);
    Some(raised.with("recovery_action", recovery.number()).action(action.name()))
}

/// A return code about the whole GPU, as evidence the call that had it.
fn said(case: &Case<'_>, trouble: Trouble) -> Option<&'static str> {
    let mut troubles = case.now.said.troubles.iter();
    troubles.find(|(known, _)| *known == trouble).map(|(_, call)| *call)
}

fn reset_required(case: &Case<'_>) -> Option<Raised> {
    let call = said(case, Trouble::ResetRequired)?;
    let raised = Raised::new(
        Verdict::Failed,
        "The GPU wants a reset before it can be used again.",
        concat!("Drain this GPU and ", reset_it!(), "; analyze_xid_errors shows what came first."),
    );
    Some(raised.with("NVML_ERROR_RESET_REQUIRED", call).action("RESET_GPU"))
}

fn power_cable(case: &Case<'_>) -> Option<Raised> {
    let call = said(case, Trouble::PowerCable)?;
    let raised = Raised::new(
        Verdict::Failed,
        "The board's external power cables are not properly attached.",
        "Take the node down and check the power cables of this board.",
    );
    Some(raised.with("NVML_ERROR_INSUFFICIENT_POWER", call).action("CHECK_MECHANICALS"))
}

fn interrupts(case: &Case<'_>) -> Option<Raised> {
    let call = said(case, Trouble::Interrupts)?;
    let raised = Raised::new(
        Verdict::Failed,
        "The kernel has found an interrupt problem with this GPU: the driver does not hear it.",
        "Drain the node and reboot it; if it comes back, check the host's firmware settings for interrupts and MSI.",
    );
    Some(raised.with("NVML_ERROR_IRQ_ISSUE", call).action("RESTART_BM"))
}

fn inforom(case: &Case<'_>) -> Option<Raised> {
    let call = said(case, Trouble::Inforom)?;
    let raised = Raised::new(
        Verdict::Degraded,
        "The board's InfoROM is corrupted: its record of errors and its serial number cannot be trusted.",
        "Contact the board's vendor for a repair of the InfoROM.",
    );
    Some(raised.with("NVML_ERROR_CORRUPTED_INFOROM", call).action("CONTACT_SUPPORT"))
}
