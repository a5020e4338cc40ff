//! Whose process it is, from the names of its cgroup's directories.

pub mod place;

pub use place::{Place, Qos, Runtime, of_proc_cgroup, place, place_of_path, places};
