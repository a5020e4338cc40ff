//! Whether memory is sound: ECC counters, remapped rows, retired pages, repairs, and the board's own record of them.

use nvml_wrapper_sys::bindings as sys;

use super::args::{Count, List, Out, Tagged, Versioned as _};
use super::identity::state;

const _: () = assert!(
    size_of::<sys::nvmlRowRemapperHistogramValues_t>() == 20,
    "not the size NVML documents"
);

export! {
    device fn nvmlDeviceGetEccMode(
        (_, gpu), current: Out<sys::nvmlEnableState_t>, pending: Out<sys::nvmlEnableState_t>,
    ) {
        let ecc = gpu.ecc.as_ref()?;
        current.set(state(ecc.enabled))?;
        pending.set(state(ecc.pending))
    }

    device fn nvmlDeviceGetTotalEccErrors(
        (_, gpu), kind: sys::nvmlMemoryErrorType_t, span: sys::nvmlEccCounterType_t, errors: Out<u64>,
    ) {
        errors.set(gpu.ecc_counters()?.counters(span)?.total(kind)?)
    }

    device fn nvmlDeviceGetMemoryErrorCounter(
        (_, gpu),
        kind: sys::nvmlMemoryErrorType_t,
        span: sys::nvmlEccCounterType_t,
        location: sys::nvmlMemoryLocation_t,
        errors: Out<u64>,
    ) {
        errors.set(gpu.ecc_counters()?.counters(span)?.located(kind, location)?)
    }

    device fn nvmlDeviceGetSramEccErrorStatus((_, gpu), status: Tagged<sys::nvmlEccSramErrorStatus_t>) {
        type Info = sys::nvmlEccSramErrorStatus_v1_t;
        let ecc = gpu.ecc_counters()?;
        let exceeded = ecc.sram_threshold_exceeded.get()?;
        status.set(Info {
            version: Info::TAG,
            aggregateUncParity: ecc.aggregate.sram_uncorrected_parity,
            aggregateUncSecDed: ecc.aggregate.sram_uncorrected_secded,
            aggregateCor: ecc.aggregate.sram_corrected,
            volatileUncParity: ecc.volatile.sram_uncorrected_parity,
            volatileUncSecDed: ecc.volatile.sram_uncorrected_secded,
            volatileCor: ecc.volatile.sram_corrected,
            aggregateUncBucketL2: ecc.sram_sources.l2,
            aggregateUncBucketSm: ecc.sram_sources.sm,
            aggregateUncBucketPcie: ecc.sram_sources.pcie,
            aggregateUncBucketMcu: ecc.sram_sources.microcontroller,
            aggregateUncBucketOther: ecc.sram_sources.other,
            bThresholdExceeded: exceeded.into(),
        })
    }

    device fn nvmlDeviceGetRemappedRows(
        (_, gpu), correctable: Out<u32>, uncorrectable: Out<u32>, pending: Out<u32>, failure: Out<u32>,
    ) {
        let rows = gpu.row_remap.as_ref()?;
        correctable.set(rows.correctable)?;
        uncorrectable.set(rows.uncorrectable)?;
        pending.set(rows.pending.into())?;
        failure.set(rows.failure.into())
    }

    device fn nvmlDeviceGetRowRemapperHistogram(
        (_, gpu), histogram: Out<sys::nvmlRowRemapperHistogramValues_t>,
    ) {
        let banks = &gpu.row_remap.as_ref()?.banks;
        histogram.set(sys::nvmlRowRemapperHistogramValues_t {
            max: banks.max,
            high: banks.high,
            partial: banks.partial,
            low: banks.low,
            none: banks.none,
        })
    }

    device fn nvmlDeviceGetRetiredPages(
        (_, gpu), cause: sys::nvmlPageRetirementCause_t, count: Count, addresses: List<u64>,
    ) {
        let pages = gpu.retired_pages.as_ref()?.by_cause(cause)?;
        addresses.fill(&count, &pages.iter().map(|page| page.address).collect::<Vec<_>>())
    }

    device fn nvmlDeviceGetRetiredPages_v2(
        (_, gpu),
        cause: sys::nvmlPageRetirementCause_t,
        count: Count,
        addresses: List<u64>,
        times: List<u64>,
    ) {
        let pages = gpu.retired_pages.as_ref()?.by_cause(cause)?;
        addresses.fill(&count, &pages.iter().map(|page| page.address).collect::<Vec<_>>())?;
        times.fill(&count, &pages.iter().map(|page| page.time_s).collect::<Vec<_>>())
    }

    device fn nvmlDeviceGetRetiredPagesPendingStatus((_, gpu), pending: Out<sys::nvmlEnableState_t>) {
        pending.set(state(gpu.retired_pages.as_ref()?.pending))
    }

    /// A board that has an InfoROM has a sound one; `faults` make it `CORRUPTED_INFOROM`.
    device fn nvmlDeviceValidateInforom((_, gpu)) { gpu.identity.inforom.image.as_ref().map(|_| ()) }

    device fn nvmlDeviceGetRepairStatus((_, gpu), status: Tagged<sys::nvmlRepairStatus_t>) {
        type Info = sys::nvmlRepairStatus_v1_t;
        let repair = gpu.repair.as_ref()?;
        status.set(Info {
            version: Info::TAG,
            bChannelRepairPending: repair.channel_pending.into(),
            bTpcRepairPending: repair.tpc_pending.into(),
        })
    }
}
