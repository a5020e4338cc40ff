//! NVIDIA's workflows, for the actions that are more than one step.

use std::sync::OnceLock;

use super::Action;
use super::catalogue::rows;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The workflow it is of.
    pub workflow: Action,
    /// When it holds.
    pub when: &'static str,
    /// What to do then.
    pub then: &'static str,
    /// NVIDIA's name for that, where it has one.
    pub action: Option<Action>,
}

/// The steps of a workflow, in order; empty for an action that is one step by itself
/// ([`Action::plain`] says it).
#[must_use]
pub fn steps(workflow: Action) -> &'static [Step] {
    let steps = all();
    let start = steps.partition_point(|step| step.workflow < workflow);
    let end = steps.partition_point(|step| step.workflow <= workflow);
    &steps[start..end]
}

/// Every step, by workflow.
pub fn all() -> &'static [Step] {
    static STEPS: OnceLock<Box<[Step]>> = OnceLock::new();
    STEPS.get_or_init(|| {
        let mut steps: Vec<_> =
            rows(include_str!("../../data/workflows.tsv")).filter_map(step).collect();
        // Stable: a workflow's steps keep their order.
        steps.sort_by_key(|step| step.workflow);
        steps.into()
    })
}

fn step(mut fields: impl Iterator<Item = &'static str>) -> Option<Step> {
    Some(Step {
        workflow: Action::from_name(fields.next()?)?,
        when: fields.next()?,
        then: fields.next()?,
        action: Action::from_name(fields.next()?),
    })
}
