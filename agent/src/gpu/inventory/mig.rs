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
    /// By id. Empty where MIG is off; `None` where it is not known whether there are any.
    pub instances: Option<Vec<GpuInstance>>,
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
    /// `None` where it is not known whether there are any.
    pub compute_instances: Option<Vec<ComputeInstance>>,
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
            instances: Some(Vec::new()),
        };
        if mode.current == 1 {
            let mut instances = BTreeMap::new();
            let placed = placed(session, d, &mut instances);
            let walked = devices(session, d, r, &mut instances, (mig.devices_max, total));
            let is_known = placed.is_ok() || !instances.is_empty();
            if let Err((call, error)) = placed {
                let field =
                    if is_known { "mig.gpu_instances.placement" } else { "mig.gpu_instances" };
                r.read::<()>(field, call, || Err(error));
            }
            for instance in instances.values_mut().filter(|it| it.compute_instances.is_none()) {
                let id = instance.id;
                let why = if walked {
                    instance.compute_instances = Some(Vec::new());
                    format!("GPU instance {id} has no compute instance")
                } else {
                    format!("no compute instance of GPU instance {id} is known")
                };
                r.not_asked("mig.gpu_instances.memory", "nvmlDeviceGetMemoryInfo_v2", &why);
            }
            mig.instances = is_known.then(|| instances.into_values().collect());
        }
        mig
    }
}

/// Adds the GPU instances with their places, where this process may know them; else the call that was refused.
fn placed(
    session: &Session<'_>,
    d: &Device<'_>,
    instances: &mut BTreeMap<u32, GpuInstance>,
) -> Result<(), (&'static str, NvmlError)> {
    let call = "nvmlDeviceGetGpuInstanceProfileInfoV";
    let profiles = session.progress.during(call, || raw::mig::mig_profiles(d));
    for profile in profiles.map_err(|error| (call, error))? {
        let call = "nvmlDeviceGetGpuInstances";
        let found = session.progress.during(call, || raw::mig::gpu_instances(d, &profile));
        let found = found.map_err(|error| (call, error))?;
        let name = profile.name.strip_prefix("MIG ").unwrap_or(&profile.name);
        instances.extend(found.into_iter().map(|found| {
            let raw::mig::GpuInstance { id, profile_id: _, start, size } = found;
            let (start, size) = (Some(start), Some(size));
            let profile = Some(name.to_owned());
            (id, GpuInstance { id, profile, start, size, ..GpuInstance::default() })
        }));
    }
    Ok(())
}

/// Adds the MIG devices, and the GPU instances that only they tell of. Whether these are all.
fn devices(
    session: &Session<'_>,
    d: &Device<'_>,
    r: &mut Reader<'_>,
    instances: &mut BTreeMap<u32, GpuInstance>,
    (most, board_total): (Option<u32>, Option<u64>),
) -> bool {
    let call = "nvmlDeviceGetMigDeviceHandleByIndex";
    let mut all = most.is_some();
    for index in 0..most.unwrap_or(0) {
        let device = match session.progress.during(call, || d.mig_device_by_index(index)) {
            Ok(device) => device,
            // Indices have holes where instances were destroyed.
            Err(NvmlError::NotFound) => continue,
            Err(error) => {
                r.read::<()>("mig.gpu_instances.compute_instances", call, || Err(error));
                all = false;
                break;
            }
        };
        let ask = || raw::mig::mig_place(&device);
        let Some((gpu_id, id)) =
            r.read("mig.gpu_instances.compute_instances", "nvmlDeviceGetGpuInstanceId", ask)
        else {
            all = false;
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
        instance.compute_instances.get_or_insert_default().push(ComputeInstance {
            id,
            index,
            uuid: r.read("mig.gpu_instances.compute_instances.uuid", "nvmlDeviceGetUUID", || {
                device.uuid()
            }),
            sm_count: attributes.as_ref().map(|attributes| attributes.multiprocessor_count),
            slices: attributes.map(|attributes| attributes.compute_instance_slice_count),
        });
    }
    all
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
