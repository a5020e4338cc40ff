//! What the machines said beside what was expected of them: a table, and a verdict.

use super::boot::{Said, Went};
use super::kernels::{Expected, Version, checks, expected};
use crate::arch::Arch;

/// A kernel and what came of it.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) arch: Arch,
    /// What it is in full, once it is had.
    pub(crate) release: Option<(String, Version)>,
    /// What it said, or why it was not had or not booted.
    pub(crate) said: Result<Said, String>,
}

/// The lines to print, and what is not as expected, one a line.
pub(crate) fn judge(columns: &[Column]) -> (Vec<String>, Vec<String>) {
    let mut wrong = Vec::new();
    let cells: Vec<Vec<String>> = columns.iter().map(|column| cells(column, &mut wrong)).collect();
    let width = |cells: &[String]| cells.iter().map(String::len).max().unwrap_or(0);
    let names: Vec<String> = std::iter::once(String::new())
        .chain(checks(Arch::Amd64).map(|(name, _)| name.to_owned()))
        .collect();
    let lines = names.iter().enumerate().map(|(row, name)| {
        let name = format!("  {name:<width$}", width = width(&names));
        let cells =
            cells.iter().map(|cells| format!("  {:<width$}", cells[row], width = width(cells)));
        let line: Vec<_> = std::iter::once(name).chain(cells).collect();
        line.concat().trim_end().to_owned()
    });
    (lines.collect(), wrong)
}

/// A column from its title down.
fn cells(column: &Column, wrong: &mut Vec<String>) -> Vec<String> {
    let title = column.release.as_ref().map_or(column.name, |(release, _)| release);
    let title = title.trim_end_matches(column.arch.debian()).trim_end_matches("-cloud-").to_owned();
    let (said, version) = match (&column.said, &column.release) {
        (Ok(said), Some((_, version))) => (said, *version),
        (Err(why), _) => {
            wrong.push(format!("{}: {why}", column.name));
            return std::iter::once(title)
                .chain(checks(column.arch).map(|_| "not had".to_owned()))
                .collect();
        }
        (Ok(_), None) => return vec![title],
    };
    let missing: Vec<&str> = checks(column.arch)
        .map(|(name, _)| name)
        .filter(|name| !said.checks.contains_key(*name))
        .collect();
    if !missing.is_empty() {
        let why = said.broke.as_deref().unwrap_or("it ended before");
        let console = said.console.display();
        let missing = missing.join(", ");
        wrong.push(format!("{title}: did not run {missing}: {why}; its messages are in {console}"));
    }
    let cell = |(name, words): Expected| {
        let expected = expected(words, version);
        let (cell, problem) = match said.checks.get(name) {
            Some(Went::Ok(word, _)) if word == expected => (word.clone(), None),
            Some(Went::Ok(word, detail)) => {
                (format!("{word}!"), Some(format!("{word} where {expected} is expected: {detail}")))
            }
            Some(Went::Failed(why)) => ("FAILED".to_owned(), Some(why.clone())),
            None => ("NOT RUN".to_owned(), None),
        };
        wrong.extend(problem.map(|problem| format!("{title}: {name}: {problem}")));
        cell
    };
    let checks: Vec<String> = checks(column.arch).map(cell).collect();
    std::iter::once(title.clone()).chain(checks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(checks: &[(&str, Went)]) -> Column {
        let checks = checks.iter().map(|(name, went)| ((*name).to_owned(), went.clone())).collect();
        let release = Some(("5.10.0-32-cloud-amd64".to_owned(), (5, 10)));
        Column {
            name: "5.10",
            arch: Arch::Amd64,
            release,
            said: Ok(Said { checks, ..Said::default() }),
        }
    }

    fn all_as_expected() -> Vec<(&'static str, Went)> {
        let word = |words| Went::Ok(expected(words, (5, 10)).to_owned(), String::new());
        checks(Arch::Amd64).map(|(name, words)| (name, word(words))).collect()
    }

    #[test]
    fn what_is_as_expected_is_no_problem() {
        let (lines, wrong) = judge(&[column(&all_as_expected())]);
        assert_eq!((lines.len(), wrong), (checks(Arch::Amd64).count() + 1, vec![]));
    }

    #[test]
    fn anything_else_is_named() {
        for went in [
            Some(Went::Ok("kernel".to_owned(), String::new())),
            Some(Went::Failed("no event".to_owned())),
            None,
        ] {
            let mut checks = all_as_expected();
            checks.retain(|(name, _)| *name != "xid_process");
            checks.extend(went.clone().map(|went| ("xid_process", went)));
            let (_, wrong) = judge(&[column(&checks)]);
            assert!(wrong.len() == 1 && wrong[0].contains("xid_process"), "{went:?}: {wrong:?}");
        }
    }

    #[test]
    fn a_kernel_that_is_not_had_says_why() {
        let column = Column {
            name: "5.10",
            arch: Arch::Amd64,
            release: None,
            said: Err("no mirror".to_owned()),
        };
        let (lines, wrong) = judge(&[column]);
        assert!(
            lines[1].contains("not had") && wrong == ["5.10: no mirror"],
            "{lines:?} {wrong:?}"
        );
    }
}
