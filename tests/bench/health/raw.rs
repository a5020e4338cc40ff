//! The NVML calls of one answer of `get_gpu_health` and nothing else: through the bindings' function pointers, into memory
//! at which nobody looks.

use std::{
    hint::black_box,
    mem::{MaybeUninit, zeroed},
    path::Path,
    ptr::null_mut,
    thread,
};

use anyhow::{Result, bail, ensure};
use nvml_wrapper_sys::bindings::{
    NvmlLib, nvmlDevice_t, nvmlEccSramErrorStatus_t, nvmlFieldValue_t, nvmlGpuFabricInfoV_t,
    nvmlMarginTemperature_t, nvmlRepairStatus_t, nvmlReturn_t,
    nvmlTemperatureSensors_enum_NVML_TEMPERATURE_GPU,
};

const OF_GPU: [u32; 21] =
    [1, 2, 3, 4, 6, 12, 29, 30, 31, 82, 91, 94, 142, 143, 144, 145, 147, 173, 179, 180, 230];
const SLOWDOWN: [u32; 3] = [269, 270, 271];
const OF_LINK: [u32; 4] = [161, 162, 163, 165];
const LATER_LINK: [u32; 2] = [214, 215];
const LINKS: u32 = 18;

/// A started NVML.
pub struct Raw(NvmlLib);

impl Raw {
    pub fn open(library: &Path) -> Result<Self> {
        // SAFETY: loading this library runs no code of its own.
        let library = unsafe { NvmlLib::new(library) }?;
        // SAFETY: it takes no arguments.
        asked(unsafe { library.nvmlInit_v2() })?;
        Ok(Self(library))
    }

    /// All GPUs, one after the other.
    pub fn in_turn(&self) -> Result<()> {
        (0..self.count()?).try_for_each(|index| self.of_gpu(index))
    }

    /// All GPUs at once, a thread each, as the agent does.
    pub fn at_once(&self) -> Result<()> {
        let count = self.count()?;
        thread::scope(|scope| {
            let threads: Vec<_> =
                (0..count).map(|index| scope.spawn(move || self.of_gpu(index))).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a thread failed")))
        })
    }

    fn count(&self) -> Result<u32> {
        let mut count = 0;
        // SAFETY: one out-parameter of the type that NVML writes.
        asked(unsafe { self.0.nvmlDeviceGetCount_v2(&raw mut count) })?;
        Ok(count)
    }

    fn of_gpu(&self, index: u32) -> Result<()> {
        let nvml = &self.0;
        let mut d: nvmlDevice_t = null_mut();
        // SAFETY: one out-parameter of the type that NVML writes.
        asked(unsafe { nvml.nvmlDeviceGetHandleByIndex_v2(index, &raw mut d) })?;
        let links = OF_LINK.iter().chain(&LATER_LINK).map(|id| (*id, 0));
        self.fields(d, OF_GPU.iter().chain(&SLOWDOWN).map(|id| (*id, 0)).chain(links))?;
        self.fields(d, (1..LINKS).flat_map(|link| OF_LINK.map(|id| (id, link))))?;
        // SAFETY: in all of these the out-parameters are of the types that NVML writes, structs that have versions carry theirs, and
        // the handle belongs to this NVML.
        unsafe {
            versioned(1, |out: *mut nvmlEccSramErrorStatus_t| {
                nvml.nvmlDeviceGetSramEccErrorStatus(d, out)
            })?;
            versioned(1, |out: *mut nvmlRepairStatus_t| nvml.nvmlDeviceGetRepairStatus(d, out))?;
            versioned(1, |out: *mut nvmlMarginTemperature_t| {
                nvml.nvmlDeviceGetMarginTemperature(d, out)
            })?;
            versioned(3, |out: *mut nvmlGpuFabricInfoV_t| {
                nvml.nvmlDeviceGetGpuFabricInfoV(d, out)
            })?;
            plain(|out| nvml.nvmlDeviceGetRowRemapperHistogram(d, out))?;
            let sensor = nvmlTemperatureSensors_enum_NVML_TEMPERATURE_GPU;
            plain(|out| nvml.nvmlDeviceGetTemperature(d, sensor, out))?;
            plain(|out| nvml.nvmlDeviceGetCurrentClocksEventReasons(d, out))?;
            plain(|out| nvml.nvmlDeviceGetNumFans(d, out))?;
            plain(|out| nvml.nvmlDeviceGetVirtualizationMode(d, out))?;
            plain(|out| nvml.nvmlDeviceGetCurrPcieLinkGeneration(d, out))?;
            plain(|out| nvml.nvmlDeviceGetMaxPcieLinkGeneration(d, out))?;
            plain(|out| nvml.nvmlDeviceGetCurrPcieLinkWidth(d, out))?;
            plain(|out| nvml.nvmlDeviceGetMaxPcieLinkWidth(d, out))?;
            plain(|out| nvml.nvmlDeviceGetGpuMaxPcieLinkGeneration(d, out))?;
            plain(|out| nvml.nvmlDeviceGetUtilizationRates(d, out))?;
            let mut after_reset = 0;
            plain(|out| nvml.nvmlDeviceGetMigMode(d, out, &raw mut after_reset))?;
            asked(nvml.nvmlDeviceValidateInforom(d))
        }
    }

    fn fields(&self, d: nvmlDevice_t, asked_for: impl Iterator<Item = (u32, u32)>) -> Result<()> {
        let field = |(id, scope)| {
            // SAFETY: plain numbers and a union of numbers, for all of which zero is a value.
            let mut value: nvmlFieldValue_t = unsafe { zeroed() };
            (value.fieldId, value.scopeId) = (id, scope);
            value
        };
        let mut values: Vec<_> = asked_for.map(field).collect();
        let count = i32::try_from(values.len())?;
        // SAFETY: as many elements as the count says; the handle belongs to this NVML.
        asked(unsafe { self.0.nvmlDeviceGetFieldValues(d, count, values.as_mut_ptr()) })?;
        black_box(values);
        Ok(())
    }
}

fn plain<T>(call: impl FnOnce(*mut T) -> nvmlReturn_t) -> Result<()> {
    let mut out = MaybeUninit::zeroed();
    asked(call(out.as_mut_ptr()))?;
    black_box(&out);
    Ok(())
}

/// The same for a struct that begins with its size and version.
fn versioned<T>(version: u32, call: impl FnOnce(*mut T) -> nvmlReturn_t) -> Result<()> {
    let size = u32::try_from(size_of::<T>())?;
    plain(|out: *mut T| {
        // SAFETY: each of these structs begins with such a number.
        unsafe { out.cast::<u32>().write(size | version << 24) };
        call(out)
    })
}

/// A figure that the board does not have is an answer; a question that NVML does not understand would be measured for nothing.
fn asked(code: nvmlReturn_t) -> Result<()> {
    const NOT_SUPPORTED: nvmlReturn_t = 3;
    ensure!([0, NOT_SUPPORTED].contains(&code), "NVML says {code}");
    Ok(())
}
