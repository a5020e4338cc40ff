//! Xid 154: the driver changed its mind about what it takes to recover a GPU.

use super::reader::Reader;
use super::{Action, Text};

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

macro_rules! recovery_actions {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $action:ident;)*) => {
        /// What it takes to recover a GPU: the numbers of NVML's field 230
        /// (`NVML_FI_DEV_GET_GPU_RECOVERY_ACTION`, nvmlDeviceGpuRecoveryAction_t) and of Xid 154.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum RecoveryAction {
            $($(#[$doc])* $variant,)*
            /// A number that is not known here.
            Other(u32),
        }

        impl RecoveryAction {
            /// By number.
            #[must_use]
            pub fn from_number(number: u32) -> Self {
                match number {
                    $($number => Self::$variant,)*
                    other => Self::Other(other),
                }
            }

            /// Its number.
            #[must_use]
            pub fn number(self) -> u32 {
                match self {
                    $(Self::$variant => $number,)*
                    Self::Other(number) => number,
                }
            }

            /// Its name in answers.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(_) => "unknown",
                }
            }

            /// What is to be done.
            #[must_use]
            pub fn action(self) -> Action {
                match self {
                    $(Self::$variant => Action::$action,)*
                    Self::Other(_) => Action::Xid154,
                }
            }
        }
    };
}

recovery_actions! {
    /// 0: nothing.
    None = 0, "none", Ignore;
    /// 1: reset the GPU.
    GpuReset = 1, "gpu_reset", ResetGpu;
    /// 2: reboot the node.
    NodeReboot = 2, "node_reboot", RestartBm;
    /// 3: stop peer-to-peer work over NVLink, and with it the GPU may go on.
    DrainP2P = 3, "drain_p2p", DrainP2p;
    /// 4: let running work end, start none, then reset.
    DrainAndReset = 4, "drain_and_reset", DrainAndReset;
    /// 5: act on the whole IMEX domain (the NVLink partition that several nodes share).
    ImexDomain = 5, "imex_domain", ResetFabric;
    /// 6: reset the GPU by its PCIe bus; drivers from 615 on.
    BusReset = 6, "bus_reset", ResetGpu;
    /// 7: reboot the whole machine; drivers from 615 on.
    SystemReboot = 7, "system_reboot", RestartBm;
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
