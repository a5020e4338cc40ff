//! `cargo xtask fuzz [TARGET] [--seconds N]`: libFuzzer on the code that reads other people's bytes.
//!
//! | target | what is fuzzed |
//! | --- | --- |
//! | `parser` | kernel lines: `agent/src/xid/`, and the line reader of `agent decode` |
//! | `record` | records of the BPF program: `agent/src/kernel/record.rs` |
//!
//! The targets, and what must hold for every input, are in `tests/fuzz/`. They run side by side, each for that long; stable Rust and
//! a C++ compiler build them.
//!
//! | below `<target>/fuzz/` | what |
//! | --- | --- |
//! | `seeds/` | what every run begins with: the lines of `tests/kernel-lines/` |
//! | `words.dict` | the words that the parser looks for, read from its source |
//! | `<target>/corpus/` | inputs that reached new code, kept from run to run |
//! | `<target>/found-*` | inputs that made something panic, take too long or take too much memory |
//! | `<target>/log` | libFuzzer's own output |
//!
//! An input that was found goes into `tests/fuzz/regressions/<target>/`, where every later run and `cargo test -p fuzz` tries it; how
//! to shrink it first is said with the find.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{cmd, paths, setup, ui};

/// As `tests/fuzz/Cargo.toml` has them.
const TARGETS: [&str; 2] = ["parser", "record"];

/// Beyond the longest line that the parser looks at, so that the cut is reached.
const MAX_INPUT: usize = 10_000;

/// How the targets are compiled: with counters of what code ran. Not with each comparison told to the fuzzer too: code that compares
/// byte by byte then runs at a quarter of the speed, and in the same time less of it is reached.
const COVERAGE: [&str; 4] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One target; all when left out.
    #[arg(value_parser = TARGETS)]
    target: Option<String>,
    /// How long, not counting the build.
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u32,
}

/// The task.
pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.target {
        Some(target) => fuzz(&[target], args.seconds),
        None => all(args.seconds),
    }
}

/// Every target.
pub(crate) fn all(seconds: u32) -> Result<()> {
    fuzz(&TARGETS, seconds)
}

fn fuzz(targets: &[&str], seconds: u32) -> Result<()> {
    let dir = paths::target()?.join("fuzz");
    let programs = build(&dir)?;
    ui::step(format!(
        "{} for {}",
        targets.join(" and "),
        ui::elapsed(Duration::from_secs(seconds.into()))
    ));
    seeds(&dir.join("seeds"))?;
    write(&dir.join("words.dict"), words()?.as_bytes())?;
    let runs: Result<Vec<_>> =
        targets.iter().map(|target| Run::start(target, &programs, &dir, seconds)).collect();
    let mut found = Vec::new();
    for run in runs? {
        let target = run.target.clone();
        if !run.finish()? {
            found.push(target);
        }
    }
    if !found.is_empty() {
        bail!("the fuzzer found something in: {}", found.join(", "));
    }
    Ok(())
}

/// Builds the targets and returns where they are.
fn build(dir: &Path) -> Result<PathBuf> {
    ui::step("the fuzzer's targets");
    setup::cxx()?;
    let said = cmd::output(paths::cargo().arg("-vV"))?;
    let host = said
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("`cargo -vV` names no host")?;
    let mut cargo = paths::cargo();
    cargo.args(["build", "--profile", "fuzz", "--package", "fuzz", "--features", "libfuzzer"]);
    // Named, so that the flags are for the targets alone and not for what only runs during the build.
    cargo.args(["--bins", "--target", host]);
    // A directory of its own: other flags, another lock.
    cargo.env("CARGO_TARGET_DIR", dir.join("build"));
    cargo.env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\x1f"));
    cmd::visible(&mut cargo).context("the fuzzer's targets do not build")?;
    Ok(dir.join("build").join(host).join("fuzz"))
}

/// Writes the seeds: of each log the lines between two comments, which belong together.
fn seeds(dir: &Path) -> Result<()> {
    let lines = paths::root().join("tests/kernel-lines");
    for path in files(&lines, "log")? {
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let all: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
        let blocks = all.split(|line| line.starts_with(b"#")).filter(|block| !block.is_empty());
        let name = path.file_stem().unwrap_or_default().display().to_string();
        for (number, block) in blocks.enumerate() {
            write(&dir.join(format!("{name}-{number}")), &block.concat())?;
        }
    }
    Ok(())
}

/// The fuzzer's dictionary: every byte string in the parser's source. Chance does not find a word of nine letters.
fn words() -> Result<String> {
    let mut words = BTreeSet::new();
    for path in files(&paths::root().join("agent/src/xid"), "rs")? {
        if path.ends_with("tests.rs") {
            continue;
        }
        let source =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        words.extend(byte_strings(&source).map(|word| format!("\"{word}\"\n")));
    }
    Ok(words.into_iter().collect())
}

/// The contents of `b"…"`, without those that have an escape in them.
fn byte_strings(source: &str) -> impl Iterator<Item = &str> {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("b\"").skip(1))
        .filter_map(|rest| rest.split_once('"').map(|(word, _)| word))
        .filter(|word| !word.is_empty() && !word.contains('\\'))
}

fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.with_context(|| format!("cannot read {}", dir.display()))?;
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    Ok(paths)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    path.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(path, bytes))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// A target that is being fuzzed.
struct Run {
    target: String,
    program: PathBuf,
    dir: PathBuf,
    child: Child,
}

impl Run {
    fn start(target: &str, programs: &Path, fuzz_dir: &Path, seconds: u32) -> Result<Self> {
        let program = programs.join(target);
        let dir = fuzz_dir.join(target);
        let corpus = dir.join("corpus");
        fs::create_dir_all(&corpus)
            .with_context(|| format!("cannot create {}", corpus.display()))?;
        let log = dir.join("log");
        let log = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;

        let mut cmd = Command::new(&program);
        cmd.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={MAX_INPUT}"));
        cmd.arg(format!("-dict={}", fuzz_dir.join("words.dict").display()));
        cmd.arg(format!("-artifact_prefix={}/found-", dir.display()));
        // The place of a panic says enough; the stack leads through the fuzzer.
        cmd.env("RUST_BACKTRACE", "0");
        cmd.args(["-timeout=10", "-print_final_stats=1"]);
        // New inputs go to the first; the others are read.
        cmd.arg(corpus).arg(fuzz_dir.join("seeds"));
        cmd.args(Some(regressions(target)).filter(|found| found.is_dir()));
        let child = cmd
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start `{}`", cmd::display(&cmd)))?;
        Ok(Self { target: target.to_owned(), program, dir, child })
    }

    /// Waits for the end and says what it came to; false if something was found.
    fn finish(mut self) -> Result<bool> {
        let mut progress = ui::Progress::start(&self.target);
        let status = loop {
            match self.child.try_wait().with_context(|| format!("waiting for {}", self.target))? {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_millis(50)),
            }
            progress.tick();
        };
        progress.finish(if status.success() { "held" } else { "FAILED" });
        let log = self.dir.join("log");
        let said = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        let said = String::from_utf8_lossy(&said);
        ui::line(format!("    {}", figures(&said)));
        if !status.success() {
            self.say_find(&said);
        }
        Ok(status.success())
    }

    fn say_find(&self, said: &str) {
        // Without the progress, the dictionary, and the stack, which lies in the fuzzer.
        let noise = |line: &str| line.trim_start().starts_with('#') || line.starts_with("INFO: ");
        let worth: Vec<&str> = said.lines().filter(|line| !noise(line)).collect();
        for line in &worth[worth.len().saturating_sub(25)..] {
            ui::line(format!("    {line}"));
        }
        let input = said.lines().find_map(|line| line.split_once("Test unit written to "));
        let Some((_, input)) = input else { return };
        let (program, kept) = (self.program.display(), regressions(&self.target));
        ui::line("  again, smaller, and kept as a test:");
        ui::line(format!("    {program} {input}"));
        ui::line(format!(
            "    {program} -minimize_crash=1 -max_total_time=60 -exact_artifact_path={}/small {input}",
            self.dir.display(),
        ));
        ui::line(format!(
            "    mkdir -p {kept} && cp {}/small {kept}/NAME && cargo test -p fuzz",
            self.dir.display(),
            kept = kept.display(),
        ));
    }
}

fn regressions(target: &str) -> PathBuf {
    paths::root().join("tests/fuzz/regressions").join(target)
}

/// What libFuzzer's output says of the work done.
fn figures(said: &str) -> String {
    let stat = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
        line.map_or("?", |value| value.trim_start_matches(':').trim())
    };
    // `#1000 DONE cov: 512 ft: 900 corp: 300/12Kb …`, and the like before the end.
    let last = said.lines().rev().find(|line| line.starts_with('#') && line.contains(" cov: "));
    let behind = |label: &str| {
        let words = last.and_then(|line| line.split_once(label));
        words.and_then(|(_, rest)| rest.split_whitespace().next()).unwrap_or("?")
    };
    format!(
        "{} executions, {}/s; {} edges and {} features of the code reached, by {} inputs; {} MiB at most",
        stat("number_of_executed_units"),
        stat("average_exec_per_sec"),
        behind(" cov: "),
        behind(" ft: "),
        behind(" corp: ").split('/').next().unwrap_or("?"),
        stat("peak_rss_mb"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_are_those_of_the_package() {
        let manifest = fs::read_to_string(paths::root().join("tests/fuzz/Cargo.toml")).unwrap();
        let bins = manifest.split("[[bin]]").skip(1);
        let names: Vec<&str> = bins.map(|bin| bin.split('"').nth(1).unwrap()).collect();
        assert_eq!(names, TARGETS);
    }

    #[test]
    fn the_dictionary_has_the_words_of_the_source() {
        let source =
            "eat(b\"Xid \") || eat(b\"a\\n\")\n// b\"comment\"\n[&b\"pid=\"[..], b\"name=\"]";
        assert_eq!(byte_strings(source).collect::<Vec<_>>(), ["Xid ", "pid=", "name="]);
        assert!(words().unwrap().contains("\"NVRM: \"\n"));
    }

    #[test]
    fn the_figures_are_read_from_what_libfuzzer_prints() {
        let said = "INFO: Seed: 1\n#2\tINITED cov: 7 ft: 7 corp: 1/1b exec/s: 0 rss: 27Mb\n\
            #900\tDONE   cov: 51 ft: 90 corp: 30/12Kb lim: 4096 exec/s: 450 rss: 27Mb\nDone 900 runs in 2 second(s)\n\
            stat::number_of_executed_units: 900\nstat::average_exec_per_sec:     450\nstat::peak_rss_mb:              31\n";
        assert_eq!(
            figures(said),
            "900 executions, 450/s; 51 edges and 90 features of the code reached, by 30 inputs; 31 MiB at most"
        );
    }
}
