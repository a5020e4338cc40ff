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
    /// What decides, as far as the driver's lines tell; none where only a person can.
    pub checks: [Option<Check>; 2],
}

/// A fact, and whether it has to be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    pub fact: Fact,
    pub wanted: bool,
}

macro_rules! facts {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// What the conditions of the workflows ask of a fault and those that go with it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fact {
            $($(#[$doc])* $variant,)*
        }

        impl Fact {
            fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

facts! {
    /// Nothing is asked.
    Always = "always";
    /// Xid 13 named one TPC again, and not by the same application alone.
    SameTpcAgain = "same_tpc_again";
    /// Different applications met the fault.
    SeveralApplications = "several_applications";
    /// Another Xid came before it, or the line says which.
    FollowsAnother = "follows_another";
    /// An Xid 63 or 64 goes with it.
    With63Or64 = "with_63_or_64";
    /// The memory error was on the chip.
    InSram = "in_sram";
    /// The spare rows are used up.
    NoRowsLeft = "no_rows_left";
    /// Another error was reported at the same time.
    AnotherNearby = "another_nearby";
    /// NVIDIA has a rule for the registers in the line.
    RuleMatches = "rule_matches";
    /// An Xid 154 goes with it.
    With154 = "with_154";
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
    let (workflow, when, then) = (fields.next()?, fields.next()?, fields.next()?);
    let action = Action::from_name(fields.next()?);
    let mut checks = fields.next()?.split(',').map(check);
    let checks = [checks.next().flatten(), checks.next().flatten()];
    Some(Step { workflow: Action::from_name(workflow)?, when, then, action, checks })
}

fn check(text: &str) -> Option<Check> {
    let (name, wanted) = text.strip_prefix("not ").map_or((text, true), |name| (name, false));
    Some(Check { fact: Fact::from_name(name)?, wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_of_the_file_is_a_fact_that_is_known() {
        let written = rows(include_str!("../../data/workflows.tsv"))
            .filter_map(|mut fields| fields.nth(4))
            .flat_map(|checks| checks.split(','))
            .filter(|check| !check.is_empty());
        let read = all().iter().flat_map(|step| step.checks.iter().flatten());
        assert_eq!(written.count(), read.count());
    }

    #[test]
    fn every_row_of_the_file_is_read() {
        assert_eq!(all().len(), rows(include_str!("../../data/workflows.tsv")).count());
    }
}
