//! Where the GPUs of a node are: how near to each other, to CPUs, memory and NICs, and what links them.
//!
//! ```text
//!  NVML, GPU by GPU ─────────► place, links ─┐
//!  NVML, each with the others ► pairs ───────┼─► matrix ─► notes
//!  /sys/bus/pci ─────────────► tree ─────────┘
//! ```
//!
//! A question about two GPUs goes into the driver for both, so [`pairs`] is asked only about GPUs that have just answered
//! for themselves: one that hangs costs its own row and its place in the others', and no more. What two GPUs are to each
//! other is NVML's word; what a NIC is to a GPU is read from the way that the kernel's names of devices describe.

pub mod links;
pub mod matrix;
mod notes;
pub mod pairs;
pub mod place;
pub mod relation;
pub mod tree;

pub use links::{Link, LinkState, Peer, PeerKind};
pub use matrix::{Cell, Matrix, Read};
pub use notes::{Note, notes};
pub use pairs::{Capability, P2pStatus, Pair, pairs};
pub use place::{Place, place};
pub use relation::Relation;
pub use tree::{Tree, TreeAbsent};
