"""The fields of `get_gpu_health`, and NVIDIA's calls for each figure."""

import ctypes

import pynvml as nvml
from rows import Row, Told, between, bits

TOOL = "get_gpu_health"
ARGUMENTS = {"detail": "full"}
PAGES = "gpus"


def explained(answer, entries, at):
    """Whether `absent` names the figure, or what its name and others begin with."""
    figure = at.removeprefix("gpus.figures.")
    fields = [absent["field"] for absent in entries[0]["figures"]["absent"]]
    return any(figure == field or figure.startswith(f"{field}_") for field in fields)


def lost(entries):
    """Whether NVML refuses all of the GPU, which the answer then says."""
    try:
        _ = entries and nvml.nvmlDeviceGetUUID(handle(entries[0]))
    except nvml.NVMLError:
        return entries[0]["verdict"] == "unreachable"
    return False


def handle(gpu):
    return nvml.nvmlDeviceGetHandleByIndex(gpu["index"])


def row(call, read):
    """A figure of a GPU."""
    return Row(call, lambda gpu: read(handle(gpu)))


def plain(name, *arguments):
    return row(name, lambda device: getattr(nvml, name)(device, *arguments))


def item(name, index, kind=lambda value: value):
    return row(f"{name} [{index}]", lambda device: kind(getattr(nvml, name)(device)[index]))


def threshold(kind):
    """Of a board that has T.Limit there is none: what NVML calls one there is a distance."""

    def read(device):
        try:
            nvml.nvmlDeviceGetMarginTemperature(device)
        except nvml.NVMLError:
            return nvml.nvmlDeviceGetTemperatureThreshold(device, kind)
        raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED)

    return row(f"nvmlDeviceGetTemperatureThreshold {kind}", read)


def fields(device, *asked):
    """Field values, as (number, scope); the first that is refused refuses all."""
    for value in nvml.nvmlDeviceGetFieldValues(device, list(asked)):
        if value.nvmlReturn != nvml.NVML_SUCCESS:
            raise nvml.NVMLError(value.nvmlReturn)
        members = {nvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal", nvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal"}
        yield getattr(value.value, members[value.valueType])


def field(name, kind=lambda value: value):
    """A field by its name in NVIDIA's binding, of the driver that is loaded."""
    return row(name, lambda device: kind(next(fields(device, number(name)))))


def number(name):
    """From driver 580.82 on these have other numbers, which are those of the binding."""
    renumbered = {
        "NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN": 251,
        "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN": 252,
        "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN": 253,
    }
    version = tuple(int(part) for part in nvml.nvmlSystemGetDriverVersion().split(".")[:2])
    return renumbered[name] if name in renumbered and version < (580, 82) else getattr(nvml, name)


def sram(figure):
    """A figure of the errors of caches and registers."""

    def read(device):
        status = nvml.c_nvmlEccSramErrorStatus_v1_t()
        nvml.nvmlDeviceGetSramEccErrorStatus(device, ctypes.byref(status))
        return figure(status)

    return row("nvmlDeviceGetSramEccErrorStatus", read)


def banks(name):
    """How many memory banks have that many spare rows left."""
    return row(
        f"nvmlDeviceGetRowRemapperHistogram {name}",
        lambda device: getattr(nvml.nvmlDeviceGetRowRemapperHistogram(device), name),
    )


def fabric(name):
    def read(device):
        info = nvml.c_nvmlGpuFabricInfo_v3_t()
        nvml.nvmlDeviceGetGpuFabricInfoV(device, ctypes.byref(info))
        return getattr(info, name)

    return row(f"nvmlDeviceGetGpuFabricInfoV {name}", read)


def links(device):
    return range(next(fields(device, nvml.NVML_FI_DEV_NVLINK_LINK_COUNT)))


def link_states(device):
    """Of each link; one that the board has switched off for good has none, unless no link has."""
    found, refusal = {}, None
    for link in links(device):
        try:
            found[link] = nvml.nvmlDeviceGetNvLinkState(device, link)
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound) as error:
            refusal = error
    if refusal and not found:
        raise refusal
    return found


def links_that_are(state):
    """By the call for one link; the agent reads a field for all."""
    of = lambda device: [link for link, its in link_states(device).items() if its == state]
    return row("nvmlDeviceGetNvLinkState", of)


def link_errors(counter):
    """The sum over all links of what NVML counts for one."""

    def read(device):
        if not links(device):
            raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED)
        return sum(nvml.nvmlDeviceGetNvLinkErrorCounter(device, link, counter) for link in links(device))

    return row(f"nvmlDeviceGetNvLinkErrorCounter {counter}", read)


def failed_recoveries(device):
    number = nvml.NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_FAILED_EVENTS
    if not links(device):
        raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED)
    return sum(fields(device, *[(number, link) for link in links(device)]))


def fans(name, *arguments):
    def read(device):
        count = range(nvml.nvmlDeviceGetNumFans(device))
        return [getattr(nvml, name)(device, fan) for fan in count]

    return row(name, read)


def fan_rpm(device):
    def one(fan):
        speed = nvml.c_nvmlFanSpeedInfo_t(version=nvml.nvmlFanSpeedInfo_v1, fan=fan)
        nvml._nvmlCheckReturn(nvml._nvmlGetFunctionPointer("nvmlDeviceGetFanSpeedRPM")(device, ctypes.byref(speed)))
        return speed.speed

    return [one(fan) for fan in range(nvml.nvmlDeviceGetNumFans(device))]


def virtual_machine(device):
    guests = (nvml.NVML_GPU_VIRTUALIZATION_MODE_PASSTHROUGH, nvml.NVML_GPU_VIRTUALIZATION_MODE_VGPU)
    return nvml.nvmlDeviceGetVirtualizationMode(device) in guests


def inforom_valid(device):
    nvml.nvmlDeviceValidateInforom(device)
    return True


def lower_pci_address(device):
    info = nvml.nvmlDeviceGetPciInfo(device)
    return f"{info.domain:04x}:{info.bus:02x}:{info.device:02x}.0"


JUDGED = Told("judged, by docs/health.md")
SAID = Told("NVML's refusal of a value, in words")

FINDING = {
    field: JUDGED
    for field in ("id", "severity", "summary", "evidence[]", "evidence[].name", "evidence[].value", "advice", "nvidia_action")
}

FIGURES = {
    "temperature_celsius": plain("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
    "memory_temperature_celsius": field("NVML_FI_DEV_MEMORY_TEMP"),
    "thermal_margin_celsius": plain("nvmlDeviceGetMarginTemperature"),
    "slowdown_temperature_celsius": threshold(nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN),
    "memory_max_temperature_celsius": threshold(nvml.NVML_TEMPERATURE_THRESHOLD_MEM_MAX),
    "clocks_event_reasons": plain("nvmlDeviceGetCurrentClocksEventReasons"),
    "software_thermal_slowdown_ns": field("NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN"),
    "hardware_thermal_slowdown_ns": field("NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN"),
    "power_brake_ns": field("NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN"),
    "fan_percent": fans("nvmlDeviceGetFanSpeed_v2"),
    "fan_rpm": row("nvmlDeviceGetFanSpeedRPM", fan_rpm),
    "gpu_utilization_percent": row(
        "nvmlDeviceGetUtilizationRates gpu", lambda device: nvml.nvmlDeviceGetUtilizationRates(device).gpu
    ),
    "mig_enabled": item("nvmlDeviceGetMigMode", 0, bool),
    "ecc_enabled": item("nvmlDeviceGetEccMode", 0, bool),
    "ecc_enabled_after_reset": item("nvmlDeviceGetEccMode", 1, bool),
    "ecc_corrected_volatile": plain(
        "nvmlDeviceGetTotalEccErrors", nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, nvml.NVML_VOLATILE_ECC
    ),
    "ecc_uncorrected_volatile": plain(
        "nvmlDeviceGetTotalEccErrors", nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
    ),
    "ecc_uncorrected_dram_volatile": plain(
        "nvmlDeviceGetMemoryErrorCounter",
        nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
        nvml.NVML_VOLATILE_ECC,
        nvml.NVML_MEMORY_LOCATION_DRAM,
    ),
    "ecc_uncorrected_aggregate": plain(
        "nvmlDeviceGetTotalEccErrors", nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_AGGREGATE_ECC
    ),
    "sram_uncorrected_parity_volatile": sram(lambda it: it.volatileUncParity),
    "sram_uncorrected_secded_volatile": sram(lambda it: it.volatileUncSecDed),
    "sram_uncorrected_aggregate": sram(lambda it: it.aggregateUncParity + it.aggregateUncSecDed),
    "sram_threshold_exceeded": sram(lambda it: bool(it.bThresholdExceeded)),
    "remapped_rows_correctable": item("nvmlDeviceGetRemappedRows", 0),
    "remapped_rows_uncorrectable": item("nvmlDeviceGetRemappedRows", 1),
    "remapping_pending": item("nvmlDeviceGetRemappedRows", 2, bool),
    "remapping_failed": item("nvmlDeviceGetRemappedRows", 3, bool),
    "memory_banks_with_all_rows": banks("max"),
    "memory_banks_with_most_rows": banks("high"),
    "memory_banks_with_some_rows": banks("partial"),
    "memory_banks_with_few_rows": banks("low"),
    "memory_banks_without_rows": banks("none"),
    "retired_pages_single_bit": row(
        "nvmlDeviceGetRetiredPages of single-bit errors",
        lambda device: len(nvml.nvmlDeviceGetRetiredPages(device, nvml.NVML_PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS)),
    ),
    "retired_pages_double_bit": row(
        "nvmlDeviceGetRetiredPages of double-bit errors",
        lambda device: len(nvml.nvmlDeviceGetRetiredPages(device, nvml.NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR)),
    ),
    "retired_pages_pending": row(
        "nvmlDeviceGetRetiredPagesPendingStatus", lambda device: bool(nvml.nvmlDeviceGetRetiredPagesPendingStatus(device))
    ),
    "repair_channel_pending": item("nvmlDeviceGetRepairStatus", 0, bool),
    "repair_tpc_pending": item("nvmlDeviceGetRepairStatus", 1, bool),
    "inforom_valid": row("nvmlDeviceValidateInforom", inforom_valid),
    "pcie_generation": plain("nvmlDeviceGetCurrPcieLinkGeneration"),
    "pcie_generation_max": plain("nvmlDeviceGetMaxPcieLinkGeneration"),
    "pcie_generation_max_of_gpu": plain("nvmlDeviceGetGpuMaxPcieLinkGeneration"),
    "pcie_width": plain("nvmlDeviceGetCurrPcieLinkWidth"),
    "pcie_width_max": plain("nvmlDeviceGetMaxPcieLinkWidth"),
    "virtual_machine": row("nvmlDeviceGetVirtualizationMode", virtual_machine),
    "pcie_replays": plain("nvmlDeviceGetPcieReplayCounter"),
    "pcie_correctable_errors": field("NVML_FI_DEV_PCIE_COUNT_CORRECTABLE_ERRORS"),
    "pcie_non_fatal_errors": field("NVML_FI_DEV_PCIE_COUNT_NON_FATAL_ERROR"),
    "pcie_fatal_errors": field("NVML_FI_DEV_PCIE_COUNT_FATAL_ERROR"),
    "nvlink_up": links_that_are(nvml.NVML_FEATURE_ENABLED),
    "nvlink_down": links_that_are(nvml.NVML_FEATURE_DISABLED),
    "nvlink_replays": link_errors(nvml.NVML_NVLINK_ERROR_DL_REPLAY),
    "nvlink_recoveries": link_errors(nvml.NVML_NVLINK_ERROR_DL_RECOVERY),
    "nvlink_crc_errors": link_errors(nvml.NVML_NVLINK_ERROR_DL_CRC_FLIT),
    "nvlink_failed_recoveries": row("NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_FAILED_EVENTS", failed_recoveries),
    "fabric_state": fabric("state"),
    "fabric_status": fabric("status"),
    "fabric_health_mask": fabric("healthMask"),
    "fabric_health_summary": fabric("healthSummary"),
    "recovery_action": field("NVML_FI_DEV_GET_GPU_RECOVERY_ACTION"),
    "absent[]": SAID,
    "absent[].field": SAID,
    "absent[].reason": SAID,
    "absent[].by_design": SAID,
}

FIELDS = {
    "simulated": Told("the library's marker"),
    "node": Told("the node's name"),
    "verdict": JUDGED,
    "xids_considered": Told("whether a source of events is live"),
    "limits": Told("what could not be judged"),
    "other_devices[]": JUDGED,
    **{f"other_devices[].{field}": row for field, row in FINDING.items()},
    "gpus[]": Row("nvmlDeviceGetCount", lambda: nvml.nvmlDeviceGetCount()),
    "gpus[].index": row("nvmlDeviceGetIndex", nvml.nvmlDeviceGetIndex),
    "gpus[].pci_address": row("nvmlDeviceGetPciInfo", lower_pci_address),
    "gpus[].uuid": plain("nvmlDeviceGetUUID"),
    "gpus[].verdict": JUDGED,
    "gpus[].compared_with_seconds_ago": Told("the agent's clock"),
    "gpus[].findings[]": JUDGED,
    **{f"gpus[].findings[].{field}": row for field, row in FINDING.items()},
    **{f"gpus[].figures.{field}": row for field, row in FIGURES.items()},
}

# What moves while nobody changes anything; counters too.
MOVING = {
    "gpus[].figures.clocks_event_reasons": bits,
    **{
        f"gpus[].figures.{figure}": between
        for figure in (
            "temperature_celsius",
            "memory_temperature_celsius",
            "thermal_margin_celsius",
            "software_thermal_slowdown_ns",
            "hardware_thermal_slowdown_ns",
            "power_brake_ns",
            "fan_percent",
            "fan_rpm",
            "gpu_utilization_percent",
            "ecc_corrected_volatile",
            "pcie_generation",
            "pcie_replays",
            "pcie_correctable_errors",
            "nvlink_replays",
            "nvlink_recoveries",
            "nvlink_crc_errors",
        )
    },
}
