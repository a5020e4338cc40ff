//! How a GPU is divided, in the answer.

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use crate::gpu::inventory::{ComputeInstance, GpuInstance, Mig};

/// Null on boards that MIG cannot divide.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MigAnswer {
    pub enabled: bool,
    /// After the next reset.
    pub pending: bool,
    pub devices_max: Option<u32>,
    /// Null where NVML does not tell whether there are any. What is not all of them has a reason in `absent` too.
    pub gpu_instances: Option<Vec<GpuInstanceAnswer>>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct GpuInstanceAnswer {
    pub id: u32,
    /// As `3g.40gb`.
    pub profile: Option<String>,
    /// The first of the board's eight slices of memory that it has.
    pub placement_start: Option<u32>,
    pub placement_size: Option<u32>,
    pub memory_total_bytes: Option<u64>,
    pub memory_used_bytes: Option<u64>,
    pub memory_reserved_bytes: Option<u64>,
    pub memory_free_bytes: Option<u64>,
    /// Nothing can run where there is none. Null where NVML does not tell whether there are any.
    pub compute_instances: Option<Vec<ComputeInstanceAnswer>>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct ComputeInstanceAnswer {
    pub id: u32,
    /// NVML's index of MIG devices.
    pub mig_index: u32,
    /// By which a container is given it.
    pub uuid: Option<String>,
    pub sm_count: Option<u32>,
    pub slices: Option<u32>,
}

impl MigAnswer {
    pub fn of(mig: &Mig) -> Option<Self> {
        Some(Self {
            enabled: mig.enabled?,
            pending: mig.pending?,
            devices_max: mig.devices_max,
            gpu_instances: mig
                .instances
                .as_ref()
                .map(|instances| instances.iter().map(GpuInstanceAnswer::of).collect()),
        })
    }
}

impl GpuInstanceAnswer {
    fn of(instance: &GpuInstance) -> Self {
        let compute = |compute: &ComputeInstance| ComputeInstanceAnswer {
            id: compute.id,
            mig_index: compute.index,
            uuid: compute.uuid.clone(),
            sm_count: compute.sm_count,
            slices: compute.slices,
        };
        Self {
            id: instance.id,
            profile: instance.profile.clone(),
            placement_start: instance.start,
            placement_size: instance.size,
            memory_total_bytes: instance.memory.total_bytes,
            memory_used_bytes: instance.memory.used_bytes,
            memory_reserved_bytes: instance.memory.reserved_bytes,
            memory_free_bytes: instance.memory.free_bytes,
            compute_instances: instance
                .compute_instances
                .as_ref()
                .map(|instances| instances.iter().map(compute).collect()),
        }
    }
}
