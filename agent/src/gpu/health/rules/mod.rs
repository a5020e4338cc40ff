//! The rules: figures in, findings out, and nothing else read. A file for each subject; `docs/health.md` is the table of all, and a
//! test holds the two to each other.
//!
//! A rule is about something that an engineer would act on. Its threshold is one that NVIDIA has published, which
//! [`Rule::source`] names, or is said there to be ours. Each has a case in `cases/` that raises it and one that comes close and
//! does not. A rule that lacks a figure stays silent.

#[cfg(test)]
mod cases;
mod driver;
mod memory;
mod nvlink;
mod pcie;
mod thermal;

use std::fmt;

use super::{Evidence, Finding, Verdict, before::Before, vitals::Vitals};

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Stable name, for scripts.
    pub id: &'static str,
    /// The document that has the threshold.
    pub source: &'static str,
    judge: fn(&Case<'_>) -> Option<Raised>,
}

/// What a rule judges.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    pub now: &'a Vitals,
    /// What was read before, for what only growth tells.
    pub before: Option<&'a Before>,
}

/// A rule that is raised.
struct Raised {
    verdict: Verdict,
    summary: String,
    evidence: Vec<Evidence>,
    advice: &'static str,
    nvidia_action: Option<&'static str>,
}

const NVML: &str = "NVML API reference";
const MEMORY_ERRORS: &str = "NVIDIA GPU Memory Error Management";
const DCGM: &str = "DCGM, dcgm_gpu_hardware_limits.h";
const OURS: &str = "ours";

/// Every rule, in the order that findings are told in.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    [driver::RULES, memory::RULES, thermal::RULES, pcie::RULES, nvlink::RULES].into_iter().flatten()
}

/// How a GPU is reset, in an advice. `nvidia-smi` refuses while any process has it open.
macro_rules! reset_it {
    () => {
        "reset it (nvidia-smi --gpu-reset -i <index>) once nothing has it open, monitoring such as this agent's pod and DCGM included"
    };
}
use reset_it;

/// Every finding about one GPU.
#[must_use]
pub fn findings(now: &Vitals, before: Option<&Before>) -> Vec<Finding> {
    let case = Case { now, before };
    let raised = all().filter_map(|rule| Some(rule.finding((rule.judge)(&case)?)));
    // A GPU that is lost answers nothing else truthfully.
    if now.said.lost { raised.take(1).collect() } else { raised.collect() }
}

impl Rule {
    fn finding(&self, raised: Raised) -> Finding {
        let Raised { verdict, summary, evidence, advice, nvidia_action } = raised;
        Finding { id: self.id, verdict, summary, evidence, advice, nvidia_action }
    }
}

impl Raised {
    fn new(verdict: Verdict, summary: impl Into<String>, advice: &'static str) -> Self {
        let (evidence, nvidia_action) = (Vec::new(), None);
        Self { verdict, summary: summary.into(), evidence, advice, nvidia_action }
    }

    fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.evidence.push(Evidence::new(name, value));
        self
    }

    /// The same for a figure that may not be known.
    fn maybe(mut self, name: &'static str, value: Option<impl fmt::Display>) -> Self {
        self.evidence.extend(value.map(|value| Evidence::new(name, value)));
        self
    }

    /// Over how long something has grown.
    fn since(self, before: &Before) -> Self {
        self.with("compared_with_seconds_ago", before.ago.as_secs())
    }

    fn action(mut self, name: &'static str) -> Self {
        self.nvidia_action = Some(name);
        self
    }
}
