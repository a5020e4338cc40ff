//! A `libnvidia-ml.so.1` that answers from a scenario file.
//!
//! Anything that loads NVML loads this library instead, unchanged: the agent, `nvml-wrapper`, NVIDIA's own Python
//! bindings. What the GPUs of the imagined node are and what is wrong with them stands in a TOML file that
//! `NVML_SIM_SCENARIO` names; `scenarios/healthy.toml` documents every key. It serves tests and demonstrations. It is
//! never part of the shipped image, and [`abi::marker`] lets a client tell it from the real library.
//!
//! # Layout
//! - [`engine`]: safe Rust only. The node, its GPUs, faults and events, and how a scenario becomes them.
//! - [`abi`]: the exported C functions, and all `unsafe` there is. Types and constants come from `nvml-wrapper-sys`;
//!   nothing of the header is declared by hand.
//! - [`older`]: for tests: a copy of the built library in which functions are missing.
//!
//! # Growing it
//! A new value: a field in `engine::gpu`, its figure in every profile, a line in `scenarios/healthy.toml`, an export in
//! the file of `abi` that has its group. A new board: a file in `profiles/` and a line in `engine::profile`. A new kind
//! of failure: `engine::faults`; every export passes through [`abi::export`] and there through the faults.
pub mod abi;
pub mod engine;
pub mod older;
