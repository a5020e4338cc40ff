//! From a scenario file to a [`Node`]: layers of TOML laid over each other, each key checked.
//!
//! A GPU is the profile's `[gpu]`, then its `[[slot]]`, then the scenario's `[all]`, then the scenario's `[[gpu]]` with
//! its index. Tables merge key by key; anything else replaces what was below it. Nothing is guessed: a key that nobody
//! knows, a GPU that is not there or a fault for a function that is not exported is an error that names file and key.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use serde::Deserialize;
use toml::{Table, Value};

use super::events::EventForm;
use super::gpu::Gpu;
use super::node::{Driver, Node};
use super::profile::Profile;

/// The environment variable that names the scenario file.
pub const VARIABLE: &str = "NVML_SIM_SCENARIO";

/// Without that variable: eight healthy, idle H100.
const DEFAULT: &str = "profile = 'h100'";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{place}: {message}")]
    Invalid { place: String, message: String },
}

impl Error {
    pub fn invalid(place: &str, message: impl Display) -> Self {
        Self::Invalid {
            place: place.to_owned(),
            message: message.to_string().trim_end().to_owned(),
        }
    }

    /// Says in which file it was, when that is not known further down.
    fn in_file(self, file: &str) -> Self {
        match self {
            Self::Invalid { place, message } => {
                Self::Invalid { place: format!("{file}: {place}"), message }
            }
            read @ Self::Read { .. } => read,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    profile: String,
    /// How many GPUs; the profile's number of slots when left out.
    gpus: Option<usize>,
    #[serde(default)]
    node: Table,
    #[serde(default)]
    all: Table,
    #[serde(default)]
    gpu: Vec<Table>,
    #[serde(default)]
    event: Vec<EventForm>,
}

/// The node that the environment asks for. `exported` knows the names of the library's functions.
pub fn from_environment(exported: &dyn Fn(&str) -> bool) -> Result<Node, Error> {
    match env::var_os(VARIABLE) {
        None => from_text(DEFAULT, Path::new("."), exported),
        Some(path) => from_file(Path::new(&path), exported),
    }
}

pub fn from_file(path: &Path, exported: &dyn Fn(&str) -> bool) -> Result<Node, Error> {
    let text =
        fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let folder = path.parent().unwrap_or(Path::new("."));
    from_text(&text, folder, exported).map_err(|error| error.in_file(&path.display().to_string()))
}

pub fn from_text(
    text: &str,
    folder: &Path,
    exported: &dyn Fn(&str) -> bool,
) -> Result<Node, Error> {
    let scenario: Scenario =
        toml::from_str(text).map_err(|error| Error::invalid("scenario", error))?;
    let profile = Profile::load(&scenario.profile, folder)?;

    let mut driver = profile.node.clone();
    merge(&mut driver, &scenario.node);
    let driver = Driver::deserialize(driver).map_err(|error| Error::invalid("[node]", error))?;

    let count = scenario.gpus.unwrap_or(profile.slot.len());
    let own = own_tables(scenario.gpu, count)?;
    let empty = Table::new();
    let gpus = (0..count)
        .map(|index| {
            let slot = match profile.slot.get(index) {
                Some(slot) => ("the profile", slot),
                None => ("the profile, which has no [[slot]] for it", &empty),
            };
            let layers = [
                ("the profile", &profile.gpu),
                slot,
                ("[all]", &scenario.all),
                ("[[gpu]]", own.get(index).and_then(Option::as_ref).unwrap_or(&empty)),
            ];
            gpu_from_layers(index, &layers)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let events = scenario.event.into_iter().enumerate().map(|(position, form)| {
        form.plan(count).map_err(|message| {
            Error::invalid(&format!("[[event]] number {}", position + 1), message)
        })
    });
    Node::new(driver, gpus, events.collect::<Result<_, _>>()?, exported)
}

/// The `[[gpu]]` tables by their index, without it.
fn own_tables(tables: Vec<Table>, count: usize) -> Result<Vec<Option<Table>>, Error> {
    let mut own = vec![None; count];
    for mut table in tables {
        let index = match table.remove("index") {
            Some(Value::Integer(index)) => index,
            Some(other) => {
                return Err(Error::invalid("[[gpu]]", format!("index is not a number: {other:?}")));
            }
            None => return Err(Error::invalid("[[gpu]]", "index is missing")),
        };
        let place = usize::try_from(index).ok().and_then(|index| own.get_mut(index));
        match place {
            None => {
                return Err(Error::invalid(
                    "[[gpu]]",
                    format!("index = {index}, but there are {count} GPUs"),
                ));
            }
            Some(Some(_)) => {
                return Err(Error::invalid("[[gpu]]", format!("index = {index} is there twice")));
            }
            Some(free) => *free = Some(table),
        }
    }
    Ok(own)
}

/// Merges the layers. On an error the layer is named that brings the error in; the first two are the profile.
fn gpu_from_layers(index: usize, layers: &[(&str, &Table)]) -> Result<Gpu, Error> {
    let build = |layers: &[(&str, &Table)]| {
        let mut merged = Table::new();
        for (_, layer) in layers {
            merge(&mut merged, layer);
        }
        Gpu::deserialize(merged).map_err(|error| error.to_string())
    };
    build(layers).map_err(|message| {
        let guilty = (2..=layers.len())
            .find(|&upper| build(&layers[..upper]).as_ref() == Err(&message))
            .unwrap_or(layers.len());
        let place = layers[guilty - 1].0;
        Error::invalid(&format!("{place}, GPU {index}"), message)
    })
}

/// Lays `over` on `base`. A table that stands for an absent value (`{ error = … }`) is one value and not merged.
fn merge(base: &mut Table, over: &Table) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Table(below)), Value::Table(above))
                if !is_absent(below) && !is_absent(above) =>
            {
                merge(below, above);
            }
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

fn is_absent(table: &Table) -> bool {
    table.len() == 1 && table.contains_key("error")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::code::Code;

    const HEALTHY: &str = include_str!("../../scenarios/healthy.toml");

    fn read(text: &str) -> Result<Node, String> {
        from_text(text, Path::new("."), &crate::abi::is_exported).map_err(|error| error.to_string())
    }

    /// The reference with its optional keys in use.
    fn healthy_with_all_keys() -> String {
        HEALTHY
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The paths of all values, those in arrays of tables included.
    fn keys(prefix: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Table(table) => {
                for (key, value) in table {
                    keys(&format!("{prefix}.{key}"), value, found);
                }
            }
            Value::Array(items) if items.iter().any(Value::is_table) => {
                for item in items {
                    keys(prefix, item, found);
                }
            }
            _ => found.push(prefix.to_owned()),
        }
    }

    #[test]
    fn the_reference_says_what_no_scenario_says() {
        assert_eq!(read(HEALTHY).unwrap(), read(DEFAULT).unwrap());
    }

    #[test]
    fn the_reference_has_every_key_of_the_profile() {
        let profile = Profile::load("h100", Path::new(".")).unwrap();
        let reference: Table = toml::from_str(&healthy_with_all_keys()).unwrap();
        let mut documented = Vec::new();
        keys("", &Value::Table(reference), &mut documented);
        let mut needed = Vec::new();
        keys(".all", &Value::Table(profile.gpu), &mut needed);
        keys(".node", &Value::Table(profile.node), &mut needed);
        for slot in profile.slot {
            keys(".gpu", &Value::Table(slot), &mut needed);
        }
        assert!(needed.len() > 100, "the profile has lost its keys");
        needed.retain(|key| !documented.contains(key));
        assert_eq!(needed, Vec::<String>::new(), "not in scenarios/healthy.toml");
    }

    #[test]
    fn the_optional_keys_of_the_reference_work() {
        let node = read(&healthy_with_all_keys()).unwrap();
        assert_eq!(node.driver.init_error, Some(Code::DRIVER_NOT_LOADED));
        assert_eq!(node.events.len(), 2);
        let gpu = &node.gpus[3];
        assert_eq!(gpu.faults.strike("nvmlDeviceGetPowerUsage"), Err(Code::UNKNOWN));
        assert_eq!((gpu.processes.len(), gpu.lost_after_ms), (1, Some(60_000)));
        let nvlink = gpu.nvlink.as_ref().unwrap();
        assert_eq!(nvlink.link(4).unwrap().crc_flit_errors, 120);
        assert_eq!(nvlink.link(5).unwrap().crc_flit_errors, 0);
        assert_eq!(nvlink.switched_links(), Ok(17));
    }

    #[test]
    fn layers_merge_and_the_last_wins() {
        let node = read(
            "profile = 'h100'
             [all]
             power.usage_mw = 1
             ecc = { error = 'NOT_READY' }
             [[gpu]]
             index = 2
             power.instant_mw = 2
             ecc = { enabled = false }",
        );
        let message = node.unwrap_err();
        assert!(message.contains("missing field"), "an absent table is replaced whole: {message}");
        let node = read(
            "profile = 'h100'\n[all]\npower.usage_mw = 1\n[[gpu]]\nindex = 2\npower.usage_mw = 2",
        )
        .unwrap();
        let usage: Vec<_> = node.gpus.iter().map(|gpu| gpu.power.usage_mw.get()).collect();
        assert_eq!(usage[..4], [Ok(1), Ok(1), Ok(2), Ok(1)]);
        assert_eq!(node.gpus[2].power.max_limit_mw.get(), Ok(700_000));
    }

    #[test]
    fn a_mistake_is_named_with_its_place_and_key() {
        for (text, place, key) in [
            ("profil = 'h100'", "scenario", "profil"),
            ("profile = 'h1000'", "profile", "h1000"),
            ("profile = 'h100'\n[node]\ndriver = '1'", "[node]", "driver"),
            ("profile = 'h100'\n[all]\npower.usage_w = 1", "[all], GPU 0", "usage_w"),
            ("profile = 'h100'\n[all]\necc.volatile.dram = 1", "[all], GPU 0", "dram"),
            (
                "profile = 'h100'\n[[gpu]]\nindex = 3\npower.usage_w = 1",
                "[[gpu]], GPU 3",
                "usage_w",
            ),
            ("profile = 'h100'\n[[gpu]]\nindex = 8", "[[gpu]]", "index = 8"),
            ("profile = 'h100'\n[[gpu]]\nindex = 1\n[[gpu]]\nindex = 1", "[[gpu]]", "twice"),
            ("profile = 'h100'\n[[gpu]]\nlost = true", "[[gpu]]", "index is missing"),
            ("profile = 'h100'\ngpus = 9", "no [[slot]] for it, GPU 8", "missing field"),
            (
                "profile = 'h100'\n[all.faults]\nnvmlDeviceGetTemprature = 3",
                "GPU 0",
                "nvmlDeviceGetTemprature",
            ),
            ("profile = 'h100'\n[node.faults]\nnvmlSystem = 3", "[node]", "nvmlSystem"),
            ("profile = 'h100'\n[all]\nthrottle.reasons = ['hot']", "[all], GPU 0", "hot"),
            (
                "profile = 'h100'\n[[event]]\ngpu = 8\nxid = 1\nafter_ms = 0",
                "[[event]] number 1",
                "gpu = 8",
            ),
            ("profile = 'h100'\n[[event]]\ngpu = 0\nafter_ms = 0", "[[event]] number 1", "xid"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(place) && message.contains(key), "{text}\ngave: {message}");
        }
    }

    #[test]
    fn the_file_is_named_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wrong.toml");
        let missing = from_file(&path, &|_| true).unwrap_err().to_string();
        assert!(missing.contains("wrong.toml"), "{missing}");
        fs::write(&path, "profile = 'h100'\n[all]\nhot = true").unwrap();
        let message = from_file(&path, &|_| true).unwrap_err().to_string();
        assert!(message.contains("wrong.toml") && message.contains("`hot`"), "{message}");
        fs::write(folder.path().join("mine.toml"), include_str!("../../profiles/h100.toml"))
            .unwrap();
        fs::write(&path, "profile = 'mine.toml'").unwrap();
        assert_eq!(from_file(&path, &|_| true).unwrap().gpus.len(), 8);
    }

    #[test]
    fn every_shipped_scenario_loads() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let files: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 4, "{files:?}");
        for file in files {
            from_file(&file, &crate::abi::is_exported).unwrap();
        }
    }
}
