//! What the GPUs are: identity, size, limits, and a few figures of the moment.

use nvml_wrapper::{
    Device, Nvml, cuda_driver_version_major, cuda_driver_version_minor,
    enum_wrappers::device::{Clock, ComputeMode, TemperatureSensor},
};

use super::{
    GpuError, GpuName, device_files, pci_address,
    pcie::PcieLink,
    raw,
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
    pub architecture: Option<String>,
    pub compute_capability: Option<String>,
    pub serial: Option<String>,
    pub board_part_number: Option<String>,
    pub vbios_version: Option<String>,
    pub gsp_firmware_version: Option<String>,
    pub numa_node: Option<u32>,
    pub memory_total_bytes: Option<u64>,
    pub memory_used_bytes: Option<u64>,
    pub memory_free_bytes: Option<u64>,
    pub bar1_total_bytes: Option<u64>,
    pub ecc_enabled: Option<bool>,
    pub mig_enabled: Option<bool>,
    pub persistence_mode: Option<bool>,
    pub compute_mode: Option<&'static str>,
    pub temperature_celsius: Option<u32>,
    pub power_mw: Option<u32>,
    pub power_limit_mw: Option<u32>,
    pub power_limit_min_mw: Option<u32>,
    pub power_limit_max_mw: Option<u32>,
    pub sm_clock_mhz: Option<u32>,
    pub sm_clock_max_mhz: Option<u32>,
    pub memory_clock_mhz: Option<u32>,
    pub memory_clock_max_mhz: Option<u32>,
    pub gpu_utilization_percent: Option<u32>,
    pub memory_utilization_percent: Option<u32>,
    pub pcie: PcieLink,
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
    let call = "nvmlDeviceGetHandleByIndex_v2";
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

/// Reads one GPU.
pub fn gpu(session: &Session<'_>, index: u32) -> Result<Gpu, GpuError> {
    let d = device(session.nvml, session, index)?;
    let mut r = Reader::new(session.progress);
    let name = name(&d, index, &mut r);
    let memory = r.read("memory", "nvmlDeviceGetMemoryInfo_v2", || d.memory_info());
    let limits =
        r.read("power_limit_range", "nvmlDeviceGetPowerManagementLimitConstraints", || {
            d.power_management_limit_constraints()
        });
    let load = r.read("utilization", "nvmlDeviceGetUtilizationRates", || d.utilization_rates());
    let capability = r.read("compute_capability", "nvmlDeviceGetCudaComputeCapability", || {
        d.cuda_compute_capability()
    });
    Ok(Gpu {
        name,
        product: r.read("product", "nvmlDeviceGetName", || d.name()),
        architecture: r
            .read("architecture", "nvmlDeviceGetArchitecture", || raw::architecture(&d))
            .map(architecture_name),
        compute_capability: capability.map(|c| format!("{}.{}", c.major, c.minor)),
        serial: r.read("serial", "nvmlDeviceGetSerial", || d.serial()),
        board_part_number: r
            .read("board_part_number", "nvmlDeviceGetBoardPartNumber", || d.board_part_number()),
        vbios_version: r.read("vbios_version", "nvmlDeviceGetVbiosVersion", || d.vbios_version()),
        gsp_firmware_version: r.read(
            "gsp_firmware_version",
            "nvmlDeviceGetGspFirmwareVersion",
            || d.gsp_firmware_version(),
        ),
        numa_node: r.read("numa_node", "nvmlDeviceGetNumaNodeId", || d.numa_node_id()),
        memory_total_bytes: memory.as_ref().map(|m| m.total),
        memory_used_bytes: memory.as_ref().map(|m| m.used),
        memory_free_bytes: memory.as_ref().map(|m| m.free),
        bar1_total_bytes: r
            .read("bar1_total_bytes", "nvmlDeviceGetBAR1MemoryInfo", || d.bar1_memory_info())
            .map(|b| b.total),
        ecc_enabled: r
            .read("ecc_enabled", "nvmlDeviceGetEccMode", || d.is_ecc_enabled())
            .map(|e| e.currently_enabled),
        mig_enabled: r
            .read("mig_enabled", "nvmlDeviceGetMigMode", || d.mig_mode())
            .map(|m| m.current == 1),
        persistence_mode: r
            .read("persistence_mode", "nvmlDeviceGetPersistenceMode", || d.is_in_persistent_mode()),
        compute_mode: r
            .read("compute_mode", "nvmlDeviceGetComputeMode", || d.compute_mode())
            .map(|m| compute_mode_name(m)),
        temperature_celsius: r.read("temperature_celsius", "nvmlDeviceGetTemperature", || {
            d.temperature(TemperatureSensor::Gpu)
        }),
        power_mw: r.read("power_mw", "nvmlDeviceGetPowerUsage", || d.power_usage()),
        power_limit_mw: r
            .read("power_limit_mw", "nvmlDeviceGetEnforcedPowerLimit", || d.enforced_power_limit()),
        power_limit_min_mw: limits.as_ref().map(|l| l.min_limit),
        power_limit_max_mw: limits.as_ref().map(|l| l.max_limit),
        sm_clock_mhz: r.read("sm_clock_mhz", "nvmlDeviceGetClockInfo", || d.clock_info(Clock::SM)),
        sm_clock_max_mhz: r
            .read("sm_clock_max_mhz", "nvmlDeviceGetMaxClockInfo", || d.max_clock_info(Clock::SM)),
        memory_clock_mhz: r
            .read("memory_clock_mhz", "nvmlDeviceGetClockInfo", || d.clock_info(Clock::Memory)),
        memory_clock_max_mhz: r.read("memory_clock_max_mhz", "nvmlDeviceGetMaxClockInfo", || {
            d.max_clock_info(Clock::Memory)
        }),
        gpu_utilization_percent: load.as_ref().map(|u| u.gpu),
        memory_utilization_percent: load.as_ref().map(|u| u.memory),
        pcie: PcieLink::read(&d, &mut r),
        lost: r.is_lost(),
        absent: r.into_absent(),
    })
}

/// `NVML_DEVICE_ARCH_*` of nvml.h; a number it does not know yet is shown as the number.
fn architecture_name(number: u32) -> String {
    let name = match number {
        2 => "Kepler",
        3 => "Maxwell",
        4 => "Pascal",
        5 => "Volta",
        6 => "Turing",
        7 => "Ampere",
        8 => "Ada",
        9 => "Hopper",
        10 => "Blackwell",
        13 => "Rubin",
        _ => return format!("NVML_DEVICE_ARCH {number}"),
    };
    name.to_owned()
}

fn compute_mode_name(mode: ComputeMode) -> &'static str {
    match mode {
        ComputeMode::Default => "default",
        ComputeMode::ExclusiveThread => "exclusive_thread",
        ComputeMode::Prohibited => "prohibited",
        ComputeMode::ExclusiveProcess => "exclusive_process",
    }
}
