//! One value read from NVML: there, or absent for a reason that is kept.
//!
//! NVML says "not supported" for many values on many boards. An absent value is `None` here and `null` on the wire,
//! with its reason beside it; it is never 0.

use nvml_wrapper::error::NvmlError;

use super::worker::Progress;

/// Why a field has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// The field's name in the answer.
    pub field: &'static str,
    /// The NVML function that was asked.
    pub call: &'static str,
    /// NVML's words.
    pub reason: String,
    /// The board or driver does not have this value, as opposed to failing to read it.
    pub by_design: bool,
}

/// Reads values of one device and collects the reasons of those that are absent.
#[derive(Debug)]
pub struct Reader<'a> {
    progress: &'a Progress,
    absent: Vec<Absent>,
    lost: bool,
}

impl<'a> Reader<'a> {
    #[must_use]
    pub fn new(progress: &'a Progress) -> Self {
        Self { progress, absent: Vec::new(), lost: false }
    }

    /// Another reader of the same GPU, for what may be had elsewhere: its reasons count once they are adopted.
    #[must_use]
    pub fn like(other: &Self) -> Self {
        Self { progress: other.progress, absent: Vec::new(), lost: other.lost }
    }

    /// Makes `call` and keeps its value, or the reason why `field` has none.
    pub fn read<T>(
        &mut self,
        field: &'static str,
        call: &'static str,
        ask: impl FnOnce() -> Result<T, NvmlError>,
    ) -> Option<T> {
        let progress = self.progress;
        self.take(field, call, || progress.during(call, ask))
    }

    /// Keeps a value that came with those of others in one call, or the reason why `field` has none.
    pub fn keep<T>(
        &mut self,
        field: &'static str,
        call: &'static str,
        answer: Result<T, NvmlError>,
    ) -> Option<T> {
        self.take(field, call, || answer)
    }

    fn take<T>(
        &mut self,
        field: &'static str,
        call: &'static str,
        answer: impl FnOnce() -> Result<T, NvmlError>,
    ) -> Option<T> {
        if self.lost {
            self.absent.push(Absent {
                field,
                call,
                reason: "not asked: the GPU is lost".to_owned(),
                by_design: false,
            });
            return None;
        }
        match answer() {
            Ok(value) => Some(value),
            Err(error) => {
                self.lost |= matches!(error, NvmlError::GpuLost);
                self.absent.push(Absent {
                    field,
                    call,
                    reason: reason(&error),
                    by_design: is_by_design(&error),
                });
                None
            }
        }
    }

    /// Notes a field that is not asked for, and why.
    pub fn not_asked(&mut self, field: &'static str, call: &'static str, why: &str) {
        let reason = format!("not asked: {why}");
        self.absent.push(Absent { field, call, reason, by_design: true });
    }

    /// Notes a field for which a call that succeeded has no value.
    pub fn not_available(&mut self, field: &'static str, call: &'static str) {
        let reason = "NVML_VALUE_NOT_AVAILABLE: the driver does not tell it, or not to this user";
        self.absent.push(Absent { field, call, reason: reason.to_owned(), by_design: true });
    }

    /// Takes over what another reader of the same GPU has found.
    pub fn adopt(&mut self, other: Self) {
        let Self { progress: _, absent, lost } = other;
        self.absent.extend(absent);
        self.lost |= lost;
    }

    /// NVML said that this GPU is no longer there (`NVML_ERROR_GPU_IS_LOST`).
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    #[must_use]
    pub fn into_absent(self) -> Vec<Absent> {
        self.absent
    }
}

/// Of a GPU that is lost.
pub const LOST: &str = "NVML_ERROR_GPU_IS_LOST: the GPU is not reachable on the bus";

/// Whether the error says that the board or driver does not have the value at all.
///
/// nvml-wrapper knows return codes up to 22; 25 (argument version mismatch) and 26 (deprecated) arrive as unexpected
/// variants, and a symbol that the installed driver lacks as a load failure.
#[must_use]
pub fn is_by_design(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::NotSupported
            | NvmlError::FunctionNotFound
            | NvmlError::FailedToLoadSymbol(_)
            | NvmlError::UnexpectedVariant(25 | 26)
    )
}

/// NVML's error in its own terms.
#[must_use]
pub fn reason(error: &NvmlError) -> String {
    match error {
        NvmlError::NotSupported => {
            "NVML_ERROR_NOT_SUPPORTED: this board or driver does not have it".to_owned()
        }
        NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => {
            "NVML_ERROR_FUNCTION_NOT_FOUND: the installed driver is too old for it".to_owned()
        }
        NvmlError::NoPermission => "NVML_ERROR_NO_PERMISSION: needs UID 0".to_owned(),
        NvmlError::GpuLost => LOST.to_owned(),
        NvmlError::UnexpectedVariant(25) => {
            "NVML_ERROR_ARGUMENT_VERSION_MISMATCH: the installed driver is too old for it"
                .to_owned()
        }
        NvmlError::UnexpectedVariant(26) => {
            "NVML_ERROR_DEPRECATED: this driver no longer answers it".to_owned()
        }
        NvmlError::UnexpectedVariant(code) => {
            format!("NVML answered with {code}, which this version does not know")
        }
        NvmlError::Unknown => "NVML_ERROR_UNKNOWN: the driver gives no reason".to_owned(),
        other => other.to_string(),
    }
}
