//! NVLinks, and the fabric that NVSwitches make of them.

use nvml_wrapper_sys::bindings as sys;

use super::args::{Out, Tagged, Versioned};
use super::identity::{pci_info, state};
use crate::engine::code::Code;

const _: () = assert!(size_of::<sys::nvmlGpuFabricInfo_t>() == 28, "not the size NVML documents");

type FabricV2 = sys::nvmlGpuFabricInfo_v2_t;
type FabricV3 = sys::nvmlGpuFabricInfo_v3_t;

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
        info.edit(|info| {
            info.clusterUuid = fabric.cluster_uuid.0;
            info.status = fabric.status.0;
            info.cliqueId = fabric.clique_id;
            info.state = fabric.state.number();
        })
    }

    device fn nvmlDeviceGetGpuFabricInfoV((_, gpu), info: Tagged<sys::nvmlGpuFabricInfoV_t>) {
        let fabric = gpu.fabric.as_ref()?;
        match info.tag() {
            FabricV2::TAG => info.edit(|info: &mut FabricV2| {
                info.clusterUuid = fabric.cluster_uuid.0;
                info.status = fabric.status.0;
                info.cliqueId = fabric.clique_id;
                info.state = fabric.state.number();
                info.healthMask = fabric.health.mask();
            }),
            FabricV3::TAG => info.edit(|info: &mut FabricV3| {
                info.clusterUuid = fabric.cluster_uuid.0;
                info.status = fabric.status.0;
                info.cliqueId = fabric.clique_id;
                info.state = fabric.state.number();
                info.healthMask = fabric.health.mask();
                info.healthSummary = fabric.health.summary.number();
            }),
            _ => Err(Code::ARGUMENT_VERSION_MISMATCH),
        }
    }
}
