//! What `cargo xtask gpu` runs on a machine with a GPU, as far as the simulator can stand in for one: the capture, that nothing
//! of a machine's own is left in it, and what it says of a profile. The load and the fault need CUDA.

use std::{fs, path::Path, process::Command};

use anyhow::Result;
use e2e::{agent_path, python, repository, scenario, simulator};

/// What a script of `tests/gpu/` prints, and whether it was content.
fn script(
    name: &str,
    prepare: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<(bool, String)> {
    let mut command = Command::new(python());
    command.arg(repository().join("tests/gpu").join(name)).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = prepare(&mut command).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

/// A capture of a scenario; `None` where there is no Python for it.
fn capture(test: &str, name: &str) -> Result<Option<tempfile::TempDir>> {
    if !python().exists() {
        crate::skip(test, "no Python with nvidia-ml-py; `cargo xtask test` makes one");
        return Ok(None);
    }
    let folder = tempfile::tempdir()?;
    let (content, said) = script("capture.py", |command| {
        command.arg(agent_path()).arg(folder.path()).arg("--simulated").arg(simulator());
        command.env("NVML_SIM_SCENARIO", scenario(name))
    })?;
    assert!(content, "{said}");
    Ok(Some(folder))
}

fn scrubbed(folder: &Path) -> Result<(bool, String)> {
    script("scrub.py", |command| command.arg(folder))
}

fn hold(folder: &Path, more: &[&str]) -> Result<(bool, String)> {
    script("hold.py", |command| command.arg(folder).arg(agent_path()).arg(simulator()).args(more))
}

#[test]
fn a_capture_has_nothing_of_its_machine_and_what_is_planted_is_found() -> Result<()> {
    const TEST: &str =
        "captures::a_capture_has_nothing_of_its_machine_and_what_is_planted_is_found";
    let Some(folder) = capture(TEST, "busy-node.toml")? else { return Ok(()) };
    let mut files = 0;
    for file in fs::read_dir(folder.path())? {
        let text = fs::read_to_string(file?.path())?;
        files += 1;
        // UUIDs of a GPU and of a MIG device, a serial number, processes.
        for own in ["233010de-0000", "5e1f0c6a", "16500000000", "tritonserver", "/usr/bin/python3"]
        {
            assert!(!text.contains(own), "{own} in {text}");
        }
    }
    assert_eq!(files, 9, "a file a tool, and capture.json");
    let (content, said) = scrubbed(folder.path())?;
    assert!(content, "{said}");

    for planted in [
        r#"{"text": "GPU 0 is GPU-8f3c1a2b-77d0-4c1e-9a55-0123456789ab."}"#,
        r#"{"text": "cri-containerd-9b1c7e5d3f2a4b6c8d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e.scope"}"#,
        r#"{"text": "  board   serial 1652923033635, part 692"}"#,
        r#"{"board": "1652923033635"}"#,
        r#"{"node": "gpu-node-7"}"#,
        r#"{"processes": [{"pid": 7, "name": "train"}]}"#,
        r#"{"processes": [{"pod": {"namespace": "ml", "name": "pod-1"}}]}"#,
        r#"{"raw": "NVRM: Xid (PCI:0000:3b:00): 31, pid=7, name=secret job, Ch 1"}"#,
        r#"{"text": "journal in /home/somebody/journal.redb"}"#,
    ] {
        fs::write(folder.path().join("planted.json"), planted)?;
        let (content, said) = scrubbed(folder.path())?;
        assert!(!content && said.contains("planted.json: "), "{planted}: {said}");
    }
    Ok(())
}

#[test]
fn a_profile_is_held_against_a_capture() -> Result<()> {
    const TEST: &str = "captures::a_profile_is_held_against_a_capture";
    let Some(folder) = capture(TEST, "healthy.toml")? else { return Ok(()) };
    let (same, said) = hold(folder.path(), &[])?;
    assert!(
        same && said.contains("against the profile h100") && said.contains(" 0 differences"),
        "{said}"
    );
    // Those of real GPUs, where any have been kept.
    for kept in fs::read_dir(repository().join("tests/captures")).into_iter().flatten() {
        let kept = kept?.path();
        for (content, said) in [scrubbed(&kept)?, hold(&kept, &[])?] {
            assert!(content, "{}: {said}", kept.display());
        }
    }
    let (same, said) = hold(folder.path(), &["--profile", "l40s"])?;
    assert!(!same, "{said}");
    for row in [
        "| get_gpu_inventory | `gpus[].detail.power_limit_max_mw` | 700000 | 350000 | 8 |",
        "| get_gpu_inventory | `gpus[].detail.mig` | \"there\" | null | 8 |",
        "| get_gpu_topology | `gpus[].nvlinks` | \"there\" | null | 8 |",
    ] {
        assert!(said.contains(row), "{row} is not in {said}");
    }
    Ok(())
}
