//! The code that reads bytes which other people wrote, and what must hold whatever they are.
//!
//! | target | bytes | code |
//! | --- | --- | --- |
//! | [`parser`] | a log | `xid/`, and the line reader of `agent decode` |
//! | [`record`] | a record of the BPF program | `kernel/record.rs` |
//!
//! A target is a function that panics where something does not hold. `bin/` hands it to libFuzzer, which `cargo xtask fuzz` builds
//! and runs; `tests/replay.rs` gives it the lines of `tests/kernel-lines/` and what the fuzzer has found so far,
//! `regressions/<target>/`, with stable Rust and no fuzzer.
//!
//! # Adding a target
//! A file here, one in `bin/` with its `[[bin]]` in Cargo.toml, a test in `tests/replay.rs`, and its name in `xtask/src/fuzz.rs`.
//!
//! # Why the rooms are compiled again
//! The agent with all that it depends on takes minutes to build with the fuzzer's instrumentation. These rooms need next to
//! nothing of that, so their sources are compiled here as they stand, without the tracer.
#![expect(unexpected_cfgs, reason = "the kernel room asks for the agent's feature `ebpf`")]

#[path = "../../../agent/src/calls/mod.rs"]
pub mod calls;
#[path = "../../../agent/src/event/mod.rs"]
pub mod event;
#[path = "../../../agent/src/kernel/mod.rs"]
pub mod kernel;
#[path = "../../../agent/src/cli/decode/lines.rs"]
mod lines;
#[path = "../../../agent/src/xid/mod.rs"]
pub mod xid;

pub mod parser;
pub mod record;

/// Whether `part` lies in the bytes of `whole`: borrowed, and not a copy or somebody else's.
fn lies_in(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}
