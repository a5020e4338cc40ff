//! `cargo xtask test`: every test of the workspace; with `--arch arm64` those of [`EMULATED`], with an agent for that kind of
//! machine that QEMU runs here.
//!
//! The unit tests are built as cargo builds them; the end-to-end tests (package `e2e`) drive the
//! release build from outside and learn by environment variables where things are:
//!
//! | variable | what |
//! | --- | --- |
//! | `E2E_AGENT` | the agent to test |
//! | `E2E_SIM_DIR` | the directory of the simulator, `libnvidia-ml.so.1` |
//! | `E2E_PYTHON` | a Python that has what `xtask/requirements.txt` lists |
//! | `E2E_HELM` | Helm 3 and Helm 4, separated as in `PATH` |
//! | `E2E_IMAGE` | the OCI archive of the image |
//! | `E2E_CLUSTER` | the folder of the cluster that `cargo xtask cluster` has brought up |
//! | `AGENT_BPF_OBJECT` | the BPF object, for a debug build of the agent with its tests |

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::build::{self, BPF_OBJECT, Profile};
use crate::setup::Cross;
use crate::summary::Summary;
use crate::{cmd, image, paths, setup, ui};

/// Tests that CI's machines cannot run, each with what they lack. Any other skip fails CI: a test
/// that silently stops running is worse than none.
const CI_CANNOT_RUN: &[(&str, &str)] = &[(
    "clients::nvtop_shows_every_board_as_configured",
    "Debian keeps nvtop in contrib, which CI's machines do not have",
)];

/// How the names of tests begin that need a cluster: `cargo xtask ci` has one for them in a step of its own.
const ON_CLUSTER: &str = "cluster::";

/// The end-to-end tests that an emulated agent has to pass: the libraries, NVML's structs, the protocol and every tool are of the
/// other kind there. The rest asks this machine's kernel about the agent's process, which is QEMU's, or for eBPF, which QEMU
/// does not pass on.
const EMULATED: &[&str] = &["inventory::", "protocol::"];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Test an agent for this kind of machine; one that is not this machine's is emulated.
    #[arg(long, value_enum)]
    arch: Option<Arch>,
}

/// The task, with the rules of CI where the variable `CI` is set.
pub(crate) fn run(args: &Args) -> Result<()> {
    let cross = args.arch.map(setup::cross).transpose()?.flatten();
    let args = build::Args::default();
    let outcome = match cross {
        Some(cross) => emulated(&args, &cross, in_ci())?,
        None => all(&args, in_ci())?,
    };
    outcome.say();
    outcome.verdict
}

/// Whether the rules of CI hold.
pub(crate) fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false" && ci != "0")
}

/// How the tests ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) closing_lines: Vec<String>,
    pub(crate) verdict: Result<()>,
}

impl Outcome {
    pub(crate) fn say(&self) {
        ui::line("");
        self.closing_lines.iter().for_each(ui::line);
    }
}

/// Sets up, builds and runs everything. An error here is one that kept the tests from running.
pub(crate) fn all(args: &build::Args, in_ci: bool) -> Result<Outcome> {
    let python = setup::python()?;
    let helms = env::join_paths(setup::helms()?).context("the path of a helm has a colon in it")?;
    let built = build::run(args)?;
    let image = image(&built.agent, in_ci)?;

    ui::step("the tests");
    let mut tests = paths::cargo();
    tests.args(["test", "--workspace", "--no-fail-fast", "--", "--show-output"]);
    tests.env("E2E_AGENT", &built.agent).env("E2E_SIM_DIR", &built.sim_dir);
    tests.env("E2E_PYTHON", python).env("E2E_HELM", helms);
    if let Some(image) = image {
        tests.env("E2E_IMAGE", image);
    }
    if let Some(object) = &built.bpf_object {
        tests.env(BPF_OBJECT, object);
    }
    outcome(&mut tests, in_ci, Some(ON_CLUSTER))
}

/// Builds for another kind of machine, soon and not well, and runs what can be run of it here.
pub(crate) fn emulated(args: &build::Args, cross: &Cross, in_ci: bool) -> Result<Outcome> {
    let built = build::everything(args, Profile::Dev, Some(cross))?;

    ui::step("the tests of it");
    let mut tests = paths::cargo();
    tests.args(["test", "--package", "e2e", "--test", "e2e", "--", "--show-output"]).args(EMULATED);
    tests.env("E2E_AGENT", cross.emulated(&built.agent)?).env("E2E_SIM_DIR", &built.sim_dir);
    outcome(&mut tests, in_ci, Some(ON_CLUSTER))
}

/// `elsewhere` begins the names of tests that CI runs in another step.
fn outcome(tests: &mut Command, in_ci: bool, elsewhere: Option<&str>) -> Result<Outcome> {
    let started = Instant::now();
    let (summary, success) = watch(tests)?;
    Ok(Outcome {
        closing_lines: summary.lines(&ui::elapsed(started.elapsed())),
        verdict: judge(&summary, success, in_ci, elsewhere),
    })
}

/// The image with this agent. On a contributor's machine that cannot make one, its tests are skipped, and this says why.
fn image(agent: &Path, in_ci: bool) -> Result<Option<PathBuf>> {
    let started = Instant::now();
    match setup::podman().and_then(|_| image::around(agent)) {
        Ok(image) => {
            ui::line(format!("  the image took {}", ui::elapsed(started.elapsed())));
            Ok(Some(image))
        }
        Err(error) if in_ci => Err(error),
        Err(error) => {
            ui::line(format!("  going on without the image: {error:#}"));
            Ok(None)
        }
    }
}

/// The tests of the cluster whose folder is `state`, with the agent and the simulator that are built.
pub(crate) fn on_cluster(state: &Path, filter: Option<&str>) -> Result<Outcome> {
    let python = setup::python()?;
    ui::step("the tests of the cluster");
    let mut tests = paths::cargo();
    tests.args(["test", "--package", "e2e", "--test", "cluster"]).args(["--", "--show-output"]);
    tests.args(filter).env("E2E_CLUSTER", state).env("E2E_PYTHON", python);
    let target = paths::target()?;
    tests.env("E2E_AGENT", target.join("release/agent")).env("E2E_SIM_DIR", target.join("sim"));
    outcome(&mut tests, in_ci(), None)
}

/// Runs cargo, shows what matters of its output as it comes, and counts.
fn watch(tests: &mut Command) -> Result<(Summary, bool)> {
    let shown = cmd::display(tests);
    let mut child =
        tests.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{shown}`"))?;
    let out = child.stdout.take().with_context(|| format!("`{shown}` has no stdout"))?;
    let mut summary = Summary::default();
    for line in BufReader::new(out).split(b'\n') {
        let line = line.with_context(|| format!("reading what `{shown}` prints"))?;
        let line = String::from_utf8_lossy(&line);
        if summary.take(&line) {
            ui::line(line);
        }
    }
    let status = child.wait().with_context(|| format!("waiting for `{shown}`"))?;
    Ok((summary, status.success()))
}

/// `elsewhere` begins the names of tests that CI runs in another step.
fn judge(summary: &Summary, success: bool, in_ci: bool, elsewhere: Option<&str>) -> Result<()> {
    if summary.failed > 0 {
        bail!("{} of the tests failed", summary.failed);
    }
    if !success {
        bail!("a test binary did not build or did not live to report; what it said stands above");
    }
    let allowed = |test: &String| {
        elsewhere.is_some_and(|prefix| test.starts_with(prefix))
            || CI_CANNOT_RUN.iter().any(|(listed, _)| listed == test)
    };
    let unlisted: Vec<&str> =
        summary.skipped.keys().filter(|test| !allowed(test)).map(String::as_str).collect();
    if in_ci && !unlisted.is_empty() {
        bail!(
            "CI runs every test that is not listed in xtask/src/test.rs as one it cannot run, and \
             these did not run: {}",
            unlisted.join(", ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(lines: &[&str]) -> Summary {
        let mut summary = Summary::default();
        for line in lines {
            summary.take(line);
        }
        summary
    }

    #[test]
    fn a_skip_fails_ci_and_only_ci() {
        let skipped = summary(&["skipped: some_test: no such device"]);
        assert!(judge(&skipped, true, false, None).is_ok());
        let error = judge(&skipped, true, true, None).unwrap_err().to_string();
        assert!(error.contains("some_test"), "{error}");
    }

    #[test]
    fn what_another_step_runs_may_be_skipped_here_and_not_there() {
        let skipped = summary(&["test cluster::install ... ignored, no cluster"]);
        assert!(judge(&skipped, true, true, Some(ON_CLUSTER)).is_ok());
        assert!(judge(&skipped, true, true, None).is_err());
    }

    #[test]
    fn a_crash_without_a_result_line_is_a_failure() {
        assert!(
            judge(&summary(&["test result: ok. 3 passed; 0 failed"]), false, false, None).is_err()
        );
    }
}
