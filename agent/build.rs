//! Names the BPF object that the tracer embeds: `AGENT_BPF_OBJECT`, or where `cargo xtask build` leaves it.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=AGENT_BPF_OBJECT");
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    if env::var_os("CARGO_FEATURE_EBPF").is_none() {
        return;
    }
    let object = env::var_os("AGENT_BPF_OBJECT").map_or_else(usual_place, PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    if object.is_file() {
        println!("cargo::rustc-env=AGENT_BPF_OBJECT={}", object.display());
    } else {
        println!(
            "cargo::error=no BPF object at {}: run `cargo xtask build` once, or build the NVML-only agent with --no-default-features",
            object.display()
        );
    }
}

fn usual_place() -> PathBuf {
    let workspace = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..");
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    target.join("bpf").join("agent-ebpf")
}
