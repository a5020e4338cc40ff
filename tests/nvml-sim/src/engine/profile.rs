//! Boards as data: what a profile file says, and the ones that are built in.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use toml::{Table, Value};

use super::gpu::identity::PciAddress;
use super::scenario::{Error, merge};

/// A node full of one kind of board.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// A profile on which this one is laid, of a board so much alike that what it does not say is the same.
    base: Option<String>,
    /// The schema of [`super::node::Driver`].
    #[serde(default)]
    pub node: Table,
    /// The schema of [`super::gpu::Gpu`], common to all boards.
    #[serde(default)]
    pub gpu: Table,
    /// What differs from board to board, in NVML's order: address, module id. Their number is the number of GPUs. All of
    /// them replace all of the base's.
    #[serde(default)]
    pub slot: Vec<Table>,
}

const BUILT_IN: &[(&str, &str)] = &[
    ("a100", include_str!("../../profiles/a100.toml")),
    ("b200", include_str!("../../profiles/b200.toml")),
    ("gb200", include_str!("../../profiles/gb200.toml")),
    ("h100", include_str!("../../profiles/h100.toml")),
    ("h100-mig", include_str!("../../profiles/h100-mig.toml")),
    ("h200", include_str!("../../profiles/h200.toml")),
    ("l40s", include_str!("../../profiles/l40s.toml")),
    ("t4", include_str!("../../profiles/t4.toml")),
];

/// From the PCI domains of the slots to those of the GPUs beyond them: more than any board's slots span.
const DOMAINS: usize = 0x100;

impl Profile {
    /// A built-in profile by name, or a file by its path, which is taken from the folder of the scenario.
    pub fn load(name: &str, scenario_folder: &Path) -> Result<Self, Error> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            let origin = format!("built-in profile {name}");
            return Self::parse(text, &origin)?.on_its_base(scenario_folder);
        }
        let path = scenario_folder.join(name);
        if path.extension().is_none_or(|extension| extension != "toml") {
            let known: Vec<_> = BUILT_IN.iter().map(|(known, _)| *known).collect();
            return Err(Error::invalid(
                "profile",
                format!(
                    "no profile is called {name:?}; built in: {}; a file must end in .toml",
                    known.join(", ")
                ),
            ));
        }
        let text = fs::read_to_string(&path).map_err(|source| Error::unreadable(&path, source))?;
        Self::parse(&text, &path.display().to_string())?.on_its_base(scenario_folder)
    }

    fn on_its_base(mut self, scenario_folder: &Path) -> Result<Self, Error> {
        let Some(base) = self.base.take() else { return Ok(self) };
        let mut merged = Self::load(&base, scenario_folder)?;
        merge(&mut merged.node, &self.node);
        merge(&mut merged.gpu, &self.gpu);
        if !self.slot.is_empty() {
            merged.slot = self.slot;
        }
        Ok(merged)
    }

    /// Where the GPU of this index sits. One more than there are slots sits as the first does, and so on, but in another
    /// PCI domain and with a module id of its own.
    #[must_use]
    pub fn slot(&self, index: usize) -> Table {
        let count = self.slot.len().max(1);
        let (round, index) = (index / count, index % count);
        let mut slot = self.slot.get(index).cloned().unwrap_or_default();
        if round > 0 {
            if let Some(Value::String(address)) =
                slot.get_mut("pci").and_then(|pci| pci.get_mut("address"))
            {
                let moved = address.parse().map(|at: PciAddress| PciAddress {
                    domain: at.domain + u32::try_from(round * DOMAINS).unwrap_or(u32::MAX),
                    ..at
                });
                *address = moved.map_or_else(|wrong| wrong, |moved| moved.to_string());
            }
            if let Some(Value::Integer(id)) =
                slot.get_mut("identity").and_then(|own| own.get_mut("module_id"))
            {
                *id += i64::try_from(round * count).unwrap_or(i64::MAX);
            }
        }
        slot
    }

    fn parse(text: &str, origin: &str) -> Result<Self, Error> {
        toml::from_str(text).map_err(|error| Error::invalid(origin, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::scenario;

    #[test]
    fn every_profile_file_is_built_in_and_is_a_node() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<_> =
            files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        names.sort_unstable();
        assert_eq!(names, BUILT_IN.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for name in names {
            let node =
                scenario::from_text(&format!("profile = '{name}'"), Path::new("."), |_, _| false)
                    .unwrap();
            assert_eq!(node.gpus.len(), Profile::load(&name, Path::new(".")).unwrap().slot.len());
            let many = format!("profile = '{name}'\ngpus = 16");
            let many = scenario::from_text(&many, Path::new("."), |_, _| false).unwrap();
            assert_eq!(
                many.gpus.len(),
                16,
                "each has an address of its own, or there were no node"
            );
        }
    }

    #[test]
    fn a_gpu_beyond_the_slots_sits_as_one_of_them_in_another_domain() {
        let profile = Profile::load("h100", Path::new(".")).unwrap();
        let slot = profile.slot(10);
        assert_eq!(slot["pci"]["address"].as_str(), Some("00000100:52:00.0"));
        assert_eq!(slot["identity"]["module_id"].as_integer(), Some(14));
    }

    #[test]
    fn a_profile_can_stand_on_another() {
        let folder = tempfile::tempdir().unwrap();
        let own = "base = 'h100'\ngpu.identity.name = 'mine'\n[[slot]]\npci.address = '0:1:0'\nidentity.module_id = 1";
        fs::write(folder.path().join("mine.toml"), own).unwrap();
        let text = "profile = 'mine.toml'";
        let node = scenario::from_text(text, folder.path(), |_, _| false).unwrap();
        assert_eq!((node.gpus.len(), node.gpus[0].identity.name.as_str()), (1, "mine"));
        assert_eq!(node.gpus[0].pci.device_id, 0x2330_10DE);
    }
}
