//! The tools: one file each, whose module documentation is its manual.

mod analyze_xid_errors;
pub mod event;
mod get_agent_status;
mod get_gpu_health;
mod get_gpu_inventory;
mod kinds;
mod select;
mod watch_gpu_events;

use super::tool::Entry;

/// Every tool, in the order a client lists them.
pub const ALL: [fn() -> Entry; 5] = [
    Entry::of::<get_gpu_health::GetGpuHealth>,
    Entry::of::<get_gpu_inventory::GetGpuInventory>,
    Entry::of::<analyze_xid_errors::AnalyzeXidErrors>,
    Entry::of::<watch_gpu_events::WatchGpuEvents>,
    Entry::of::<get_agent_status::GetAgentStatus>,
];
