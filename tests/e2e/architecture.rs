//! What `docs/architecture.md` says must be absent, read from the sources.

use std::{fs, path::Path};

use anyhow::Result;
use e2e::repository;

/// Every Rust source below `folder`, as path from the repository's top and text.
fn sources(folder: &str) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut folders = vec![repository().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((name(&path), fs::read_to_string(&path)?));
            }
        }
    }
    assert!(!found.is_empty(), "no source below {folder}");
    Ok(found)
}

fn name(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap_or(path).display().to_string()
}

/// Fails where a source below `room` that `allowed` does not name has one of `words` in its code. What ends with `/` names a folder.
#[track_caller]
#[expect(
    clippy::expect_used,
    reason = "a helper of tests, which say what they expect by panicking"
)]
fn check(room: &str, words: &[&str], allowed: &[&str]) {
    for (name, text) in sources(room).expect("the sources are there") {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for (line, word) in code.flat_map(|line| words.iter().map(move |word| (line, word))) {
            let is = |allowed: &&str| {
                name.ends_with(allowed) || allowed.ends_with('/') && name.contains(allowed)
            };
            let excepted = allowed.iter().any(is);
            assert!(excepted || !line.contains(word), "{name} has {word:?}: {line}");
        }
    }
}

#[test]
fn rooms_do_not_know_what_they_must_not() {
    check(
        "agent/src/gpu",
        &["crate::mcp", "crate::kernel", "crate::event", "rmcp", "aya", "serde"],
        &[],
    );
    check(
        "agent/src/kernel",
        &["crate::mcp", "crate::gpu", "crate::xid", "rmcp", "nvml", "serde"],
        &[],
    );
    for room in ["calls", "timeline", "xid"] {
        check(
            &format!("agent/src/{room}"),
            &["crate::", "std::fs", "std::io", "std::net", "std::process", "std::env"],
            &["xid/tests.rs"],
        );
    }
    check(
        "agent/src/event",
        &["crate::mcp", "crate::gpu", "crate::kernel", "rmcp", "aya", "nvml_wrapper", "serde"],
        &[],
    );
    check(
        "agent/src/pods",
        &[
            "crate::mcp",
            "crate::gpu",
            "crate::kernel",
            "crate::xid",
            "rmcp",
            "aya",
            "nvml_wrapper",
            "serde",
        ],
        &[],
    );
    check("agent/src/mcp", &["nvml_wrapper", "aya::"], &[]);
}

#[test]
fn domain_types_do_not_serialize() {
    for room in ["gpu", "kernel", "xid", "calls", "event", "pods", "timeline"] {
        check(&format!("agent/src/{room}"), &["Serialize"], &[]);
    }
}

#[test]
fn unsafe_is_where_it_is_expected() {
    let allowed = [
        "gpu/raw/",
        "gpu/library.rs",
        "cli/start.rs",
        "kernel/ready.rs",
        "kernel/ring.rs",
        "kernel/kernel_log/syslog.rs",
    ];
    check("agent/src", &["unsafe "], &allowed);
}

#[test]
fn the_agent_opens_no_port() -> Result<()> {
    let manifest = fs::read_to_string(repository().join("agent/Cargo.toml"))?;
    for name in ["hyper", "axum", "reqwest", "tonic", "actix"] {
        assert!(!manifest.contains(name), "{name}");
    }
    check("agent/src", &["TcpListener", "UdpSocket", "TcpStream", "h2::server"], &[]);
    // HTTP/2 is spoken to the kubelet, as its client, on a unix socket.
    check("agent/src", &["h2::", "http::"], &["pods/kubelet/grpc.rs"]);
    Ok(())
}
