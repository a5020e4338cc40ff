//! Finds NVML, loads it, and refuses to mix up the simulator and the real one.
//!
//! A container runtime puts `libnvidia-ml.so.1` where the dynamic linker finds it; where it does not, the usual places
//! of driver containers and hosts are tried. The simulator exports [`SIMULATOR_MARKER`], the real library does not:
//! `real` never answers from a library with the marker, `simulated` never from one without.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    time::Instant,
};

use nvml_wrapper::{Nvml, error::NvmlError};

use super::{device_files, reading};

/// What `--nvml-mode` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The driver's own library.
    Real,
    /// The simulator of the project's tests; every answer then says so.
    Simulated,
}

/// The name that the dynamic linker knows NVML by.
const SONAME: &str = "libnvidia-ml.so.1";
/// A function only the simulator has.
const SIMULATOR_MARKER: &[u8] = b"k8sGpuMcpSimulatorVersion\0";
/// Where the library lies when the linker does not know it: Debian and Ubuntu, RHEL, the GPU Operator's driver
/// container, GKE (two layouts), WSL.
const KNOWN_PLACES: [&str; 8] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu",
    "/run/nvidia/driver/usr/lib/aarch64-linux-gnu",
    "/usr/local/nvidia/lib64",
    "/home/kubernetes/bin/nvidia/lib64",
    "/usr/lib/wsl/lib",
];

/// Why there is no NVML.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unavailable {
    /// No library was found. Give the pod access to the GPUs, or name the library.
    #[error("no NVML library: searched {}; the loader says: {reason}", searched.join(", "))]
    NotFound {
        /// What was tried, in order.
        searched: Vec<String>,
        /// The dynamic linker's last word.
        reason: String,
    },
    /// A simulator was found where the real library was asked for. It is not used.
    #[error(
        "{library} is the project's NVML simulator and --nvml-mode is real: no simulated figure is shown as a real one"
    )]
    IsSimulator {
        /// The library that was found.
        library: String,
    },
    /// The driver's library was found where the simulator was asked for. It is not used.
    #[error(
        "{library} is not the project's NVML simulator and --nvml-mode is simulated: a real GPU is not shown as a simulated one"
    )]
    NotSimulator {
        /// The library that was found.
        library: String,
    },
    /// The library is there and refuses to start, or to go on. The driver is not loaded, does not fit it, or no device file is
    /// open to us.
    #[error("NVML ({library}) does not work: {reason}")]
    Init {
        /// The library that was loaded.
        library: String,
        /// NVML's own words.
        reason: String,
        /// What to do about that reason.
        remedy: String,
    },
}

impl Unavailable {
    /// The library was found and does not start.
    #[must_use]
    pub fn is_sick(&self) -> bool {
        matches!(self, Self::Init { .. })
    }

    /// What to do next.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::NotFound { .. } => "In a pod: set gpuAccess.method so that the NVIDIA runtime or CDI injects the driver's libraries \
                                      (runtimeClassName: nvidia), and gpuAccess.request so that it is asked in a way that it accepts. On a host: install the driver, or name the library with --nvml-library."
                .to_owned(),
            Self::IsSimulator { .. } => {
                "Pass --nvml-mode simulated to see simulated GPUs, or --nvml-library with the driver's own library.".to_owned()
            }
            Self::NotSimulator { .. } => {
                "Pass --nvml-library with the simulator that `cargo xtask build` makes (target/sim/libnvidia-ml.so.1), or --nvml-mode real."
                    .to_owned()
            }
            Self::Init { remedy, .. } => remedy.clone(),
        }
    }
}

/// A started NVML and the path it came from.
#[derive(Debug)]
pub struct Loaded {
    pub nvml: Nvml,
    pub library: String,
    /// When it was: what was read with another may be of another driver.
    pub since: Instant,
    /// Set once by who found that it no longer fits the driver; read by who uses it for longer than a question.
    pub retired: AtomicBool,
}

/// Finds and starts NVML. `explicit` is `--nvml-library`; with it nothing else is tried.
pub fn load(mode: Mode, explicit: Option<&Path>) -> Result<Loaded, Unavailable> {
    let mut searched = Vec::new();
    let mut reason = String::new();
    for candidate in candidates(mode, explicit) {
        let library = candidate.display().to_string();
        match Nvml::builder().lib_path(candidate.as_os_str()).init() {
            Ok(nvml) => return accept(mode, nvml, library),
            Err(NvmlError::LibloadingError(error)) => {
                reason = error.to_string();
                searched.push(library);
            }
            Err(error) => {
                let (reason, remedy) = sickness(&error);
                return Err(Unavailable::Init { library, reason, remedy });
            }
        }
    }
    Err(Unavailable::NotFound { searched, reason })
}

fn accept(mode: Mode, nvml: Nvml, library: String) -> Result<Loaded, Unavailable> {
    // SAFETY: the symbol is only looked up, never called, so its type does not matter.
    let simulator =
        unsafe { nvml.lib().__library.get::<unsafe extern "C" fn()>(SIMULATOR_MARKER) }.is_ok();
    let refused = match (mode, simulator) {
        (Mode::Real, false) | (Mode::Simulated, true) => {
            let (since, retired) = (Instant::now(), AtomicBool::new(false));
            return Ok(Loaded { nvml, library, since, retired });
        }
        (Mode::Real, true) => Unavailable::IsSimulator { library },
        (Mode::Simulated, false) => Unavailable::NotSimulator { library },
    };
    // nvml-wrapper's Drop panics where a library lacks nvmlShutdown; a refused library is left as it is.
    std::mem::forget(nvml);
    Err(refused)
}

fn candidates(mode: Mode, explicit: Option<&Path>) -> Vec<PathBuf> {
    if let Some(path) = explicit {
        return vec![path.to_owned()];
    }
    match mode {
        Mode::Real => {
            let places = KNOWN_PLACES
                .iter()
                .map(|place| Path::new(place).join(SONAME))
                .filter(|path| path.exists());
            std::iter::once(PathBuf::from(SONAME)).chain(places).collect()
        }
        // Where `cargo xtask build` puts it: target/release/agent and target/sim/libnvidia-ml.so.1.
        Mode::Simulated => {
            let beside = std::env::current_exe()
                .ok()
                .and_then(|exe| Some(exe.parent()?.parent()?.join("sim")));
            vec![beside.unwrap_or_default().join(OsStr::new(SONAME))]
        }
    }
}

/// What an error says that concerns the library as a whole, and what to do.
#[must_use]
pub fn sickness(error: &NvmlError) -> (String, String) {
    device_files::refusal(error)
        .unwrap_or_else(|| (reading::reason(error), remedy(error).to_owned()))
}

fn remedy(error: &NvmlError) -> &'static str {
    match error {
        NvmlError::DriverNotLoaded => {
            "The nvidia kernel module is not loaded on this node: see `dmesg | grep NVRM` and the driver's installer or the GPU Operator's driver pod."
        }
        NvmlError::LibRmVersionMismatch => {
            "The driver was upgraded under a running node: the library and the kernel module differ. Restart this pod so that the new library is injected; reboot if the old module is still loaded."
        }
        NvmlError::NoPermission => {
            "This user may not open the NVIDIA device files. Check the modes of /dev/nvidiactl and /dev/nvidia*; run as UID 0 where they are root's."
        }
        NvmlError::GpuLost => {
            "A GPU fell off the bus while NVML started: see analyze_xid_errors (Xid 79); reset the GPU or reboot the node."
        }
        _ => {
            "Run `nvidia-smi` on the node: if it fails too, the driver is at fault; if not, this pod lacks device files or libraries."
        }
    }
}
