//! `cargo xtask ci`: what a change must pass, on one machine, in one command. `cargo xtask vm` is beside it and not in it: it
//! needs packages of four of Debian's suites, and how long emulated kernels take depends on what else the machine does.

use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::build::{self, BPF_OBJECT};
use crate::{cluster, cmd, docs, fuzz, paths, setup, test, ui};

/// How long each target is fuzzed. What a night would find is for a night; this finds what a change broke.
const FUZZ_SECONDS: u32 = 30;

/// The task: stops at the first step that fails; the times are printed either way.
pub(crate) fn run() -> Result<()> {
    let mut times = Vec::new();
    let mut closing_lines = Vec::new();
    let result = steps(&mut times, &mut closing_lines);
    ui::line("");
    ui::step("what took how long");
    times.iter().for_each(ui::line);
    closing_lines.iter().for_each(ui::line);
    result
}

fn steps(times: &mut Vec<String>, closing_lines: &mut Vec<String>) -> Result<()> {
    let args = build::Args { no_default_features: false, deny_warnings: true };

    timed(times, "setup", || {
        setup::components()?;
        setup::everything()?;
        setup::cluster_packages()
    })?;
    // Where Kubernetes has to be built, it is by the time that it is needed: cargo leaves a processor free now and then.
    let servers = thread::spawn(setup::servers);

    timed(times, "formatting", || {
        cmd::visible(paths::cargo().args(["fmt", "--all", "--check"]))
            .context("the code is not formatted: run `cargo fmt --all`")
    })?;

    timed(times, "generated documents", docs::check)?;

    // Clippy compiles the agent, which embeds the object. The compiler for BPF has no clippy of
    // its own; there, warnings are errors.
    let object = timed(times, "BPF program, no warnings", || {
        build::bpf(&setup::bpf()?, Arch::here()?, args.deny_warnings)
    })?;

    timed(times, "clippy, no warnings", || {
        let mut clippy = paths::cargo();
        clippy.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
        cmd::visible(clippy.env(BPF_OBJECT, &object))
    })?;

    timed(times, "agent without eBPF", || {
        cmd::visible(paths::cargo().args(["check", "--package", "agent", "--no-default-features"]))
    })?;

    timed(times, "fuzzing", || fuzz::all(FUZZ_SECONDS))?;

    timed(times, "arm64, emulated", || {
        let Some(cross) = setup::cross(Arch::Arm64)? else {
            ui::line("  skipped: this machine is of that kind, and the next step is all of it");
            return Ok(());
        };
        let outcome = test::emulated(&args, &cross, true)?;
        outcome.say();
        outcome.verdict
    })?;

    timed(times, "build and tests", || {
        let outcome = test::all(&args, true)?;
        closing_lines.extend(outcome.closing_lines);
        outcome.verdict
    })?;

    timed(times, "waiting for Kubernetes", || match servers.join() {
        Ok(built) => built.map(|_| ()),
        Err(_) => bail!("building the servers of Kubernetes panicked"),
    })?;
    timed(times, "a cluster", || {
        let outcome = cluster::ci()?;
        closing_lines.extend(outcome.closing_lines);
        outcome.verdict
    })
}

fn timed<T>(times: &mut Vec<String>, what: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
    ui::line("");
    ui::step(what);
    let started = Instant::now();
    let result = step();
    let mark = if result.is_ok() { "ok" } else { "FAILED" };
    times.push(format!("  {what:<26} {mark:<6} {}", ui::elapsed(started.elapsed())));
    result.with_context(|| format!("ci stopped at: {what}"))
}
