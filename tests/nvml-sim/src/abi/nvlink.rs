//! NVLinks, and the fabric that NVSwitches make of them.

use nvml_wrapper_sys::bindings as sys;

use super::args::{Out, Tagged, Versioned};
use super::identity::{pci_info, state};
use crate::engine::code::Code;
use crate::engine::gpu::fabric::Fabric;

const _: () = assert!(size_of::<sys::nvmlGpuFabricInfo_t>() == 28, "not the size NVML documents");

type FabricV2 = sys::nvmlGpuFabricInfo_v2_t;
type FabricV3 = sys::nvmlGpuFabricInfo_v3_t;

/// The structs of the header, with the padding behind their single bytes made part of these: NVIDIA's Python binding reads
/// the state as 32 bits.
#[repr(C)]
#[derive(Clone, Copy)]
struct FabricBytes {
    cluster_uuid: [u8; 16],
    status: u32,
    clique_id: u32,
    state: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct FabricBytesV2 {
    version: u32,
    fabric: FabricBytes,
    health_mask: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct FabricBytesV3 {
    v2: FabricBytesV2,
    health_summary: u32,
}

fn bytes(fabric: &Fabric) -> FabricBytes {
    FabricBytes {
        cluster_uuid: fabric.cluster_uuid.0,
        status: fabric.status.0,
        clique_id: fabric.clique_id,
        state: fabric.state.number().into(),
    }
}

export! {
    device fn nvmlDeviceGetNvLinkState((_, gpu), link: u32, active: Out<sys::nvmlEnableState_t>) {
        active.set(state(gpu.nvlink.as_ref()?.link(link)?.is_up()))
    }

    device fn nvmlDeviceGetNvLinkVersion((_, gpu), link: u32, version: Out<u32>) {
        let nvlink = gpu.nvlink.as_ref()?;
        nvlink.link(link)?;
        version.set(nvlink.version.number())
    }

    device fn nvmlDeviceGetNvLinkErrorCounter(
        (_, gpu), link: u32, counter: sys::nvmlNvLinkErrorCounter_t, errors: Out<u64>,
    ) {
        errors.set(gpu.nvlink.as_ref()?.link(link)?.counter(counter)?)
    }

    /// P2P and its atomics, and system memory, come with every link; an SLI bridge with none.
    device fn nvmlDeviceGetNvLinkCapability(
        (_, gpu), link: u32, capability: sys::nvmlNvLinkCapability_t, has_it: Out<u32>,
    ) {
        gpu.nvlink.as_ref()?.link(link)?;
        has_it.set(match capability {
            sys::nvmlNvLinkCapability_enum_NVML_NVLINK_CAP_SLI_BRIDGE => 0,
            known if known < sys::nvmlNvLinkCapability_enum_NVML_NVLINK_CAP_COUNT => 1,
            _ => return Err(Code::INVALID_ARGUMENT),
        })
    }

    device fn nvmlDeviceGetNvLinkRemoteDeviceType(
        (_, gpu), link: u32, kind: Out<sys::nvmlIntNvLinkDeviceType_t>,
    ) {
        let nvlink = gpu.nvlink.as_ref()?;
        nvlink.link(link)?;
        kind.set(nvlink.remote.number())
    }

    /// The profile knows the far end's device id and address; the subsystem is left 0.
    device fn nvmlDeviceGetNvLinkRemotePciInfo_v2((_, gpu), link: u32, info: Out<sys::nvmlPciInfo_t>) {
        let nvlink = gpu.nvlink.as_ref()?;
        info.set(pci_info(nvlink.remote_address(link)?, nvlink.remote_device_id, 0)?)
    }

    device fn nvmlDeviceGetGpuFabricInfo((_, gpu), info: Out<sys::nvmlGpuFabricInfo_t>) {
        let fabric = gpu.fabric.as_ref()?;
        info.seen_as().set(bytes(fabric))
    }

    device fn nvmlDeviceGetGpuFabricInfoV((_, gpu), info: Tagged<sys::nvmlGpuFabricInfoV_t>) {
        let fabric = gpu.fabric.as_ref()?;
        match info.tag() {
            FabricV2::TAG => {
                let (version, health_mask) = (FabricV2::TAG, fabric.health.mask());
                info.set_as::<FabricV2, _>(FabricBytesV2 { version, fabric: bytes(fabric), health_mask })
            }
            FabricV3::TAG => {
                let (version, health_mask) = (FabricV3::TAG, fabric.health.mask());
                let v2 = FabricBytesV2 { version, fabric: bytes(fabric), health_mask };
                let health_summary = fabric.health.summary.number().into();
                info.set_as::<FabricV3, _>(FabricBytesV3 { v2, health_summary })
            }
            _ => Err(Code::ARGUMENT_VERSION_MISMATCH),
        }
    }
}
