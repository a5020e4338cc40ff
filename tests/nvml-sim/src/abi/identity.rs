//! Who a GPU is: names, numbers, versions, modes, its place on the bus.

use nvml_wrapper_sys::bindings as sys;

use super::args::{FixedText, Len, Out, Text, array};
use crate::engine::code::Code;
use crate::engine::gpu::identity::PciAddress;

/// NVML's switch for on and off.
pub(super) fn state(on: bool) -> sys::nvmlEnableState_t {
    if on {
        sys::nvmlEnableState_enum_NVML_FEATURE_ENABLED
    } else {
        sys::nvmlEnableState_enum_NVML_FEATURE_DISABLED
    }
}

/// `busId` has eight digits of domain, `busIdLegacy` four.
pub(super) fn pci_info(
    address: PciAddress,
    device_id: u32,
    subsystem_id: u32,
) -> Result<sys::nvmlPciInfo_t, Code> {
    Ok(sys::nvmlPciInfo_t {
        busIdLegacy: array(&address.legacy())?,
        domain: address.domain,
        bus: address.bus.into(),
        device: address.device.into(),
        pciDeviceId: device_id,
        pciSubSystemId: subsystem_id,
        busId: array(&address.to_string())?,
    })
}

const _: () = assert!(size_of::<sys::nvmlPciInfo_t>() == 68, "not the size NVML documents");

export! {
    part fn nvmlDeviceGetName((_, gpu, mig), name: Text, length: Len) {
        let board = &gpu.identity.name;
        name.put(length, &mig.map_or_else(|| board.clone(), |mig| mig.name(board)))
    }

    part fn nvmlDeviceGetUUID((_, gpu, mig), uuid: Text, length: Len) {
        uuid.put(length, mig.map_or(&gpu.identity.uuid, |mig| &mig.compute.uuid))
    }

    device fn nvmlDeviceGetSerial((_, gpu), serial: Text, length: Len) { serial.put(length, gpu.serial()?) }

    device fn nvmlDeviceGetBoardPartNumber((_, gpu), number: Text, length: Len) {
        number.put(length, gpu.identity.part_number.as_ref()?)
    }

    device fn nvmlDeviceGetBoardId((_, gpu), id: Out<u32>) { id.set(gpu.pci.address.board_id()) }

    device fn nvmlDeviceGetMinorNumber((_, gpu), minor: Out<u32>) {
        minor.set(gpu.identity.minor.ok_or(Code::NOT_SUPPORTED)?)
    }

    device fn nvmlDeviceGetModuleId((_, gpu), module: Out<u32>) { module.set(gpu.identity.module_id.get()?) }

    device fn nvmlDeviceGetBrand((_, gpu), brand: Out<sys::nvmlBrandType_t>) {
        brand.set(gpu.identity.brand.number())
    }

    device fn nvmlDeviceGetArchitecture((_, gpu), architecture: Out<sys::nvmlDeviceArchitecture_t>) {
        architecture.set(gpu.identity.architecture.number())
    }

    device fn nvmlDeviceGetCudaComputeCapability((_, gpu), major: Out<i32>, minor: Out<i32>) {
        let [first, second] = gpu.identity.compute_capability;
        major.set(first)?;
        minor.set(second)
    }

    device fn nvmlDeviceGetNumGpuCores((_, gpu), cores: Out<u32>) { cores.set(gpu.identity.cuda_cores.get()?) }

    device fn nvmlDeviceGetVbiosVersion((_, gpu), version: Text, length: Len) {
        version.put(length, gpu.identity.vbios.as_ref()?)
    }

    device fn nvmlDeviceGetInforomImageVersion((_, gpu), version: Text, length: Len) {
        version.put(length, gpu.identity.inforom.image.as_ref()?)
    }

    device fn nvmlDeviceGetInforomVersion(
        (_, gpu), object: sys::nvmlInforomObject_t, version: Text, length: Len,
    ) {
        let inforom = &gpu.identity.inforom;
        let reading = match object {
            sys::nvmlInforomObject_enum_NVML_INFOROM_OEM => &inforom.oem,
            sys::nvmlInforomObject_enum_NVML_INFOROM_ECC => &inforom.ecc,
            sys::nvmlInforomObject_enum_NVML_INFOROM_POWER => &inforom.power,
            sys::nvmlInforomObject_enum_NVML_INFOROM_DEN => return Err(Code::NOT_SUPPORTED),
            _ => return Err(Code::INVALID_ARGUMENT),
        };
        version.put(length, reading.as_ref()?)
    }

    device fn nvmlDeviceGetGspFirmwareVersion(
        (_, gpu), version: FixedText<{ sys::NVML_GSP_FIRMWARE_VERSION_BUF_SIZE as usize }>,
    ) {
        version.put(gpu.identity.gsp_firmware.as_ref()?)
    }

    /// A board that has firmware for its GSP runs it.
    device fn nvmlDeviceGetGspFirmwareMode((_, gpu), enabled: Out<u32>, default: Out<u32>) {
        let has_firmware = u32::from(gpu.identity.gsp_firmware.as_ref().is_ok());
        enabled.set(has_firmware)?;
        default.set(has_firmware)
    }

    device fn nvmlDeviceGetNumaNodeId((_, gpu), node: Out<u32>) { node.set(gpu.identity.numa_node.get()?) }

    device fn nvmlDeviceGetPciInfo_v3((_, gpu), info: Out<sys::nvmlPciInfo_t>) {
        info.set(pci_info(gpu.pci.address, gpu.pci.device_id, gpu.pci.subsystem_id)?)
    }

    device fn nvmlDeviceGetPersistenceMode((_, gpu), mode: Out<sys::nvmlEnableState_t>) {
        mode.set(state(gpu.persistence.get()?))
    }

    device fn nvmlDeviceGetComputeMode((_, gpu), mode: Out<sys::nvmlComputeMode_t>) {
        mode.set(gpu.compute_mode.get()?.number())
    }

    device fn nvmlDeviceGetVirtualizationMode((_, gpu), mode: Out<sys::nvmlGpuVirtualizationMode_t>) {
        mode.set(gpu.virtualization.get()?.number())
    }

    device fn nvmlDeviceGetDisplayMode((_, gpu), mode: Out<sys::nvmlEnableState_t>) {
        mode.set(state(gpu.identity.display_mode.get()?))
    }

    device fn nvmlDeviceGetDisplayActive((_, gpu), active: Out<sys::nvmlEnableState_t>) {
        active.set(state(gpu.identity.display_active.get()?))
    }
}
