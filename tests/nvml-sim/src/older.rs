//! The library of an older driver: a copy of this one in which functions are missing.
//!
//! A scenario can make a function fail and cannot take it away: a client asks the dynamic linker for it before any call.
//! So [`without`] takes names out of a built library's table, and [`since`] knows which an older driver does not have.

use std::collections::BTreeSet;

/// The first driver branch whose header declares these functions, from the history of `gen/nvml/nvml.h` in NVIDIA/go-nvml,
/// which has the header of each CUDA from 11.1, and the driver that NVIDIA released with each CUDA. What driver 455 has
/// already is not here, nor are functions that change something or belong to vGPU.
const ADDED: &[(u32, &str)] = &[
    (460, "nvmlComputeInstanceGetInfo_v2"),
    (465, "nvmlGetExcludedDeviceCount nvmlGetExcludedDeviceInfoByIndex"),
    (
        470,
        "nvmlDeviceGetClkMonStatus nvmlDeviceGetGpuInstancePossiblePlacements_v2 \
         nvmlDeviceGetMPSComputeRunningProcesses nvmlDeviceGetMPSComputeRunningProcesses_v2 \
         nvmlDeviceGetNvLinkRemoteDeviceType",
    ),
    (495, "nvmlDeviceGetBusType nvmlDeviceGetIrqNum"),
    (
        510,
        "nvmlDeviceGetAdaptiveClockInfoStatus nvmlDeviceGetComputeRunningProcesses_v3 \
         nvmlDeviceGetGraphicsRunningProcesses_v3 nvmlDeviceGetMPSComputeRunningProcesses_v3 \
         nvmlDeviceGetMemoryBusWidth nvmlDeviceGetNumFans nvmlDeviceGetNumGpuCores \
         nvmlDeviceGetPcieLinkMaxSpeed nvmlDeviceGetPowerSource",
    ),
    (
        515,
        "nvmlDeviceGetDefaultEccMode nvmlDeviceGetDynamicPstatesInfo nvmlDeviceGetGpcClkVfOffset \
         nvmlDeviceGetGpuInstanceProfileInfoV nvmlDeviceGetGspFirmwareMode nvmlDeviceGetGspFirmwareVersion \
         nvmlDeviceGetMemoryInfo_v2 nvmlDeviceGetMinMaxClockOfPState nvmlDeviceGetMinMaxFanSpeed \
         nvmlDeviceGetPcieSpeed nvmlDeviceGetSupportedPerformanceStates \
         nvmlGpuInstanceGetComputeInstanceProfileInfoV",
    ),
    (
        520,
        "nvmlDeviceGetGpcClkMinMaxVfOffset nvmlDeviceGetMemClkMinMaxVfOffset nvmlDeviceGetMemClkVfOffset \
         nvmlDeviceGetPowerMode nvmlDeviceGetSupportedPowerModes nvmlDeviceGetTargetFanSpeed \
         nvmlGpmMetricsGet nvmlGpmQueryDeviceSupport nvmlGpmSampleAlloc nvmlGpmSampleFree nvmlGpmSampleGet",
    ),
    (
        525,
        "nvmlDeviceGetFanControlPolicy_v2 nvmlDeviceGetGpuFabricInfo nvmlDeviceGetGpuMaxPcieLinkGeneration \
         nvmlGpmMigSampleGet nvmlGpuInstanceGetComputeInstancePossiblePlacements",
    ),
    (
        535,
        "nvmlDeviceGetConfComputeGpuAttestationReport nvmlDeviceGetConfComputeGpuCertificate \
         nvmlDeviceGetConfComputeMemSizeInfo nvmlDeviceGetConfComputeProtectedMemoryUsage \
         nvmlDeviceGetCurrentClocksEventReasons nvmlDeviceGetJpgUtilization nvmlDeviceGetModuleId \
         nvmlDeviceGetOfaUtilization nvmlDeviceGetRunningProcessDetailList \
         nvmlDeviceGetSupportedClocksEventReasons nvmlGpmQueryIfStreamingEnabled \
         nvmlSystemGetConfComputeCapabilities nvmlSystemGetConfComputeGpusReadyState \
         nvmlSystemGetConfComputeState nvmlSystemGetNvlinkBwMode",
    ),
    (545, "nvmlDeviceGetC2cModeInfoV nvmlDeviceGetLastBBXFlushTime"),
    (
        550,
        "nvmlDeviceGetGpuFabricInfoV nvmlDeviceGetNumaNodeId nvmlDeviceGetPciInfoExt \
         nvmlDeviceGetProcessesUtilizationInfo nvmlDeviceGetSramEccErrorStatus \
         nvmlSystemGetConfComputeKeyRotationThresholdInfo",
    ),
    (555, "nvmlDeviceGetCapabilities nvmlDeviceGetClockOffsets nvmlDeviceGetDriverModel_v2"),
    (560, "nvmlSystemGetDriverBranch"),
    (
        570,
        "nvmlDeviceGetCoolerInfo nvmlDeviceGetCurrentClockFreqs nvmlDeviceGetDramEncryptionMode \
         nvmlDeviceGetFanSpeedRPM nvmlDeviceGetMarginTemperature nvmlDeviceGetNvlinkBwMode \
         nvmlDeviceGetNvlinkSupportedBwModes nvmlDeviceGetPerformanceModes nvmlDeviceGetPlatformInfo \
         nvmlDeviceGetTemperatureV nvmlDeviceWorkloadPowerProfileGetCurrentProfiles \
         nvmlDeviceWorkloadPowerProfileGetProfilesInfo",
    ),
    (
        575,
        "nvmlDeviceGetHandleByUUIDV nvmlSystemEventSetFree nvmlSystemEventSetWait nvmlSystemRegisterEvents",
    ),
    (
        580,
        "nvmlDeviceGetAddressingMode nvmlDeviceGetGpuInstanceProfileInfoByIdV nvmlDeviceGetNvLinkInfo \
         nvmlDeviceGetPdi nvmlDeviceGetPowerMizerMode_v1 nvmlDeviceGetRepairStatus \
         nvmlDeviceGetSramUniqueUncorrectedEccErrorCounts nvmlDeviceReadWritePRM_v1",
    ),
];

/// The functions that a driver of this branch (450, 535, …) does not have yet.
pub fn since(branch: u32) -> impl Iterator<Item = &'static str> {
    let later = ADDED.iter().filter(move |(driver, _)| *driver > branch);
    later.flat_map(|(_, symbols)| symbols.split_whitespace())
}

/// A copy of this shared library in which the dynamic linker finds none of these functions: their names in it are no
/// longer theirs.
#[must_use]
pub fn without<'a>(library: &[u8], symbols: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let absent: BTreeSet<&[u8]> = symbols.into_iter().map(str::as_bytes).collect();
    let mut copy = library.to_vec();
    let mut start = 0;
    for text in library.split(|byte| *byte == 0) {
        if absent.contains(text) {
            copy[start] = b'-';
        }
        start += text.len() + 1;
    }
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_driver_has_less() {
        let absent = |branch| since(branch).collect::<BTreeSet<_>>();
        assert!(absent(450).contains("nvmlDeviceGetMemoryInfo_v2"));
        assert!(!absent(535).contains("nvmlDeviceGetMemoryInfo_v2"));
        assert!(absent(535).contains("nvmlDeviceGetGpuFabricInfoV"));
        assert!(absent(550).is_subset(&absent(535)) && absent(535).is_subset(&absent(450)));
        assert_eq!(absent(580).len(), 0);
        assert_eq!(absent(450).len(), since(450).count(), "a function is there twice");
    }

    #[test]
    fn whole_names_only_are_taken_out() {
        let library = b"\0nvmlA\0nvmlAB\0xnvmlA\0nvmlA";
        assert_eq!(without(library, ["nvmlA"]), b"\0-vmlA\0nvmlAB\0xnvmlA\0-vmlA");
    }
}
