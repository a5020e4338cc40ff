//! One reading of what moves: heat, power, load, memory, clocks, errors; for a timeline.
//!
//! It is taken every second, so it is few calls: what NVML has as field values is asked for in one. Besides comes what the
//! driver has sampled by itself since the reading before ([`raw::samples`]): a peak between two readings is in their lowest
//! and highest.
//!
//! - Power is `nvmlDeviceGetPowerUsage`: the average of a second on Ampere and later but for GA100 (A100, A30), where it is
//!   this moment's as on older boards. The moment's own (field 186) and the driver's samples only widen it.
//! - A divided GPU (MIG) has no utilisation of its own.

use std::time::{Duration, SystemTime};

use nvml_wrapper::{
    Device,
    enum_wrappers::device::{Clock, TemperatureSensor},
    error::NvmlError,
};
use nvml_wrapper_sys::bindings::field_id as id;

use super::{
    GpuError, GpuName, inventory,
    raw::{
        self, Sampled, Sampling,
        fields::{Field, field_values},
    },
    reading::{Absent, Reader},
    worker::Session,
};
use crate::timeline::{Counter, Gauge, Sample};

/// What one reading brought.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The GPU's names, where they were asked for.
    pub name: Option<GpuName>,
    pub sample: Sample,
    /// NVML does not reach this GPU any more.
    pub lost: bool,
    pub absent: Vec<Absent>,
    /// To be passed to the next reading.
    pub seen: Seen,
}

/// Up to when the driver's own samples were taken in, in microseconds since 1970, by [`SAMPLED`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen([u64; SAMPLED.len()]);

/// What the driver still keeps, oldest first for each gauge, and a reading of now.
#[derive(Debug, Clone)]
pub struct Kept {
    /// With microseconds since 1970.
    pub samples: Vec<(Gauge, u64, f64)>,
    pub now: Taken,
}

/// What the driver samples by itself, and the name of that where it does not.
const SAMPLED: [(Sampling, Gauge, &str); 5] = [
    (Sampling::Power, Gauge::Power, "power_watts_between"),
    (Sampling::GpuUtilization, Gauge::GpuUtilization, "gpu_utilization_percent_between"),
    (Sampling::MemoryUtilization, Gauge::MemoryUtilization, "memory_utilization_percent_between"),
    (Sampling::ProcessorClock, Gauge::SmClock, "sm_clock_mhz_between"),
    (Sampling::MemoryClock, Gauge::MemoryClock, "memory_clock_mhz_between"),
];
/// Older samples of the driver are not of the time since the reading before.
const RECENT: Duration = Duration::from_secs(2);

/// The field values that make each counter: the sum of those that the board has.
const COUNTERS: [(Counter, &[u32]); 7] = [
    (Counter::EccCorrected, &[id::NVML_FI_DEV_ECC_SBE_VOL_TOTAL]),
    (Counter::EccUncorrected, &[id::NVML_FI_DEV_ECC_DBE_VOL_TOTAL]),
    (Counter::RemappedRows, &[id::NVML_FI_DEV_REMAPPED_COR, id::NVML_FI_DEV_REMAPPED_UNC]),
    (Counter::PcieReplays, &[id::NVML_FI_DEV_PCIE_REPLAY_COUNTER]),
    (
        Counter::NvlinkErrors,
        &[
            id::NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL,
            id::NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL,
            id::NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL,
            id::NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL,
        ],
    ),
    (Counter::PowerViolation, &[id::NVML_FI_DEV_PERF_POLICY_POWER]),
    (Counter::ThermalViolation, &[id::NVML_FI_DEV_PERF_POLICY_THERMAL]),
];
const FIELD_VALUES: &str = "nvmlDeviceGetFieldValues";
const UTILIZATION: &str = "nvmlDeviceGetUtilizationRates";

/// Reads one GPU, and its names too where they are wanted.
pub fn sample(
    session: &Session<'_>,
    index: u32,
    names: bool,
    seen: Seen,
) -> Result<Taken, GpuError> {
    let d = inventory::device(session.nvml, session, index)?;
    let mut r = Reader::new(session.progress);
    let name = names.then(|| inventory::name(&d, index, &mut r));
    let mut sample = now(session, &d, &mut r);
    let recent = SystemTime::now().checked_sub(RECENT).map_or(0, microseconds);
    let mut seen = Seen(seen.0.map(|seen| seen.max(recent)));
    for ((sampling, gauge, field), seen) in SAMPLED.into_iter().zip(&mut seen.0) {
        let since = *seen;
        for Sampled { time_us, value } in sampled(&d, &mut r, (sampling, field), since) {
            sample.widen(gauge, in_unit(gauge, value));
            *seen = time_us.max(*seen);
        }
    }
    Ok(Taken { name, sample, lost: r.is_lost(), absent: r.into_absent(), seen })
}

/// What there is without anybody having listened.
pub fn kept(session: &Session<'_>, index: u32) -> Result<Kept, GpuError> {
    let d = inventory::device(session.nvml, session, index)?;
    let mut r = Reader::new(session.progress);
    let name = Some(inventory::name(&d, index, &mut r));
    let sample = now(session, &d, &mut r);
    let mut samples = Vec::new();
    for (sampling, gauge, field) in SAMPLED {
        let of_gauge = sampled(&d, &mut r, (sampling, field), 0).into_iter();
        samples.extend(
            of_gauge.map(|Sampled { time_us, value }| (gauge, time_us, in_unit(gauge, value))),
        );
    }
    let seen = Seen::default();
    let now = Taken { name, sample, lost: r.is_lost(), absent: r.into_absent(), seen };
    Ok(Kept { samples, now })
}

/// What NVML tells of this moment.
fn now(session: &Session<'_>, d: &Device<'_>, r: &mut Reader<'_>) -> Sample {
    let mut sample = Sample::default();
    let load = utilization(session, d, r);
    sample.set(Gauge::GpuUtilization, load.map(|(gpu, _)| gpu));
    sample.set(Gauge::MemoryUtilization, load.map(|(_, memory)| memory));
    let celsius = r.read(Gauge::Temperature.name(), "nvmlDeviceGetTemperature", || {
        d.temperature(TemperatureSensor::Gpu)
    });
    sample.set(Gauge::Temperature, celsius.map(f64::from));
    let milliwatts = r.read(Gauge::Power.name(), "nvmlDeviceGetPowerUsage", || d.power_usage());
    sample.set(Gauge::Power, milliwatts.map(|power| in_unit(Gauge::Power, power.into())));
    let memory = r.read(Gauge::MemoryUsed.name(), "nvmlDeviceGetMemoryInfo_v2", || d.memory_info());
    sample.set(Gauge::MemoryUsed, memory.map(|memory| in_unit(Gauge::MemoryUsed, memory.used)));
    for (gauge, clock) in [(Gauge::SmClock, Clock::SM), (Gauge::MemoryClock, Clock::Memory)] {
        let mhz = r.read(gauge.name(), "nvmlDeviceGetClockInfo", || d.clock_info(clock));
        sample.set(gauge, mhz.map(f64::from));
    }
    sample.reasons = r.read("throttle", "nvmlDeviceGetCurrentClocksEventReasons", || {
        raw::clocks_event_reasons(d)
    });
    field_values_into(&mut sample, d, r);
    sample
}

/// Utilisation of GPU and memory in percent.
fn utilization(session: &Session<'_>, d: &Device<'_>, r: &mut Reader<'_>) -> Option<(f64, f64)> {
    let (gpu, memory) = (Gauge::GpuUtilization.name(), Gauge::MemoryUtilization.name());
    let divided = || d.mig_mode().map(|mode| mode.current == 1);
    match session.progress.during(UTILIZATION, || d.utilization_rates()) {
        Err(NvmlError::NotSupported)
            if session.progress.during("nvmlDeviceGetMigMode", divided).unwrap_or(false) =>
        {
            for field in [gpu, memory] {
                r.not_asked(
                    field,
                    UTILIZATION,
                    "the GPU is divided (MIG), and NVML has no utilisation of the whole",
                );
            }
            None
        }
        answer => {
            let load = r.keep(gpu, UTILIZATION, answer);
            if load.is_none() {
                r.not_asked(memory, UTILIZATION, "it comes with gpu_utilization_percent");
            }
            load.map(|load| (load.gpu.into(), load.memory.into()))
        }
    }
}

/// What NVML has as field values: one call for all.
fn field_values_into(sample: &mut Sample, d: &Device<'_>, r: &mut Reader<'_>) {
    let first = [id::NVML_FI_DEV_MEMORY_TEMP, id::NVML_FI_DEV_POWER_INSTANT];
    let ids = first.iter().chain(COUNTERS.iter().flat_map(|(_, ids)| *ids));
    let fields: Vec<Field> = ids.map(|id| Field { id: *id, scope: 0 }).collect();
    let Some(values) = r.read("field_values", FIELD_VALUES, || field_values(d, &fields)) else {
        let counters = COUNTERS.iter().map(|(counter, _)| counter.name());
        for field in std::iter::once(Gauge::MemoryTemperature.name()).chain(counters) {
            r.not_asked(field, FIELD_VALUES, "the one call for all field values failed");
        }
        return;
    };
    let mut values = values
        .into_iter()
        .map(|value| value.and_then(|value| value.unsigned().ok_or(NvmlError::Unknown)));
    let mut next = || values.next().unwrap_or(Err(NvmlError::Unknown));
    // A board without the sensor is at 0 degrees on some drivers.
    let is_there = |celsius| if celsius == 0 { Err(NvmlError::NotSupported) } else { Ok(celsius) };
    let celsius = next().and_then(is_there);
    let celsius = r.read(Gauge::MemoryTemperature.name(), FIELD_VALUES, || celsius);
    sample.set(
        Gauge::MemoryTemperature,
        celsius.map(|value| in_unit(Gauge::MemoryTemperature, value)),
    );
    if let Ok(milliwatts) = next() {
        sample.widen(Gauge::Power, in_unit(Gauge::Power, milliwatts));
    }
    for (counter, ids) in COUNTERS {
        // The board has the counter if it has any part of it.
        let parts: Vec<_> = ids.iter().map(|_| next()).collect();
        let sum = parts.into_iter().reduce(|sum, part| match (sum, part) {
            (Ok(sum), Ok(part)) => Ok(sum.saturating_add(part)),
            (sum, Err(_)) => sum,
            (Err(_), part) => part,
        });
        let count = r.read(counter.name(), FIELD_VALUES, || sum.unwrap_or(Err(NvmlError::Unknown)));
        let of_time = matches!(counter, Counter::PowerViolation | Counter::ThermalViolation);
        // The driver counts nanoseconds.
        sample.counters[counter as usize] =
            count.map(|count| if of_time { count / 1_000_000 } else { count });
    }
}

fn sampled(
    d: &Device<'_>,
    r: &mut Reader<'_>,
    (sampling, field): (Sampling, &'static str),
    since_us: u64,
) -> Vec<Sampled> {
    r.read(field, "nvmlDeviceGetSamples", || raw::samples(d, sampling, since_us))
        .unwrap_or_default()
}

/// NVML's number in the gauge's unit.
#[expect(clippy::cast_precision_loss, reason = "an amount of memory has less than 53 bits in MiB")]
fn in_unit(gauge: Gauge, value: u64) -> f64 {
    match gauge {
        Gauge::Power => value as f64 / 1e3,
        Gauge::MemoryUsed => value as f64 / f64::from(1 << 20),
        _ => value as f64,
    }
}

fn microseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
