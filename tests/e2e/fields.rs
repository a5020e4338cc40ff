//! Each field of an answer against NVIDIA's Python binding reading the same library.
//!
//! The tables are in `tests/e2e/fields/`, one a tool. A field that is in an answer's schema and in no table fails.

use std::{ffi::OsStr, fs, path::Path, process::Command};

use anyhow::Result;
use e2e::{agent_path, python, repository, scenario, simulator};

fn every_field_is_nvmls(test: &str, table: &str, more: &[&OsStr]) -> Result<()> {
    if !python().exists() {
        crate::skip(test, "no Python with nvidia-ml-py; `cargo xtask test` makes one");
        return Ok(());
    }
    let output = Command::new(python())
        .arg(repository().join("tests/e2e/fields/compare.py"))
        .args([agent_path(), simulator()])
        .arg(table)
        .args(more)
        .env("LD_LIBRARY_PATH", simulator().parent().unwrap_or(Path::new(".")))
        // Beside the table there is nothing to be written.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    // One that the simulator does not understand is taken for a node without a driver, and left out.
    let files = more.iter().map(Path::new).filter(|path| path.extension().is_some());
    for scenario in files {
        let name = scenario.file_stem().unwrap_or_default().to_string_lossy();
        assert!(said.contains(&*name), "{name} was not read: {said}");
    }
    Ok(())
}

#[test]
fn every_field_of_the_inventory_is_what_nvidias_binding_reads() -> Result<()> {
    every_field_is_nvmls(
        "fields::every_field_of_the_inventory_is_what_nvidias_binding_reads",
        "inventory",
        &[],
    )
}

#[test]
fn every_figure_of_health_is_what_nvidias_binding_reads() -> Result<()> {
    every_field_is_nvmls("fields::every_figure_of_health", "health", &[])
}

#[test]
fn the_comparison_for_a_real_driver_holds_where_nothing_moves() -> Result<()> {
    let divided = scenario("divided-node.toml");
    every_field_is_nvmls(
        "fields::the_comparison_for_a_real_driver_holds_where_nothing_moves",
        "health",
        &["--loosely".as_ref(), divided.as_os_str()],
    )
}

#[test]
fn what_counts_as_having_moved_is_as_its_examples_say() -> Result<()> {
    const TEST: &str = "fields::what_counts_as_having_moved_is_as_its_examples_say";
    if !python().exists() {
        crate::skip(TEST, "no Python with nvidia-ml-py; `cargo xtask test` makes one");
        return Ok(());
    }
    let output = Command::new(python())
        .args(["-m", "doctest"])
        .arg(repository().join("tests/e2e/fields/rows.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

/// What decides which GPU instances there are, and which compute instances.
const INSTANCES: [&str; 2] = ["nvmlDeviceGetGpuInstances", "nvmlDeviceGetMigDeviceHandleByIndex"];

#[test]
fn a_list_of_which_nvml_refuses_to_tell_is_null_and_not_empty() -> Result<()> {
    let divided = fs::read_to_string(scenario("divided-node.toml"))?;
    let fans =
        "profile = \"h100\"\n[all.thermal]\nfans = [{ speed_percent = 4, speed_rpm = 90 }]\n";
    for (table, other) in
        [("inventory", "nvmlDeviceGetNvLinkState"), ("health", "nvmlDeviceGetNumFans")]
    {
        let folder = tempfile::tempdir()?;
        let mut scenarios = Vec::new();
        for code in ["RESET_REQUIRED", "NOT_SUPPORTED"] {
            for (name, node, refused) in [
                ("instances", divided.as_str(), &INSTANCES[..]),
                ("compute-instances", &divided, &INSTANCES[1..]),
                ("other", fans, &[other]),
            ] {
                let faults: Vec<_> =
                    refused.iter().map(|call| format!("{call} = {code:?}")).collect();
                let faults = faults.join("\n");
                let path = folder.path().join(format!("{name}-{code}.toml"));
                fs::write(&path, format!("{node}\n[all.faults]\n{faults}"))?;
                scenarios.push(path);
            }
        }
        let scenarios: Vec<&OsStr> = scenarios.iter().map(|path| path.as_os_str()).collect();
        every_field_is_nvmls("fields::a_list_of_which_nvml_refuses_to_tell", table, &scenarios)?;
    }
    Ok(())
}
