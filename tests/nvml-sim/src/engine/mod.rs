//! What the simulator knows: a node, its GPUs, their faults and events. Safe Rust, no C types beyond NVML's numbers.
#![forbid(unsafe_code)]

#[macro_use]
mod named;
pub mod code;
pub mod events;
pub mod faults;
pub mod fields;
pub mod gpu;
pub mod library;
pub mod link_fields;
pub mod node;
pub mod profile;
pub mod reading;
pub mod scenario;
pub mod trace;
pub mod watch;
