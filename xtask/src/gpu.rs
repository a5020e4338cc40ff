//! `cargo xtask gpu`: the agent on this machine's own GPUs, judged by NVIDIA's binding, and a capture of what it answers.
//!
//! ```text
//! cargo xtask gpu                         # as root, for what the kernel tells
//! cargo xtask gpu --seconds 60 --keep
//! ```
//!
//! | step | file in `tests/` |
//! | --- | --- |
//! | a small CUDA load on every GPU | `gpu/load.py` |
//! | each field of inventory and health against nvidia-ml-py, under that load | `e2e/fields/compare.py` |
//! | every tool's answers under load and around an Xid 31 made on purpose, scrubbed | `gpu/capture.py` |
//! | the simulator's profile of this board against the capture | `gpu/hold.py` |
//!
//! The same by hand, where nothing can be built or downloaded: `tests/gpu/README.md`.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{build, cmd, paths, setup, ui};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the capture goes; `<target>/gpu` when left out.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How long the GPUs compute while they are captured.
    #[arg(long, value_name = "N", default_value_t = 30)]
    seconds: u32,
    /// Copy the scrubbed capture to tests/captures/, where it is a fixture.
    #[arg(long)]
    keep: bool,
}

/// Longer than the comparisons take; the load is ended with them.
const COMPARING: &str = "300";

/// The task.
pub(crate) fn run(args: &Args) -> Result<()> {
    let missing = missing(library, Path::exists);
    if !missing.is_empty() {
        bail!(
            "this machine has no GPU that the agent could be held against: there is no {}. It takes a Linux machine with an \
             NVIDIA GPU and its driver, CUDA's library included; in a container, one that was given a GPU",
            missing.join(", no ")
        );
    }
    let python = setup::python()?;
    let built = build::run(&build::Args::default())?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => paths::target()?.join("gpu"),
    };

    let simulator = built.sim_dir.join("libnvidia-ml.so.1");
    let script = |path: &str, arguments: &[&OsStr]| {
        let mut command = Command::new(&python);
        command.arg(paths::root().join("tests").join(path)).args(arguments);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    };
    let (agent, seconds) = (built.agent.as_os_str(), args.seconds.to_string());
    let mut steps = Steps::default();
    let arguments = ["--seconds".as_ref(), COMPARING.as_ref()];
    let load = steps.load(&mut script("gpu/load.py", &arguments));
    for table in ["inventory", "health"] {
        let title = format!("each field of {table} against nvidia-ml-py");
        let arguments = [agent, "real".as_ref(), table.as_ref()];
        steps.take(&title, &mut script("e2e/fields/compare.py", &arguments));
    }
    drop(load);
    let arguments = [agent, out.as_os_str(), "--seconds".as_ref(), seconds.as_ref()];
    let captured = steps.take("the capture", &mut script("gpu/capture.py", &arguments));
    if captured {
        // What differs is the profile's to be corrected, and no fault of the agent's.
        ui::step("the simulator's profile against the capture");
        let arguments = [out.as_os_str(), agent, simulator.as_os_str()];
        let held = cmd::visible(&mut script("gpu/hold.py", &arguments)).is_ok();
        steps.closing.push(format!(
            "  the simulator's profile: {}",
            if held { "as the capture" } else { "differs, or there is none; see above" }
        ));
        let mut place = out.clone();
        if args.keep {
            place = keep(&out)?;
        }
        steps.closing.push(format!("  the capture is in {}", place.display()));
    }
    steps.end()
}

/// How each step ended.
#[derive(Debug, Default)]
struct Steps {
    closing: Vec<String>,
    failed: usize,
}

impl Steps {
    /// Runs one; a failure does not keep the others from running.
    fn take(&mut self, title: &str, command: &mut Command) -> bool {
        ui::step(title);
        let result = cmd::visible(command);
        self.failed += usize::from(result.is_err());
        self.closing.push(match &result {
            Ok(()) => format!("  {title}: ok"),
            Err(error) => format!("  {title}: FAILED: {error:#}"),
        });
        result.is_ok()
    }

    /// The load, if CUDA works; what NVML says can be compared without it.
    fn load(&mut self, command: &mut Command) -> Option<Load> {
        ui::step("the load");
        let load = Load::start(command);
        if let Err(error) = &load {
            self.failed += 1;
            self.closing.push(format!("  the load: FAILED: {error:#}"));
        }
        load.ok()
    }

    fn end(self) -> Result<()> {
        ui::line("");
        ui::step("what came of it");
        self.closing.iter().for_each(ui::line);
        if self.failed > 0 {
            bail!("{} of the steps failed", self.failed);
        }
        Ok(())
    }
}

/// The GPUs at work, until it is dropped.
struct Load(Child);

impl Load {
    /// Returns when it says that it is at work.
    fn start(command: &mut Command) -> Result<Self> {
        let shown = cmd::display(command);
        let child = command.stdout(Stdio::piped()).spawn();
        let mut load = Self(child.with_context(|| format!("cannot start `{shown}`"))?);
        let out = load.0.stdout.take().context("the load has no stdout")?;
        let mut said = String::new();
        BufReader::new(out).read_line(&mut said).context("reading what the load says")?;
        if said.is_empty() {
            bail!("CUDA does not work here; what `{shown}` said stands above");
        }
        ui::line(format!("  {}", said.trim_end()));
        Ok(load)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // One that has ended by itself cannot be ended again.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a machine with a GPU has and this one has not.
fn missing(library: impl Fn(&str) -> bool, exists: impl Fn(&Path) -> bool) -> Vec<&'static str> {
    let libraries = ["libnvidia-ml.so.1", "libcuda.so.1"].into_iter().filter(|name| !library(name));
    let device = "/dev/nvidiactl";
    libraries.chain(Some(device).filter(|path| !exists(Path::new(path)))).collect()
}

/// Whether the dynamic linker finds it.
fn library(name: &str) -> bool {
    let path = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    if env::split_paths(&path).any(|dir| dir.join(name).exists()) {
        return true;
    }
    // Not on everybody's PATH.
    let ldconfig = paths::on_path("ldconfig").unwrap_or_else(|| PathBuf::from("/sbin/ldconfig"));
    cmd::output(Command::new(ldconfig).arg("-p")).is_ok_and(|known| known.contains(name))
}

/// Copies the capture to where it is a fixture, by the name that it gave itself.
fn keep(out: &Path) -> Result<PathBuf> {
    let read = || -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&fs::read(out.join("capture.json"))?)?)
    };
    let capture = read().context("cannot read capture.json")?;
    let name = capture["name"].as_str().context("capture.json has no name")?;
    let place = paths::root().join("tests/captures").join(name);
    let copy = || -> Result<()> {
        fs::create_dir_all(&place)?;
        for file in fs::read_dir(out)? {
            let file = file?;
            fs::copy(file.path(), place.join(file.file_name()))?;
        }
        Ok(())
    };
    copy().with_context(|| format!("cannot copy the capture to {}", place.display()))?;
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_named() {
        assert!(missing(|_| true, |_| true).is_empty());
        assert_eq!(missing(|name| name == "libcuda.so.1", |_| true), ["libnvidia-ml.so.1"]);
        assert_eq!(missing(|_| true, |_| false), ["/dev/nvidiactl"]);
    }
}
