//! The agent on every GPU node: rooms and what they know of each other are in `docs/architecture.md`.

pub mod calls;
pub mod cli;
pub mod event;
pub mod gpu;
pub mod kernel;
pub mod mcp;
pub mod node;
pub mod pods;
pub mod store;
pub mod timeline;
pub mod xid;
