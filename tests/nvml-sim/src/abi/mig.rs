//! Multi-Instance GPU: the mode, and the MIG devices, which have a range of handles of their own.

use nvml_wrapper_sys::bindings as sys;

use super::args::{InstanceHandle, Out, Roomy, Tagged, Versioned as _, array};
use super::handle;
use crate::engine::code::Code;

const _: () =
    assert!(size_of::<sys::nvmlDeviceAttributes_t>() == 40, "not the size NVML documents");
const _: () = assert!(size_of::<sys::nvmlGpuInstanceInfo_t>() == 24, "not the size NVML documents");

type ProfileV2 = sys::nvmlGpuInstanceProfileInfo_v2_t;
type ProfileV3 = sys::nvmlGpuInstanceProfileInfo_v3_t;

export! {
    device fn nvmlDeviceGetMigMode((_, gpu), current: Out<u32>, pending: Out<u32>) {
        let mig = gpu.mig.as_ref()?;
        current.set(mig.enabled.into())?;
        pending.set(mig.pending.into())
    }

    /// A board without MIG has a maximum of 0.
    device fn nvmlDeviceGetMaxMigDeviceCount((_, gpu), count: Out<u32>) {
        count.set(gpu.mig.as_ref().map_or(0, |mig| mig.max_devices))
    }

    device fn nvmlDeviceGetMigDeviceHandleByIndex((_, gpu), index: u32, handle: Out<sys::nvmlDevice_t>) {
        gpu.mig.as_ref()?.devices().nth(index as usize).ok_or(Code::NOT_FOUND)?;
        handle.set(handle::of_mig_device(gpu, index))
    }

    part fn nvmlDeviceIsMigDeviceHandle((_, _, mig), is_mig: Out<u32>) { is_mig.set(mig.is_some().into()) }

    part fn nvmlDeviceGetDeviceHandleFromMigDeviceHandle((_, gpu, mig), parent: Out<sys::nvmlDevice_t>) {
        mig.ok_or(Code::INVALID_ARGUMENT)?;
        parent.set(handle::of_gpu(gpu))
    }

    part fn nvmlDeviceGetGpuInstanceId((_, _, mig), id: Out<u32>) {
        id.set(mig.ok_or(Code::INVALID_ARGUMENT)?.place().gpu_instance)
    }

    part fn nvmlDeviceGetComputeInstanceId((_, _, mig), id: Out<u32>) {
        id.set(mig.ok_or(Code::INVALID_ARGUMENT)?.place().compute_instance)
    }

    /// Of a MIG device alone. Its engines are those of its GPU instance, which it shares.
    part fn nvmlDeviceGetAttributes_v2((_, _, mig), attributes: Out<sys::nvmlDeviceAttributes_t>) {
        let mig = mig.ok_or(Code::NOT_SUPPORTED)?;
        attributes.set(sys::nvmlDeviceAttributes_t {
            multiprocessorCount: mig.multiprocessors(),
            sharedCopyEngineCount: mig.profile.copy_engines,
            sharedDecoderCount: mig.profile.decoders,
            sharedEncoderCount: mig.profile.encoders,
            sharedJpegCount: mig.profile.jpegs,
            sharedOfaCount: mig.profile.ofas,
            gpuInstanceSliceCount: mig.profile.slices,
            computeInstanceSliceCount: mig.slices(),
            memorySizeMB: mig.profile.memory_mib,
        })
    }

    /// A number that the board has no profile under is not supported.
    device fn nvmlDeviceGetGpuInstanceProfileInfoV(
        (_, gpu), number: u32, info: Tagged<sys::nvmlGpuInstanceProfileInfo_v2_t>,
    ) {
        if number >= sys::NVML_GPU_INSTANCE_PROFILE_COUNT {
            return Err(Code::INVALID_ARGUMENT);
        }
        let profiles = &gpu.mig.as_ref()?.profiles;
        let profile = profiles.iter().find(|profile| profile.number == number).ok_or(Code::NOT_SUPPORTED)?;
        match info.tag() {
            ProfileV2::TAG => info.set(ProfileV2 {
                version: ProfileV2::TAG,
                id: profile.id,
                isP2pSupported: 0,
                sliceCount: profile.slices,
                instanceCount: profile.instances,
                multiprocessorCount: profile.multiprocessors,
                copyEngineCount: profile.copy_engines,
                decoderCount: profile.decoders,
                encoderCount: profile.encoders,
                jpegCount: profile.jpegs,
                ofaCount: profile.ofas,
                memorySizeMB: profile.memory_mib,
                name: array(&format!("MIG {}", profile.name))?,
            }),
            ProfileV3::TAG => info.set(ProfileV3 {
                version: ProfileV3::TAG,
                id: profile.id,
                sliceCount: profile.slices,
                instanceCount: profile.instances,
                multiprocessorCount: profile.multiprocessors,
                copyEngineCount: profile.copy_engines,
                decoderCount: profile.decoders,
                encoderCount: profile.encoders,
                jpegCount: profile.jpegs,
                ofaCount: profile.ofas,
                memorySizeMB: profile.memory_mib,
                name: array(&format!("MIG {}", profile.name))?,
                capabilities: 0,
            }),
            _ => Err(Code::ARGUMENT_VERSION_MISMATCH),
        }
    }

    /// The list has room for as many as its profile has instances, which the caller knows.
    device fn nvmlDeviceGetGpuInstances(
        (_, gpu), profile_id: u32, instances: Roomy<sys::nvmlGpuInstance_t>, count: Out<u32>,
    ) {
        let mig = gpu.mig.as_ref()?;
        if !mig.enabled {
            return Err(Code::NOT_SUPPORTED);
        }
        let profile = mig.profiles.iter().find(|profile| profile.id == profile_id);
        let profile = profile.ok_or(Code::INVALID_ARGUMENT)?;
        let handles: Vec<_> = (0..)
            .zip(mig.instances())
            .filter(|(_, instance)| instance.profile == profile.name)
            .map(|(position, _)| handle::of_gpu_instance(gpu, position))
            .take(profile.instances as usize)
            .collect();
        instances.fill(&handles);
        count.set(u32::try_from(handles.len()).map_err(|_| Code::UNKNOWN)?)
    }

    session fn nvmlGpuInstanceGetInfo(
        session, instance: InstanceHandle, info: Out<sys::nvmlGpuInstanceInfo_t>,
    ) {
        let (gpu, instance) = handle::gpu_instance(&session.node, instance)?;
        let profile = gpu.mig.as_ref()?.profile(&instance.profile).ok_or(Code::UNKNOWN)?;
        let placement = sys::nvmlGpuInstancePlacement_t { start: instance.start, size: profile.memory_slices };
        let (device, id) = (handle::of_gpu(gpu), instance.id);
        info.set(sys::nvmlGpuInstanceInfo_t { device, id, profileId: profile.id, placement })
    }
}
