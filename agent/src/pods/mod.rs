//! Whose process it is, from the names of its cgroup's directories and of the kubelet's logs.

pub mod allocation;
mod bounded;
pub mod kubelet;
pub mod names;
pub mod place;

pub use allocation::{Allocation, Given, Gpu};
pub use kubelet::KubeletError;
pub use names::{Names, PodName};
pub use place::{Place, Qos, Runtime, of_proc_cgroup, place, place_of_path, places};
