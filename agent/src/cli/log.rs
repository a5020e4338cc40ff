//! The log: stderr, because stdout carries MCP alone.

use tracing_subscriber::{
    filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// Starts logging at a level that [`check`] has accepted.
pub fn start(level: &str) {
    let Ok(targets) = level.parse::<Targets>() else { return };
    // rmcp logs whole messages at debug level, with what tenants wrote in them: only on request by its own name.
    let targets = if level.contains("rmcp") {
        targets
    } else {
        targets.with_target("rmcp", tracing::Level::ERROR)
    };
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi);
    tracing_subscriber::registry().with(targets).with(lines).init();
}

/// Whether `level` is a level or a list of targets with levels.
pub fn check(level: &str) -> Result<String, String> {
    let known = |part: &str| {
        let level = part.rsplit('=').next().unwrap_or(part);
        ["off", "error", "warn", "info", "debug", "trace"].contains(&level)
    };
    if level.split(',').all(known) && level.parse::<Targets>().is_ok() {
        Ok(level.to_owned())
    } else {
        Err("use error, warn, info, debug or trace, or targets as in info,agent::bpf=debug"
            .to_owned())
    }
}
