//! The BPF program's own words, into the agent's log (target `agent::bpf`, at debug level).

/// Carries aya-log's records, which speak the `log` crate's language.
#[derive(Debug)]
pub struct Diagnostics;

impl Diagnostics {
    pub const TARGET: &'static str = "agent::bpf";
}

impl log::Log for Diagnostics {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::debug!(target: Diagnostics::TARGET, "{}", record.args());
    }

    fn flush(&self) {}
}
