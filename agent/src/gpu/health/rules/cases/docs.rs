//! `docs/health.md` has every rule, and no other.

use super::all;

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/health.md"));

#[test]
fn the_document_names_each_rule_with_its_source_in_their_order() {
    // | `id` | figure | raised | verdict | action | source |
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `"));
    let cells =
        rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>());
    // The findings that no rule of figures makes have a table of their own, with fewer columns.
    let rules = cells.filter(|cells| cells.len() == 6);
    let told: Vec<_> = rules.map(|cells| (cells[0].trim_matches('`'), cells[5])).collect();
    assert_eq!(told, all().map(|rule| (rule.id, rule.source)).collect::<Vec<_>>());
}
