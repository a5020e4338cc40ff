//! The figures that health is judged by.

use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor};

use crate::gpu::{
    GpuError, GpuName, inventory,
    pcie::PcieLink,
    raw,
    reading::{Absent, Reader, is_by_design},
    worker::Session,
};

/// What was read of one GPU. `None` has its reason in `absent`; a rule that lacks its figure stays silent.
#[derive(Debug, Clone, Default)]
pub struct Vitals {
    /// NVML says that the GPU is lost.
    pub lost: bool,
    pub temperature_celsius: Option<u32>,
    /// Degrees left until the clocks are slowed down for heat.
    pub thermal_margin_celsius: Option<i32>,
    /// `nvmlClocksEventReasons` bits.
    pub clocks_event_reasons: Option<u64>,
    pub gpu_utilization_percent: Option<u32>,
    /// Uncorrected ECC errors since the driver was loaded, all memories.
    pub ecc_uncorrected_volatile: Option<u64>,
    /// Uncorrected ECC errors over the board's life: shown, never judged.
    pub ecc_uncorrected_aggregate: Option<u64>,
    pub remapped_rows: Option<raw::RemappedRows>,
    /// Page retirement waits for a reset (boards before A100).
    pub retired_pages_pending: Option<bool>,
    pub pcie: PcieLink,
    pub pcie_replays: Option<u32>,
    /// Links by number that are up, and that are down; a link the board does not have is in neither.
    pub nvlink_up: Vec<u32>,
    pub nvlink_down: Vec<u32>,
    pub fabric: Option<raw::Fabric>,
    pub recovery_action: Option<u32>,
    pub absent: Vec<Absent>,
}

/// More links than any board has (B200: 18); the walk ends at the first the board refuses.
const MAX_LINKS: u32 = 36;

/// Reads one GPU.
pub fn vitals(session: &Session<'_>, index: u32) -> Result<(GpuName, Vitals), GpuError> {
    let d = inventory::device(session.nvml, session, index)?;
    let mut r = Reader::new(session.progress);
    let name = inventory::name(&d, index, &mut r);
    let mut ecc = |field, counter| {
        r.read(field, "nvmlDeviceGetTotalEccErrors", || {
            d.total_ecc_errors(MemoryError::Uncorrected, counter)
        })
    };
    let ecc_uncorrected_volatile = ecc("ecc_uncorrected_volatile", EccCounter::Volatile);
    let ecc_uncorrected_aggregate = ecc("ecc_uncorrected_aggregate", EccCounter::Aggregate);
    let mut vitals = Vitals {
        temperature_celsius: r.read("temperature_celsius", "nvmlDeviceGetTemperature", || {
            d.temperature(TemperatureSensor::Gpu)
        }),
        thermal_margin_celsius: r.read(
            "thermal_margin_celsius",
            "nvmlDeviceGetMarginTemperature",
            || raw::margin_celsius(&d),
        ),
        clocks_event_reasons: r.read(
            "clocks_event_reasons",
            "nvmlDeviceGetCurrentClocksEventReasons",
            || raw::clocks_event_reasons(&d),
        ),
        gpu_utilization_percent: r
            .read("gpu_utilization_percent", "nvmlDeviceGetUtilizationRates", || {
                d.utilization_rates()
            })
            .map(|u| u.gpu),
        ecc_uncorrected_volatile,
        ecc_uncorrected_aggregate,
        remapped_rows: r
            .read("remapped_rows", "nvmlDeviceGetRemappedRows", || raw::remapped_rows(&d)),
        retired_pages_pending: r.read(
            "retired_pages_pending",
            "nvmlDeviceGetRetiredPagesPendingStatus",
            || d.are_pages_pending_retired(),
        ),
        pcie: PcieLink::read(&d, &mut r),
        pcie_replays: r
            .read("pcie_replays", "nvmlDeviceGetPcieReplayCounter", || d.pcie_replay_counter()),
        fabric: r.read("fabric", "nvmlDeviceGetGpuFabricInfoV", || raw::fabric(&d)),
        recovery_action: r
            .read("recovery_action", "nvmlDeviceGetFieldValues(230)", || raw::recovery_action(&d)),
        ..Vitals::default()
    };
    for link in 0..MAX_LINKS {
        let state = session
            .progress
            .during("nvmlDeviceGetNvLinkState", || d.link_wrapper_for(link).is_active());
        match state {
            Ok(true) => vitals.nvlink_up.push(link),
            Ok(false) => vitals.nvlink_down.push(link),
            // The first link number that the board does not have.
            Err(error) if is_by_design(&error) || link > 0 => break,
            Err(error) => {
                r.read::<()>("nvlink", "nvmlDeviceGetNvLinkState", || Err(error));
                break;
            }
        }
    }
    vitals.lost = r.is_lost();
    vitals.absent = r.into_absent();
    Ok((name, vitals))
}
