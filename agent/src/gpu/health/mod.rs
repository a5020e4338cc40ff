//! How the GPUs are: a verdict per GPU, made of findings that say what was read and what to do.
//!
//! [`vitals`] reads the figures, [`before`] keeps those that were read before, [`rules`] judges both without any I/O. A finding is about something that an engineer
//! would act on. What a busy, healthy GPU shows is none: full memory, the software power cap, idle clocks, a PCIe link
//! that an idle GPU has slowed down, errors counted over the board's lifetime.

pub mod before;
pub mod rules;
pub mod vitals;

use std::fmt;

pub use before::Readings;
pub use vitals::{Vitals, compare, vitals};

/// The state of one GPU, from best to worst; that of its worst finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing to act on.
    Healthy,
    /// Works; somebody should look at it.
    Attention,
    /// Works slower or less safely than it should; plan the action named.
    Degraded,
    /// Must not be given work until the action named is done.
    Failed,
    /// Does not answer at all.
    Unreachable,
}

impl Verdict {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Attention => "attention",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Unreachable => "unreachable",
        }
    }
}

/// One thing that is wrong with one GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable name of the rule, for scripts.
    pub id: &'static str,
    /// The verdict that this finding alone leads to.
    pub verdict: Verdict,
    /// What is wrong, in a sentence.
    pub summary: String,
    /// The figures it was judged by.
    pub evidence: Vec<Evidence>,
    /// What to do.
    pub advice: &'static str,
    /// The action of NVIDIA's Xid catalogue that this follows, where it names one.
    pub nvidia_action: Option<&'static str>,
}

/// One figure that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Name with its unit, as NVML means it.
    pub name: &'static str,
    pub value: String,
}

impl Evidence {
    pub fn new(name: &'static str, value: impl fmt::Display) -> Self {
        Self { name, value: value.to_string() }
    }
}
