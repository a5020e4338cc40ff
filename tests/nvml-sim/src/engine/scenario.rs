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
use super::faults::Exports;
use super::gpu::Gpu;
use super::node::{Driver, Node};
use super::profile::Profile;
use super::watch::Watch;

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

    pub fn unreadable(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
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
    /// How many GPUs; the profile's number of slots when left out, and more where a test wants more.
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

/// The node that the environment asks for, and a watch over its file. `exports` knows the library's functions.
pub fn from_environment(exports: Exports) -> Result<(Node, Option<Watch>), Error> {
    let Some(path) = env::var_os(VARIABLE).map(PathBuf::from) else {
        return from_text(DEFAULT, Path::new("."), exports).map(|node| (node, None));
    };
    let text = fs::read_to_string(&path).map_err(|source| Error::unreadable(&path, source))?;
    let node = from_file(&path, &text, exports)?;
    Ok((node, Some(Watch::new(path, text))))
}

/// From the text of the file of that path.
pub fn from_file(path: &Path, text: &str, exports: Exports) -> Result<Node, Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    from_text(text, folder, exports).map_err(|error| error.in_file(&path.display().to_string()))
}

pub fn from_text(text: &str, folder: &Path, exports: Exports) -> Result<Node, Error> {
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
            let slot = profile.slot(index);
            let layers = [
                ("the profile", &profile.gpu),
                ("the profile", &slot),
                ("[all]", &scenario.all),
                ("[[gpu]]", own.get(index).and_then(Option::as_ref).unwrap_or(&empty)),
            ];
            gpu_from_layers(index, &layers)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let events = scenario.event.into_iter().enumerate().map(|(position, form)| {
        form.plan(position, count).map_err(|message| {
            Error::invalid(&format!("[[event]] number {}", position + 1), message)
        })
    });
    Node::new(driver, gpus, events.collect::<Result<_, _>>()?, exports)
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
        let frames = frames(&mut merged)?;
        let read = |table: Table| {
            Gpu::deserialize(table).map_err(|error: toml::de::Error| error.to_string())
        };
        let frame = |frame: &Table| {
            let mut of_frame = merged.clone();
            merge(&mut of_frame, frame);
            read(of_frame)
        };
        let frames = frames.iter().map(frame).collect::<Result<_, _>>()?;
        Ok::<_, String>(Gpu { frames, ..read(merged)? })
    };
    build(layers).map_err(|message| {
        let guilty = (2..=layers.len())
            .find(|&upper| build(&layers[..upper]).as_ref() == Err(&message))
            .unwrap_or(layers.len());
        let place = layers[guilty - 1].0;
        Error::invalid(&format!("{place}, GPU {index}"), message)
    })
}

/// Takes the frames out of a GPU's table: layers of which each is the last one for a time.
fn frames(gpu: &mut Table) -> Result<Vec<Table>, String> {
    match gpu.remove("frames") {
        None => Ok(Vec::new()),
        Some(frames) => Vec::deserialize(frames).map_err(|error| format!("frames: {error}")),
    }
}

/// Lays `over` on `base`. A table that stands for an absent value (`{ error = … }`) is one value and not merged.
pub(super) fn merge(base: &mut Table, over: &Table) {
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
mod tests;
