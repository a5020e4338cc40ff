//! `tests/cluster/machine/simulated-nvidia-runtime` on containers as containerd describes them, before a runc that only notes its arguments.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::paths;

const VOLUME: &str = "/var/run/nvidia-container-devices/all";

/// Variables, mounts, a capability, whether the node refuses the variable, and whether the simulator is mounted.
type Case = (&'static [&'static str], &'static [&'static str], &'static str, bool, bool);

const CASES: [Case; 13] = [
    (&[], &["/proc"], "CAP_BPF", false, false),
    (&["NVIDIA_VISIBLE_DEVICES=all"], &["/proc"], "CAP_BPF", false, true),
    (&["NVIDIA_VISIBLE_DEVICES=GPU-1,GPU-2"], &[], "CAP_BPF", false, true),
    (&["NVIDIA_VISIBLE_DEVICES="], &[], "CAP_BPF", false, false),
    (&["NVIDIA_VISIBLE_DEVICES=void"], &[], "CAP_BPF", false, false),
    (&["NVIDIA_VISIBLE_DEVICES=none"], &[], "CAP_BPF", false, false),
    // The last of two holds, as in the container.
    (&["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_VISIBLE_DEVICES=void"], &[], "CAP_BPF", false, false),
    (
        &["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"],
        &[],
        "CAP_BPF",
        false,
        true,
    ),
    (
        &["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute"],
        &[],
        "CAP_BPF",
        false,
        false,
    ),
    (&["NVIDIA_VISIBLE_DEVICES=all"], &[], "CAP_BPF", true, false),
    (&["NVIDIA_VISIBLE_DEVICES=all"], &[], "CAP_SYS_ADMIN", true, true),
    (&[], &[VOLUME], "CAP_BPF", false, true),
    (&["NVIDIA_VISIBLE_DEVICES=void"], &[VOLUME], "CAP_BPF", true, true),
];

#[test]
fn the_simulator_is_mounted_where_gpus_are_asked_for() {
    if paths::on_path("jq").is_none() {
        println!(
            "skipped: simulated-nvidia-runtime: there is no jq, which `cargo xtask cluster` installs"
        );
        return;
    }
    let dir = std::env::temp_dir().join(format!("xtask-runtime-{}", std::process::id()));
    let gpu = dir.join("gpu");
    fs::create_dir_all(&gpu).unwrap();
    let runc = dir.join("runc");
    fs::write(&runc, format!("#!/bin/sh\necho \"$@\" > {}/said\n", dir.display())).unwrap();
    fs::set_permissions(&runc, fs::Permissions::from_mode(0o755)).unwrap();
    let source = paths::root().join("tests/cluster/machine/simulated-nvidia-runtime");
    fs::copy(source, dir.join("runtime")).unwrap();

    for case in CASES {
        let (variables, mounts, capability, refuses, mounted) = case;
        let switch = gpu.join("refuse-variable");
        if refuses {
            fs::write(&switch, "").unwrap();
        } else {
            let _ = fs::remove_file(&switch);
        }
        let mounts: Vec<_> = mounts.iter().map(|to| json!({"destination": to})).collect();
        let before = json!({
            "process": {"env": variables, "capabilities": {"bounding": [capability]}},
            "mounts": mounts,
        });
        let (after, said) = create(&dir, &before);
        assert_eq!(said.trim(), format!("--log x create --bundle {} id", dir.display()));
        let mut expected = before;
        if mounted {
            let options = json!(["rbind", "ro", "nosuid", "nodev"]);
            let library =
                format!("/usr/lib/{}-linux-gnu/libnvidia-ml.so.1", std::env::consts::ARCH);
            expected["mounts"].as_array_mut().unwrap().extend([
                json!({"source": gpu.join("libnvidia-ml.so.1"), "destination": library, "type": "bind", "options": options}),
                json!({"source": gpu, "destination": "/run/nvml-sim", "type": "bind", "options": options}),
            ]);
        }
        assert_eq!(after, expected, "{case:?}");
    }
    fs::remove_dir_all(&dir).unwrap();
}

/// Makes a container of this configuration; what became of it, and how runc was called.
fn create(dir: &Path, configuration: &Value) -> (Value, String) {
    let config = dir.join("config.json");
    fs::write(&config, configuration.to_string()).unwrap();
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
    let mut runtime = Command::new(dir.join("runtime"));
    runtime.args(["--log", "x", "create", "--bundle"]).arg(dir).arg("id").env("PATH", path);
    assert!(runtime.status().unwrap().success());
    let after = serde_json::from_slice(&fs::read(config).unwrap()).unwrap();
    (after, fs::read_to_string(dir.join("said")).unwrap())
}
