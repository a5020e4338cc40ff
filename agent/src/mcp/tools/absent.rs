//! Why a value of an answer is null.

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use crate::gpu::reading::Absent;

/// One value that is null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AbsentAnswer {
    field: &'static str,
    reason: String,
    by_design: bool,
}

impl AbsentAnswer {
    /// For people.
    pub fn line(&self) -> String {
        format!("No {}: {}.", self.field, self.reason)
    }
}

impl From<Absent> for AbsentAnswer {
    fn from(absent: Absent) -> Self {
        let Absent { field, call, reason, by_design } = absent;
        Self { field, reason: format!("{call}: {reason}"), by_design }
    }
}
