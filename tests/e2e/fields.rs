//! Each field of an answer against NVIDIA's Python binding reading the same library.
//!
//! The tables are in `tests/e2e/fields/`, one a tool. A field that is in an answer's schema and in no table fails.

use std::{path::Path, process::Command};

use anyhow::Result;
use e2e::{agent_path, python, repository, simulator};

fn every_field_is_nvmls(test: &str, table: &str) -> Result<()> {
    if !python().exists() {
        crate::skip(test, "no Python with nvidia-ml-py; `cargo xtask test` makes one");
        return Ok(());
    }
    let output = Command::new(python())
        .arg(repository().join("tests/e2e/fields/compare.py"))
        .args([agent_path(), simulator()])
        .arg(table)
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
    )
}

#[test]
fn every_figure_of_health_is_what_nvidias_binding_reads() -> Result<()> {
    every_field_is_nvmls("fields::every_figure_of_health", "health")
}
