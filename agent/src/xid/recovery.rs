//! Xid 154: the driver changed its mind about what it takes to recover a GPU.

use super::Text;
use super::reader::Reader;

/// `GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)`
///
/// The numbers count and the labels do not: drivers from 610 on print `PF FLR` and `OS Reboot` for
/// what was `GPU Reset Required` and `Node Reboot Required`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryChange<'a> {
    /// What was needed before.
    pub from: RecoveryAction,
    /// What is needed now.
    pub to: RecoveryAction,
    /// This driver's words for it.
    pub to_label: Option<Text<'a>>,
}

/// What it takes to recover a GPU: the numbers of NVML's field 230
/// (`NVML_FI_DEV_GET_GPU_RECOVERY_ACTION`, nvmlDeviceGpuRecoveryAction_t) and of Xid 154.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecoveryAction {
    /// 0: nothing.
    None,
    /// 1: reset the GPU.
    GpuReset,
    /// 2: reboot the node.
    NodeReboot,
    /// 3: stop peer-to-peer work over NVLink, and with it the GPU may go on.
    DrainP2P,
    /// 4: let running work end, start none, then reset.
    DrainAndReset,
    /// 5: act on the whole IMEX domain (the NVLink partition that several nodes share).
    ImexDomain,
    /// A number that is not known here.
    Other(u32),
}

impl RecoveryAction {
    /// By number.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        match number {
            0 => Self::None,
            1 => Self::GpuReset,
            2 => Self::NodeReboot,
            3 => Self::DrainP2P,
            4 => Self::DrainAndReset,
            5 => Self::ImexDomain,
            other => Self::Other(other),
        }
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::None => 0,
            Self::GpuReset => 1,
            Self::NodeReboot => 2,
            Self::DrainP2P => 3,
            Self::DrainAndReset => 4,
            Self::ImexDomain => 5,
            Self::Other(number) => number,
        }
    }

    /// Its name in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::GpuReset => "gpu_reset",
            Self::NodeReboot => "node_reboot",
            Self::DrainP2P => "drain_p2p",
            Self::DrainAndReset => "drain_and_reset",
            Self::ImexDomain => "imex_domain",
            Self::Other(_) => "unknown",
        }
    }
}

pub(super) fn change(message: &[u8]) -> Option<RecoveryChange<'_>> {
    let mut reader = Reader::new(message);
    reader.skip_to(b"recovery action changed from ")?;
    let from = RecoveryAction::from_number(reader.hex32()?);
    reader.skip_to(b" to ")?;
    let to = RecoveryAction::from_number(reader.hex32()?);
    reader.spaces();
    let label = if reader.eat(b"(") { reader.take_while(|byte| byte != b')') } else { b"" };
    let to_label = (!label.is_empty()).then(|| Text::bounded(label, Text::MAX_NAME));
    Some(RecoveryChange { from, to, to_label })
}
