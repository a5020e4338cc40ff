//! Multi-Instance GPU: what a board can be divided into, and how it is.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Mig {
    pub enabled: bool,
    pub pending: bool,
    pub max_devices: u32,
    /// The parts that the board can be divided into.
    pub profiles: Vec<MigProfile>,
    /// The parts it is divided into; there while MIG is enabled.
    #[serde(default)]
    pub instances: Vec<GpuInstance>,
}

/// A row of `nvidia-smi mig -lgip`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct MigProfile {
    pub name: String,
    /// The number it is asked for by, `NVML_GPU_INSTANCE_PROFILE_*`; and the one that instances carry.
    pub number: u32,
    pub id: u32,
    /// Of compute, and of the eight that the memory has.
    pub slices: u32,
    pub memory_slices: u32,
    /// As many fit on an empty board.
    pub instances: u32,
    pub memory_mib: u64,
    pub multiprocessors: u32,
    pub copy_engines: u32,
    pub decoders: u32,
    pub encoders: u32,
    pub jpegs: u32,
    pub ofas: u32,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct GpuInstance {
    pub id: u32,
    /// The name of a profile.
    pub profile: String,
    /// The first of its memory slices.
    pub start: u32,
    #[serde(default)]
    pub used_bytes: u64,
    /// Without one, nothing can run there.
    #[serde(default)]
    pub compute: Vec<ComputeInstance>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ComputeInstance {
    pub id: u32,
    pub uuid: String,
    /// Both are those of the whole GPU instance where they are left out.
    pub slices: Option<u32>,
    pub multiprocessors: Option<u32>,
}

/// A compute instance in a GPU instance, which NVML has a handle for as for a GPU.
#[derive(Clone, Copy, Debug)]
pub struct MigDevice<'a> {
    pub profile: &'a MigProfile,
    pub instance: &'a GpuInstance,
    pub compute: &'a ComputeInstance,
}

/// A place on a divided GPU.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    pub gpu_instance: u32,
    pub compute_instance: u32,
}

impl Mig {
    /// Nothing while MIG is off.
    #[must_use]
    pub fn instances(&self) -> &[GpuInstance] {
        if self.enabled { &self.instances } else { &[] }
    }

    /// By NVML's index of MIG devices.
    pub fn devices(&self) -> impl Iterator<Item = MigDevice<'_>> {
        self.instances().iter().flat_map(|instance| {
            let profile = self.profile(&instance.profile);
            instance
                .compute
                .iter()
                .filter_map(move |compute| Some(MigDevice { profile: profile?, instance, compute }))
        })
    }

    #[must_use]
    pub fn profile(&self, name: &str) -> Option<&MigProfile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }

    /// What cannot be.
    pub fn check(&self) -> Result<(), String> {
        let devices = self.devices().count();
        if devices > self.max_devices as usize {
            return Err(format!("instances: more than max_devices, {}", self.max_devices));
        }
        let mut taken = 0_u64;
        for instance in &self.instances {
            let Some(profile) = self.profile(&instance.profile) else {
                return Err(format!("instances: no profile is called {:?}", instance.profile));
            };
            let end = instance.start.saturating_add(profile.memory_slices);
            if end > 8 {
                return Err(format!("instance {}: ends behind the eighth slice", instance.id));
            }
            let place = (1 << end) - (1_u64 << instance.start);
            if taken & place != 0 {
                return Err(format!("instance {}: its place is another's too", instance.id));
            }
            taken |= place;
            if instance.used_bytes > profile.memory_mib << 20 {
                return Err(format!("instance {}: used_bytes is more than it has", instance.id));
            }
        }
        Ok(())
    }
}

impl MigDevice<'_> {
    #[must_use]
    pub fn place(&self) -> Instance {
        Instance { gpu_instance: self.instance.id, compute_instance: self.compute.id }
    }

    #[must_use]
    pub fn slices(&self) -> u32 {
        self.compute.slices.unwrap_or(self.profile.slices)
    }

    #[must_use]
    pub fn multiprocessors(&self) -> u32 {
        self.compute.multiprocessors.unwrap_or(self.profile.multiprocessors)
    }

    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.profile.memory_mib << 20
    }

    /// "NVIDIA H100 80GB HBM3 MIG 3g.40gb", and "… MIG 1c.3g.40gb" for a part of that.
    #[must_use]
    pub fn name(&self, board: &str) -> String {
        let Self { profile, .. } = self;
        if self.slices() == profile.slices {
            format!("{board} MIG {}", profile.name)
        } else {
            format!("{board} MIG {}c.{}", self.slices(), profile.name)
        }
    }
}
