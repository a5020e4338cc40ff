//! Reading what `cargo test` prints: how many tests passed, failed, or could not run.
//!
//! A test that lacks what it needs (root, a kernel feature) prints `skipped: <test>: <why>` and
//! returns; libtest counts it as passed, so it is counted here. That line must not get lost, hence
//! the tests run with `--show-output`; what else the passing tests printed is kept from the screen.

use std::collections::BTreeMap;

/// What a run of all test binaries came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// As libtest counts: a skipped test is among the passed ones.
    passed: u32,
    pub(crate) failed: u32,
    ignored: u32,
    binaries: u32,
    /// Test to reason: those that skipped themselves and those marked `#[ignore]`.
    pub(crate) skipped: BTreeMap<String, String>,
    failures: Vec<String>,
    /// Inside the listing of what passing tests printed.
    in_successes: bool,
}

impl Summary {
    /// Takes one line of output and says whether it is worth showing.
    pub(crate) fn take(&mut self, line: &str) -> bool {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.in_successes = false;
            self.binaries += 1;
            self.passed += count(result, "passed");
            self.failed += count(result, "failed");
            self.ignored += count(result, "ignored");
        } else if line == "failures:" {
            self.in_successes = false;
        } else if line == "successes:" {
            self.in_successes = true;
        } else if let Some(skipped) = line.trim_start().strip_prefix("skipped: ") {
            let (test, why) = skipped.split_once(": ").unwrap_or((skipped, "it does not say why"));
            self.skipped.insert(test.trim().to_owned(), why.trim().to_owned());
            return true;
        } else if let Some(test) = line.strip_prefix("test ") {
            if let Some((test, why)) = test.split_once(" ... ignored") {
                let why = why.trim_start_matches([',', ' ']);
                let why = if why.is_empty() { "marked #[ignore] without a reason" } else { why };
                self.skipped.insert(test.trim_end().to_owned(), why.to_owned());
            } else if let Some(test) = test.strip_suffix(" ... FAILED") {
                self.failures.push(test.trim_end().to_owned());
            }
        }
        !self.in_successes
    }

    /// The closing lines: the figures, then by name what did not pass.
    pub(crate) fn lines(&self, time: &str) -> Vec<String> {
        let skipped = u32::try_from(self.skipped.len()).unwrap_or(u32::MAX);
        let ran = self.passed.saturating_sub(skipped.saturating_sub(self.ignored));
        let mut lines = vec![format!(
            "tests: {ran} passed, {} failed, {skipped} skipped, in {} test binaries and {time}",
            self.failed, self.binaries,
        )];
        lines.extend(self.failures.iter().map(|test| format!("  FAILED   {test}")));
        lines.extend(self.skipped.iter().map(|(test, why)| format!("  NOT RUN  {test}: {why}")));
        lines
    }
}

/// The number before a word in `ok. 3 passed; 0 failed; 1 ignored; …`.
fn count(result: &str, what: &str) -> u32 {
    result
        .split([';', '.'])
        .find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 4 tests
test a::works ... ok
test a::needs_root ... ok
test a::slow ... ignored, takes an hour
test a::broken ... FAILED

successes:

---- a::works stdout ----
some figures

---- a::needs_root stdout ----
skipped: needs_root: not root: no CAP_BPF


successes:
    a::works
    a::needs_root

failures:

---- a::broken stdout ----
what went wrong

failures:
    a::broken

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s

running 1 test
test b ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn all_binaries_are_counted_and_a_skipped_test_is_not_a_passed_one() {
        let mut summary = Summary::default();
        for line in OUTPUT.lines() {
            summary.take(line);
        }
        assert_eq!(
            summary.lines("3 s"),
            [
                "tests: 2 passed, 1 failed, 2 skipped, in 2 test binaries and 3 s",
                "  FAILED   a::broken",
                "  NOT RUN  a::slow: takes an hour",
                "  NOT RUN  needs_root: not root: no CAP_BPF",
            ]
        );
    }

    #[test]
    fn what_passing_tests_print_is_hidden_and_what_failing_ones_print_is_shown() {
        let mut summary = Summary::default();
        let shown: Vec<&str> = OUTPUT.lines().filter(|line| summary.take(line)).collect();
        assert!(!shown.contains(&"some figures"));
        assert!(shown.contains(&"skipped: needs_root: not root: no CAP_BPF"));
        assert!(shown.contains(&"what went wrong"));
        assert!(shown.contains(&"test b ... ok"));
    }
}
