//! Each field of an answer against NVIDIA's Python binding reading the same library.
//!
//! The tables are in `tests/e2e/fields/`, one a tool. A field that is in an answer's schema and in no table fails.

use std::{ffi::OsStr, path::Path, process::Command};

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
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
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
