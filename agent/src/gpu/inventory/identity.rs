//! Who a GPU is: its board, its chip, its firmware.

use nvml_wrapper::Device;

use crate::gpu::{raw, reading::Reader};

#[derive(Debug, Clone, Default)]
pub struct Identity {
    pub brand: Option<String>,
    pub architecture: Option<String>,
    pub compute_capability: Option<String>,
    pub cuda_cores: Option<u32>,
    pub serial: Option<String>,
    pub board_part_number: Option<String>,
    /// The same for all GPUs of one board.
    pub board_id: Option<u32>,
    pub vbios_version: Option<String>,
    pub inforom_image_version: Option<String>,
    /// Device in the upper, vendor in the lower half.
    pub pci_device_id: Option<u32>,
    pub pci_subsystem_id: Option<u32>,
    /// On its baseboard.
    pub module_id: Option<u32>,
    /// `None` where the driver runs without.
    pub gsp_firmware_version: Option<String>,
    pub gsp_firmware_enabled: Option<bool>,
    pub gsp_firmware_default: Option<bool>,
}

impl Identity {
    pub fn read(d: &Device<'_>, r: &mut Reader<'_>) -> Self {
        let pci = r.read("pci_ids", "nvmlDeviceGetPciInfo_v3", || d.pci_info());
        let capability = r.read("compute_capability", "nvmlDeviceGetCudaComputeCapability", || {
            d.cuda_compute_capability()
        });
        let gsp = r.read("gsp_firmware_mode", "nvmlDeviceGetGspFirmwareMode", || {
            raw::identity::gsp_firmware_mode(d)
        });
        Self {
            brand: r
                .read("brand", "nvmlDeviceGetBrand", || raw::identity::brand(d))
                .map(brand_name),
            architecture: r
                .read("architecture", "nvmlDeviceGetArchitecture", || raw::architecture(d))
                .map(architecture_name),
            compute_capability: capability.map(|c| format!("{}.{}", c.major, c.minor)),
            cuda_cores: r.read("cuda_cores", "nvmlDeviceGetNumGpuCores", || d.num_cores()),
            serial: r.read("serial", "nvmlDeviceGetSerial", || d.serial()),
            board_part_number: r.read("board_part_number", "nvmlDeviceGetBoardPartNumber", || {
                d.board_part_number()
            }),
            board_id: r.read("board_id", "nvmlDeviceGetBoardId", || d.board_id()),
            vbios_version: r
                .read("vbios_version", "nvmlDeviceGetVbiosVersion", || d.vbios_version()),
            inforom_image_version: r.read(
                "inforom_image_version",
                "nvmlDeviceGetInforomImageVersion",
                || d.info_rom_image_version(),
            ),
            pci_device_id: pci.as_ref().map(|pci| pci.pci_device_id),
            pci_subsystem_id: pci.and_then(|pci| pci.pci_sub_system_id),
            module_id: r.read("module_id", "nvmlDeviceGetModuleId", || raw::identity::module_id(d)),
            gsp_firmware_version: r.read(
                "gsp_firmware_version",
                "nvmlDeviceGetGspFirmwareVersion",
                || d.gsp_firmware_version(),
            ),
            gsp_firmware_enabled: gsp.map(|(enabled, _)| enabled),
            gsp_firmware_default: gsp.map(|(_, default)| default),
        }
    }
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

/// `NVML_BRAND_*`, in the words of `nvidia-smi -q`.
fn brand_name(number: u32) -> String {
    let name = match number {
        1 => "Quadro",
        2 => "Tesla",
        3 => "NVS",
        4 => "GRID",
        5 => "GeForce",
        6 => "Titan",
        7 => "NVIDIA vApps",
        8 => "NVIDIA Virtual PC",
        9 => "NVIDIA Virtual Compute Server",
        10 => "NVIDIA RTX Virtual Workstation",
        11 => "NVIDIA Cloud Gaming",
        12 => "Quadro RTX",
        13 => "NVIDIA RTX",
        14 => "NVIDIA",
        15 => "GeForce RTX",
        16 => "Titan RTX",
        _ => return format!("NVML_BRAND {number}"),
    };
    name.to_owned()
}
