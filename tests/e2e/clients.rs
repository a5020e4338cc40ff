//! Clients that others wrote: MCP's Python SDK on the agent, NVIDIA's Python binding on the simulator.

use std::{path::Path, process::Command};

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
