//! What one GPU says of where it is.

use nvml_wrapper::{Device, error::NvmlError};
use nvml_wrapper_sys::bindings::{
    NVML_AFFINITY_SCOPE_NODE,
    field_id::{
        NVML_FI_DEV_C2C_LINK_COUNT, NVML_FI_DEV_C2C_LINK_GET_MAX_BW,
        NVML_FI_DEV_C2C_LINK_GET_STATUS,
    },
};

use super::links::{self, Link};
use crate::gpu::{
    GpuError, GpuName, inventory,
    numbers::ranges,
    raw::{
        self,
        fields::{Field, field_values},
    },
    reading::{Absent, Reader},
    worker::Session,
};

/// One GPU's place. `None` has its reason in `absent`.
#[derive(Debug, Clone)]
pub struct Place {
    pub name: GpuName,
    /// NVML says that the GPU is lost.
    pub lost: bool,
    /// It is divided (MIG), and none of its NVLinks is in use.
    pub divided: bool,
    /// The CPUs near it, and the NUMA nodes whose memory is, as `0-55,112-167`.
    pub cpus: Option<String>,
    pub memory_nodes: Option<String>,
    /// The NUMA node that its own memory is, of a GPU that is coherent with its CPU.
    pub own_node: Option<u32>,
    /// By the links' numbers. `None` where NVML does not tell all of them: on a board that has none it refuses the first.
    pub links: Option<Vec<Link>>,
    pub c2c: Option<C2c>,
    pub absent: Vec<Absent>,
}

/// The links between the GPU's chip and the CPU's (Grace).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct C2c {
    pub enabled: bool,
    pub links: Option<u64>,
    pub links_up: Option<u64>,
    /// Of all links together.
    pub max_bandwidth_mb_s: Option<u64>,
}

/// Room for 4096 CPUs and 1024 nodes, in the words of 64 bits that NVML counts in.
const CPU_WORDS: usize = 64;
const NODE_WORDS: usize = 16;
/// More C2C links than any board has.
const MOST_C2C_LINKS: u64 = 64;

/// Reads one GPU.
pub fn place(session: &Session<'_>, index: u32) -> Result<Place, GpuError> {
    let d = inventory::device(session.nvml, session, index)?;
    let mut r = Reader::new(session.progress);
    let name = inventory::name(&d, index, &mut r);
    let cpus =
        set(&mut r, "cpu_affinity", "nvmlDeviceGetCpuAffinity", || d.cpu_affinity(CPU_WORDS));
    let memory_nodes = set(&mut r, "numa_affinity", "nvmlDeviceGetMemoryAffinity", || {
        d.memory_affinity(NODE_WORDS, NVML_AFFINITY_SCOPE_NODE)
    });
    let own_node = r.read("gpu_numa_node", "nvmlDeviceGetNumaNodeId", || d.numa_node_id());
    let c2c = c2c(&d, &mut r);
    let mode = session.progress.during("nvmlDeviceGetMigMode", || d.mig_mode());
    let divided = mode.is_ok_and(|mode| mode.current == 1);
    let links = links::links(&d, session.progress, &mut r);
    let lost = r.is_lost();
    Ok(Place {
        name,
        lost,
        divided,
        cpus,
        memory_nodes,
        own_node,
        links,
        c2c,
        absent: r.into_absent(),
    })
}

/// Numbers that NVML has as bits; none of them is no answer.
fn set(
    r: &mut Reader<'_>,
    field: &'static str,
    call: &'static str,
    ask: impl FnOnce() -> Result<Vec<u64>, NvmlError>,
) -> Option<String> {
    let text = ranges(&r.read(field, call, ask)?);
    if text.is_empty() {
        r.not_available(field, call);
        return None;
    }
    Some(text)
}

fn c2c(d: &Device<'_>, r: &mut Reader<'_>) -> Option<C2c> {
    let enabled = r.read("c2c", "nvmlDeviceGetC2cModeInfoV", || raw::c2c_enabled(d))?;
    let all = |id, scopes: std::ops::Range<u32>| {
        let fields: Vec<_> = scopes.map(|scope| Field { id, scope }).collect();
        let values = field_values(d, &fields)?;
        values.into_iter().map(|value| Ok(value?.unsigned().unwrap_or(0))).sum::<Result<u64, _>>()
    };
    let mut read =
        |field, id, scopes| r.read(field, "nvmlDeviceGetFieldValues", || all(id, scopes));
    let links = read("c2c_links", NVML_FI_DEV_C2C_LINK_COUNT, 0..1);
    let each = 0..u32::try_from(links.unwrap_or(0).min(MOST_C2C_LINKS)).unwrap_or(0);
    let mut of_each =
        |field, id| links.is_some_and(|links| links > 0).then(|| read(field, id, each.clone()))?;
    let links_up = of_each("c2c_links_up", NVML_FI_DEV_C2C_LINK_GET_STATUS);
    let max_bandwidth_mb_s = of_each("c2c_max_bandwidth_mb_s", NVML_FI_DEV_C2C_LINK_GET_MAX_BW);
    Some(C2c { enabled, links, links_up, max_bandwidth_mb_s })
}
