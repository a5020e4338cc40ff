//! The figures that health is judged by, read with as few calls as NVML lets one: what it has as field values comes in one
//! call for a GPU, and in a second one for all of its NVLinks.

mod asker;
mod fields;
pub mod memory;
pub mod nvlink;
pub mod pcie;
pub mod thermal;

pub use asker::{Said, Trouble};
pub use memory::Memory;
pub use nvlink::{Link, NvLink};
pub use pcie::Pcie;
pub use thermal::{Fan, Thermal};

use std::{collections::BTreeSet, time::Instant};

use self::asker::Asker;
use crate::gpu::{GpuError, lane, reading::Absent, worker::Session};

/// What was read of one GPU. `None` has its reason in `absent`; a rule that lacks its figure stays silent.
#[derive(Debug, Clone, Default)]
pub struct Vitals {
    pub said: Said,
    /// When the library was loaded that this was read with: with each driver anew.
    pub library_since: Option<Instant>,
    pub gpu_utilization_percent: Option<u32>,
    /// A divided GPU has its NVLinks switched off.
    pub mig_enabled: Option<bool>,
    /// The number of Xid 154.
    pub recovery_action: Option<u32>,
    /// What the board knows of itself has its check sum. One that has not is [`Trouble::Inforom`].
    pub inforom_valid: Option<bool>,
    pub memory: Memory,
    pub thermal: Thermal,
    pub pcie: Pcie,
    pub nvlink: NvLink,
    pub absent: Vec<Absent>,
}

/// Reads one GPU. One that NVML gives no handle to is not an error: why it does not is what health is about.
pub fn vitals(session: &Session<'_>, index: u32) -> Result<Vitals, GpuError> {
    let mut r = Asker::new(session.progress);
    let Some(d) = r.check("handle", lane::FIRST, || session.nvml.device_by_index(index)) else {
        let (said, absent) = r.into_parts();
        return Ok(Vitals { said, absent, ..Vitals::default() });
    };
    let times = fields::slowdown_times(session.nvml);
    let mut batch = r.batch(&d, fields::all(times));
    let recovery_action = r.count(&mut batch, fields::RECOVERY_ACTION);
    let memory = Memory::read(&d, &mut r, &mut batch);
    let thermal = Thermal::read(&d, &mut r, &mut batch, times);
    let pcie = Pcie::read(&d, &mut r, &mut batch);
    let nvlink = NvLink::read(&d, &mut r, &mut batch);
    let load = r
        .read("gpu_utilization_percent", "nvmlDeviceGetUtilizationRates", || d.utilization_rates());
    let mig = r.read("mig_enabled", "nvmlDeviceGetMigMode", || d.mig_mode());
    let inforom = r.check("inforom_valid", "nvmlDeviceValidateInforom", || d.validate_info_rom());
    let (said, absent) = r.into_parts();
    Ok(Vitals {
        said,
        library_since: Some(session.loaded.since),
        gpu_utilization_percent: load.map(|load| load.gpu),
        mig_enabled: mig.map(|mig| mig.current == 1),
        recovery_action: recovery_action.and_then(|action| u32::try_from(action).ok()),
        inforom_valid: inforom.map(|()| true),
        memory,
        thermal,
        pcie,
        nvlink,
        absent,
    })
}

/// What only the GPUs of a node together tell of each.
pub fn compare<'a>(gpus: impl Iterator<Item = &'a mut Vitals>) {
    let gpus: Vec<_> = gpus.map(|gpu| &mut gpu.nvlink).collect();
    let on_switches = |gpu: &&&mut NvLink| gpu.to_switches.is_some_and(|up| up > 0);
    let like: BTreeSet<_> = gpus.iter().filter(on_switches).map(|gpu| gpu.links.len()).collect();
    for gpu in gpus {
        gpu.peers_on_switches = like.contains(&gpu.links.len());
    }
}
