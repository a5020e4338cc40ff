//! The load generator of the benchmarks: what it says that it did is what it did.

use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

fn load(arguments: &[&str]) -> Result<(bool, Value)> {
    let output = Command::new(env!("CARGO_BIN_EXE_device-load")).args(arguments).output()?;
    Ok((output.status.success(), serde_json::from_slice(&output.stdout).unwrap_or_default()))
}

#[test]
fn each_mode_does_what_was_asked_for_and_counts_it() -> Result<()> {
    for (arguments, done) in [
        ("ioctl /dev/null --count 3 --each 5", json!([0, 0, 1, 0, 15, 15, 1])),
        ("openclose /dev/null --count 3 --each 5", json!([0, 0, 15, 0, 0, 0, 15])),
        ("getppid /dev/null --count 3 --each 5", json!([0, 0, 0, 0, 0, 0, 0])),
        ("storm /dev/null --count 30 --each 5", json!([30, 0, 30, 0, 150, 150, 30])),
        ("storm /dev/null --count 7 --each 0 --processes 3", json!([21, 0, 21, 0, 0, 0, 21])),
        ("storm /nonexistent --count 4", json!([4, 0, 0, 4, 0, 0, 0])),
        ("threads /dev/null --count 13 --each 2", json!([0, 13, 1, 0, 26, 26, 1])),
        ("threads /dev/null --count 3 --processes 2", json!([0, 6, 2, 0, 60, 60, 2])),
        ("storm /dev/null --seconds 0", json!([0, 0, 0, 0, 0, 0, 0])),
        // FIONBIO: the kernel does this one for any file.
        ("ioctl /dev/null --count 1 --each 4 --request 0x5421", json!([0, 0, 1, 0, 4, 0, 1])),
    ] {
        let (success, answer) = load(&arguments.split(' ').collect::<Vec<_>>())?;
        assert!(success, "{arguments}");
        let counted =
            ["forks", "threads", "opens", "failed_opens", "ioctls", "failed_ioctls", "closes"]
                .map(|name| answer[name].clone());
        assert_eq!(json!(counted), done, "{arguments}");
        let rounds = answer["rounds_ns"].as_array().map(Vec::len);
        let has_rounds =
            ["ioctl", "openclose", "getppid"].iter().any(|mode| arguments.starts_with(mode));
        assert_eq!(rounds.is_some_and(|rounds| rounds > 0), has_rounds, "{arguments}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_done_is_no_figure() -> Result<()> {
    for arguments in [
        "ioctl /nonexistent --count 1",
        "openclose /nonexistent --count 1 --processes 2",
        "ioctl /dev/null",
        "ioctl /dev/null --count 1 --seconds 1",
        "ioctl /dev/null --count 1 --request 0x1ffffffff",
    ] {
        let (success, answer) = load(&arguments.split(' ').collect::<Vec<_>>())?;
        assert_eq!((success, answer), (false, Value::Null), "{arguments}");
    }
    Ok(())
}
