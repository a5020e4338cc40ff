//! The tools: one file each, whose module documentation is its manual.

mod absent;
mod analyze_xid_errors;
pub mod event;
mod get_agent_status;
mod get_gpu_health;
mod get_gpu_inventory;
mod get_gpu_processes;
mod get_gpu_timeline;
mod get_gpu_topology;
mod kinds;
mod select;
mod trace_driver_calls;
mod watch_gpu_events;

use super::tool::Entry;

/// Every tool, in the order a client lists them.
pub const ALL: &[fn() -> Entry] = &[
    Entry::of::<get_gpu_health::GetGpuHealth>,
    Entry::of::<get_gpu_inventory::GetGpuInventory>,
    Entry::of::<get_gpu_processes::GetGpuProcesses>,
    Entry::of::<get_gpu_timeline::GetGpuTimeline>,
    Entry::of::<get_gpu_topology::GetGpuTopology>,
    Entry::of::<analyze_xid_errors::AnalyzeXidErrors>,
    Entry::of::<trace_driver_calls::TraceDriverCalls>,
    Entry::of::<watch_gpu_events::WatchGpuEvents>,
    Entry::of::<get_agent_status::GetAgentStatus>,
];
