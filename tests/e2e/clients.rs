//! Clients that others wrote: MCP's Python SDK on the agent, NVIDIA's Python binding and monitors that people run on the
//! simulator.

use std::{env, path::Path, process::Command};

use anyhow::Result;
use e2e::{agent_path, python, repository, scenario, simulator};

/// Runs a script with the tests' Python; its output is shown where it fails.
fn run(
    test: &str,
    script: &Path,
    prepare: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<()> {
    if !python().exists() {
        crate::skip(test, "no Python with the clients; `cargo xtask test` makes one");
        return Ok(());
    }
    let output = prepare(Command::new(python()).arg(script)).output()?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
    Ok(())
}

#[test]
fn nvidias_python_binding_reads_the_simulator_as_configured() -> Result<()> {
    let dir = simulator().parent().map(Path::to_owned).unwrap_or_default();
    let script = repository().join("tests/nvml-sim/tests/nvidia_ml_py.py");
    run("clients::nvidias_python_binding_reads_the_simulator_as_configured", &script, |c| {
        c.env("LD_LIBRARY_PATH", dir)
    })
}

/// Shows all boards of the simulator in a monitor and compares.
fn monitor(test: &str, name: &str) -> Result<()> {
    let dir = simulator().parent().map(Path::to_owned).unwrap_or_default();
    let script = repository().join("tests/nvml-sim/tests/monitors.py");
    run(test, &script, |c| c.arg(name).env("LD_LIBRARY_PATH", dir))
}

#[test]
fn nvitop_shows_every_board_as_configured() -> Result<()> {
    monitor("clients::nvitop_shows_every_board_as_configured", "nvitop")
}

#[test]
fn gpustat_shows_every_board_as_configured() -> Result<()> {
    monitor("clients::gpustat_shows_every_board_as_configured", "gpustat")
}

#[test]
fn nvtop_shows_every_board_as_configured() -> Result<()> {
    const TEST: &str = "clients::nvtop_shows_every_board_as_configured";
    let path = env::var_os("PATH").unwrap_or_default();
    if !env::split_paths(&path).any(|dir| dir.join("nvtop").is_file()) {
        crate::skip(TEST, "no nvtop; Debian has it in contrib, Ubuntu in universe");
        return Ok(());
    }
    monitor(TEST, "nvtop")
}

#[test]
fn the_python_sdk_opens_sessions_of_both_eras_and_finds_every_answer_true_to_its_schema()
-> Result<()> {
    let script = repository().join("tests/e2e/mcp_client.py");
    run(
        "clients::the_python_sdk_opens_sessions_of_both_eras_and_finds_every_answer_true_to_its_schema",
        &script,
        |c| {
            c.arg(agent_path())
                .arg(simulator())
                .env("NVML_SIM_SCENARIO", scenario("one-sick-gpu.toml"))
        },
    )
}
