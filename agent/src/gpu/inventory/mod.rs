//! What the GPUs are: identity, size, limits, and a few figures of the moment.

mod identity;
mod limits;
mod links;
mod memory;
mod mig;
mod modes;
mod place;

use std::path::Path;

use nvml_wrapper::{
    Device, Nvml, cuda_driver_version_major, cuda_driver_version_minor,
    enum_wrappers::device::TemperatureSensor,
};

pub use self::{
    identity::Identity,
    limits::{ClockPair, Clocks, PowerLimits},
    links::{Fabric, NvLinks},
    memory::{Memory, Windows},
    mig::{ComputeInstance, GpuInstance, Mig},
    modes::Modes,
    place::{Place, Platform},
};
use super::{
    GpuError, GpuName, device_files, lane, pci_address,
    pcie::PcieLink,
    raw::{self, identity::Confidential},
    reading::{Absent, Reader, reason},
    worker::Session,
};

/// The node's driver.
#[derive(Debug, Clone)]
pub struct Driver {
    /// Path or name the library was loaded by.
    pub library: String,
    pub driver_version: Option<String>,
    pub nvml_version: Option<String>,
    /// The newest CUDA this driver runs, as `13.0`.
    pub cuda_version: Option<String>,
    pub gpu_count: u32,
    pub absent: Vec<Absent>,
}

/// One GPU as NVML describes it. `None` has its reason in `absent`.
#[derive(Debug, Clone)]
pub struct Gpu {
    pub name: GpuName,
    /// NVML does not reach this GPU any more.
    pub lost: bool,
    pub product: Option<String>,
    pub memory: Memory,
    pub temperature_celsius: Option<u32>,
    pub power_mw: Option<u32>,
    /// The limit in force.
    pub power_limit_mw: Option<u32>,
    /// A divided GPU has no utilisation.
    pub gpu_utilization_percent: Option<u32>,
    pub memory_utilization_percent: Option<u32>,
    pub ecc_enabled: Option<bool>,
    /// After the next reset.
    pub ecc_pending: Option<bool>,
    pub mig: Mig,
    /// Where they were asked for.
    pub details: Option<Details>,
    pub absent: Vec<Absent>,
}

/// The rest of what NVML says of a GPU.
#[derive(Debug, Clone, Default)]
pub struct Details {
    pub identity: Identity,
    pub windows: Windows,
    pub power_limits: PowerLimits,
    pub clocks: Clocks,
    pub pcie: PcieLink,
    pub pcie_device_generation_max: Option<u32>,
    pub place: Place,
    pub modes: Modes,
    pub nvlink: Option<NvLinks>,
    pub fabric: Option<Fabric>,
}

/// Whether the node computes confidentially.
#[derive(Debug, Clone)]
pub struct System {
    pub confidential: Option<Confidential>,
    pub ready: Option<bool>,
    pub absent: Vec<Absent>,
}

/// Reads the driver's versions and the number of GPUs.
pub fn driver(session: &Session<'_>) -> Result<Driver, GpuError> {
    let nvml = session.nvml;
    let gpu_count = count(session)?;
    let mut reader = Reader::new(session.progress);
    let driver_version =
        reader.read("driver_version", "nvmlSystemGetDriverVersion", || nvml.sys_driver_version());
    let nvml_version =
        reader.read("nvml_version", "nvmlSystemGetNVMLVersion", || nvml.sys_nvml_version());
    let cuda = reader.read("cuda_version", "nvmlSystemGetCudaDriverVersion_v2", || {
        nvml.sys_cuda_driver_version()
    });
    let cuda_version =
        cuda.map(|v| format!("{}.{}", cuda_driver_version_major(v), cuda_driver_version_minor(v)));
    let library = session.library.to_owned();
    Ok(Driver {
        library,
        driver_version,
        nvml_version,
        cuda_version,
        gpu_count,
        absent: reader.into_absent(),
    })
}

/// Reads the node's state of confidential computing.
#[must_use]
pub fn system(session: &Session<'_>) -> System {
    let mut r = Reader::new(session.progress);
    let mut newer = Reader::like(&r);
    let settings =
        newer.read("confidential_computing.multi_gpu", "nvmlSystemGetConfComputeSettings", || {
            raw::identity::confidential_settings(session.nvml)
        });
    let confidential = settings.or_else(|| {
        let state = r.read("confidential_computing", "nvmlSystemGetConfComputeState", || {
            raw::identity::confidential_state(session.nvml)
        })?;
        r.adopt(newer);
        Some(state)
    });
    let ready = confidential.and_then(|_| {
        r.read(
            "confidential_computing.gpus_ready",
            "nvmlSystemGetConfComputeGpusReadyState",
            || raw::identity::confidential_ready(session.nvml),
        )
    });
    System { confidential, ready, absent: r.into_absent() }
}

/// How many GPUs NVML counts, those that are lost included.
pub fn count(session: &Session<'_>) -> Result<u32, GpuError> {
    let call = "nvmlDeviceGetCount_v2";
    session
        .progress
        .during(call, || session.nvml.device_count())
        .map_err(|error| GpuError::Call { call, reason: reason(&error) })
}

/// The handle of one GPU. An index that NVML refuses is a GPU that cannot be asked anything.
pub fn device<'n>(
    nvml: &'n Nvml,
    session: &Session<'_>,
    index: u32,
) -> Result<Device<'n>, GpuError> {
    let call = lane::FIRST;
    session.progress.during(call, || nvml.device_by_index(index)).map_err(|error| {
        let reason = device_files::refusal(&error)
            .map_or_else(|| reason(&error), |(why, remedy)| format!("{why}. {remedy}"));
        GpuError::Call { call, reason }
    })
}

/// The names of one GPU, as far as it still tells them.
pub fn name(device: &Device<'_>, index: u32, reader: &mut Reader<'_>) -> GpuName {
    let pci = reader.read("pci", "nvmlDeviceGetPciInfo_v3", || device.pci_info());
    let uuid = reader.read("uuid", "nvmlDeviceGetUUID", || device.uuid());
    let minor = reader.read("minor_number", "nvmlDeviceGetMinorNumber", || device.minor_number());
    GpuName { index, pci: pci.and_then(|pci| pci_address(&pci.bus_id)), uuid, minor }
}

/// The names of one GPU.
pub fn name_of(session: &Session<'_>, index: u32) -> Result<GpuName, GpuError> {
    let device = device(session.nvml, session, index)?;
    Ok(name(&device, index, &mut Reader::new(session.progress)))
}

/// Reads what most questions need of one GPU.
pub fn summary(session: &Session<'_>, index: u32) -> Result<Gpu, GpuError> {
    let d = device(session.nvml, session, index)?;
    let mut r = Reader::new(session.progress);
    let mut gpu = outline(session, &d, index, &mut r);
    gpu.lost = r.is_lost();
    gpu.absent = r.into_absent();
    Ok(gpu)
}

/// Reads all of one GPU. `host` is where the host's files are.
pub fn full(session: &Session<'_>, index: u32, host: &Path) -> Result<Gpu, GpuError> {
    let d = device(session.nvml, session, index)?;
    let mut r = Reader::new(session.progress);
    let mut gpu = outline(session, &d, index, &mut r);
    gpu.details = Some(Details {
        identity: Identity::read(&d, &mut r),
        windows: Windows::read(&d, &mut r),
        power_limits: PowerLimits::read(&d, &mut r),
        clocks: Clocks::read(&d, &mut r),
        pcie: PcieLink::read(&d, &mut r),
        pcie_device_generation_max: r.read(
            "pcie_device_generation_max",
            "nvmlDeviceGetGpuMaxPcieLinkGeneration",
            || raw::pcie_generation_max_of_gpu(&d),
        ),
        place: Place::read(&d, &mut r, gpu.name.pci, host),
        modes: Modes::read(&d, &mut r),
        nvlink: NvLinks::read(session, &d, &mut r),
        fabric: Fabric::read(&d, &mut r),
    });
    gpu.lost = r.is_lost();
    gpu.absent = r.into_absent();
    Ok(gpu)
}

fn outline(session: &Session<'_>, d: &Device<'_>, index: u32, r: &mut Reader<'_>) -> Gpu {
    let name = name(d, index, r);
    let memory = Memory::read(d, r, "memory");
    let mig = Mig::read(session, d, r, memory.total_bytes);
    let load = if mig.enabled == Some(true) {
        let why = "MIG has it for no GPU that it divides";
        r.not_asked("utilization", "nvmlDeviceGetUtilizationRates", why);
        None
    } else {
        r.read("utilization", "nvmlDeviceGetUtilizationRates", || d.utilization_rates())
    };
    let ecc = r.read("ecc_enabled", "nvmlDeviceGetEccMode", || d.is_ecc_enabled());
    Gpu {
        name,
        product: r.read("product", "nvmlDeviceGetName", || d.name()),
        memory,
        temperature_celsius: r.read("temperature_celsius", "nvmlDeviceGetTemperature", || {
            d.temperature(TemperatureSensor::Gpu)
        }),
        power_mw: r.read("power_mw", "nvmlDeviceGetPowerUsage", || d.power_usage()),
        power_limit_mw: r
            .read("power_limit_mw", "nvmlDeviceGetEnforcedPowerLimit", || d.enforced_power_limit()),
        gpu_utilization_percent: load.as_ref().map(|load| load.gpu),
        memory_utilization_percent: load.map(|load| load.memory),
        ecc_enabled: ecc.as_ref().map(|ecc| ecc.currently_enabled),
        ecc_pending: ecc.map(|ecc| ecc.pending_enabled),
        mig,
        details: None,
        lost: false,
        absent: Vec::new(),
    }
}
