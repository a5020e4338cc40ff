//! How a GPU is divided by MIG: GPU instances, and the compute instances in each.
//!
//! Anybody may ask for MIG devices, which are compute instances. The driver tells GPU instances to UID 0 alone: their
//! places, and those in which nobody has made a compute instance, so that nothing can run there.

use std::collections::BTreeMap;

use nvml_wrapper::{Device, error::NvmlError};

use super::memory::Memory;
use crate::gpu::{raw, reading::Reader, worker::Session};

#[derive(Debug, Clone, Default)]
pub struct Mig {
    pub enabled: Option<bool>,
    /// After the next reset.
    pub pending: Option<bool>,
    pub devices_max: Option<u32>,
    /// By id. Empty where MIG is off.
    pub instances: Vec<GpuInstance>,
}

#[derive(Debug, Clone, Default)]
pub struct GpuInstance {
    pub id: u32,
    /// "3g.40gb".
    pub profile: Option<String>,
    /// The first of the board's eight slices of memory that it has, and how many.
    pub start: Option<u32>,
    pub size: Option<u32>,
    pub memory: Memory,
    pub compute_instances: Vec<ComputeInstance>,
}

#[derive(Debug, Clone)]
pub struct ComputeInstance {
    pub id: u32,
    /// NVML's index of MIG devices.
    pub index: u32,
    /// "MIG-…", by which a container is given it.
    pub uuid: Option<String>,
    pub sm_count: Option<u32>,
    pub slices: Option<u32>,
}

impl Mig {
    /// The modes, and the tree where MIG is on. `total` is the memory of the whole board.
    pub fn read(
        session: &Session<'_>,
        d: &Device<'_>,
        r: &mut Reader<'_>,
        total: Option<u64>,
    ) -> Self {
        let Some(mode) = r.read("mig_enabled", "nvmlDeviceGetMigMode", || d.mig_mode()) else {
            return Self::default();
        };
        let mut mig = Self {
            enabled: Some(mode.current == 1),
            pending: Some(mode.pending == 1),
            devices_max: r
                .read("mig.devices_max", "nvmlDeviceGetMaxMigDeviceCount", || d.mig_device_count()),
            instances: Vec::new(),
        };
        if mode.current == 1 {
            let mut instances = placed(d, r);
            devices(session, d, r, &mut instances, (mig.devices_max.unwrap_or(0), total));
            for instance in instances.values().filter(|one| one.compute_instances.is_empty()) {
                let why = format!("GPU instance {} has no compute instance", instance.id);
                r.not_asked("mig.gpu_instances.memory", "nvmlDeviceGetMemoryInfo_v2", &why);
            }
            mig.instances = instances.into_values().collect();
        }
        mig
    }
}

/// The GPU instances with their places, where this process may know them.
fn placed(d: &Device<'_>, r: &mut Reader<'_>) -> BTreeMap<u32, GpuInstance> {
    let ask = || raw::mig::mig_profiles(d);
    let profiles = r.read("mig.gpu_instances.profile", "nvmlDeviceGetGpuInstanceProfileInfoV", ask);
    let mut instances = BTreeMap::new();
    for profile in profiles.unwrap_or_default() {
        let ask = || raw::mig::gpu_instances(d, &profile);
        let Some(found) = r.read("mig.gpu_instances.placement", "nvmlDeviceGetGpuInstances", ask)
        else {
            break;
        };
        let name = profile.name.strip_prefix("MIG ").unwrap_or(&profile.name);
        instances.extend(found.into_iter().map(|found| {
            let raw::mig::GpuInstance { id, profile_id: _, start, size } = found;
            let (start, size) = (Some(start), Some(size));
            let profile = Some(name.to_owned());
            (id, GpuInstance { id, profile, start, size, ..GpuInstance::default() })
        }));
    }
    instances
}

/// Adds the MIG devices, and the GPU instances that only they tell of.
fn devices(
    session: &Session<'_>,
    d: &Device<'_>,
    r: &mut Reader<'_>,
    instances: &mut BTreeMap<u32, GpuInstance>,
    (most, board_total): (u32, Option<u64>),
) {
    let call = "nvmlDeviceGetMigDeviceHandleByIndex";
    for index in 0..most {
        let device = match session.progress.during(call, || d.mig_device_by_index(index)) {
            Ok(device) => device,
            // Indices have holes where instances were destroyed.
            Err(NvmlError::NotFound) => continue,
            Err(error) => {
                r.read::<()>("mig.gpu_instances.compute_instances", call, || Err(error));
                break;
            }
        };
        let ask = || raw::mig::mig_place(&device);
        let Some((gpu_id, id)) =
            r.read("mig.gpu_instances.compute_instances", "nvmlDeviceGetGpuInstanceId", ask)
        else {
            continue;
        };
        let attributes = r.read(
            "mig.gpu_instances.compute_instances.attributes",
            "nvmlDeviceGetAttributes_v2",
            || device.attributes(),
        );
        let instance = instances
            .entry(gpu_id)
            .or_insert_with(|| GpuInstance { id: gpu_id, ..GpuInstance::default() });
        if instance.memory.total_bytes.is_none() {
            instance.memory = Memory::read(&device, r, "mig.gpu_instances.memory");
        }
        if instance.profile.is_none() {
            let name = r.read("mig.gpu_instances.profile", "nvmlDeviceGetName", || device.name());
            instance.profile = name.as_deref().and_then(profile_in).or_else(|| {
                let slices = attributes.as_ref()?.gpu_instance_slice_count;
                profile_of(slices, instance.memory.total_bytes?, board_total?)
            });
        }
        instance.compute_instances.push(ComputeInstance {
            id,
            index,
            uuid: r.read("mig.gpu_instances.compute_instances.uuid", "nvmlDeviceGetUUID", || {
                device.uuid()
            }),
            sm_count: attributes.as_ref().map(|attributes| attributes.multiprocessor_count),
            slices: attributes.map(|attributes| attributes.compute_instance_slice_count),
        });
    }
}

/// The profile of the GPU instance in the name of a MIG device, which has that of the compute instance:
/// "NVIDIA H100 80GB HBM3 MIG 1c.3g.40gb".
fn profile_in(name: &str) -> Option<String> {
    let (_, profile) = name.rsplit_once(" MIG ")?;
    let whole = match profile.split_once('.') {
        Some((first, rest)) if first.ends_with('c') => rest,
        _ => profile,
    };
    Some(whole.to_owned())
}

/// The name that NVIDIA would give it: memory comes in eighths of the board's, and both are rounded to GiB.
fn profile_of(slices: u32, bytes: u64, board_bytes: u64) -> Option<String> {
    let eighths = bytes.checked_mul(8)?.div_ceil(board_bytes.max(1));
    let board = board_bytes.div_ceil(1 << 30);
    Some(format!("{slices}g.{}gb", (eighths * board + 4) / 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_found_in_the_name_of_a_device() {
        for (name, profile) in [
            ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", Some("3g.40gb")),
            ("NVIDIA H100 80GB HBM3 MIG 1c.3g.40gb", Some("3g.40gb")),
            ("NVIDIA A100-SXM4-40GB MIG 1g.5gb+me", Some("1g.5gb+me")),
            ("NVIDIA H100 80GB HBM3", None),
        ] {
            assert_eq!(profile_in(name).as_deref(), profile, "{name}");
        }
    }

    #[test]
    fn a_profile_follows_from_slices_and_memory() {
        let mib = |count: u64| count << 20;
        for (slices, memory, board, profile) in [
            (1, mib(4864), mib(40960), "1g.5gb"),
            (1, mib(9984), mib(40960), "1g.10gb"),
            (3, mib(20096), mib(40960), "3g.20gb"),
            (1, mib(9984), mib(81559), "1g.10gb"),
            (3, mib(40448), mib(81559), "3g.40gb"),
            (7, mib(81152), mib(81559), "7g.80gb"),
        ] {
            assert_eq!(profile_of(slices, memory, board).as_deref(), Some(profile));
        }
    }
}
