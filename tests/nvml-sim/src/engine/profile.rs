//! Boards as data: what a profile file says, and the ones that are built in.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use toml::Table;

use super::scenario::Error;

/// A node full of one kind of board.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The schema of [`super::node::Driver`].
    pub node: Table,
    /// The schema of [`super::gpu::Gpu`], common to all boards.
    pub gpu: Table,
    /// What differs from board to board, in NVML's order: address, module id. Their number is the number of GPUs.
    pub slot: Vec<Table>,
}

const BUILT_IN: &[(&str, &str)] = &[
    ("a100", include_str!("../../profiles/a100.toml")),
    ("h100", include_str!("../../profiles/h100.toml")),
    ("t4", include_str!("../../profiles/t4.toml")),
];

impl Profile {
    /// A built-in profile by name, or a file by its path, which is taken from the folder of the scenario.
    pub fn load(name: &str, scenario_folder: &Path) -> Result<Self, Error> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(text, &format!("built-in profile {name}"));
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
        Self::parse(&text, &path.display().to_string())
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
        }
    }
}
