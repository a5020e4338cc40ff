#!/usr/bin/env python3
"""NVIDIA's own Python bindings as a witness: every value they can read is the one the scenario says.

    LD_LIBRARY_PATH=<folder with the simulator as libnvidia-ml.so.1> python3 nvidia_ml_py.py [scenario.toml ...]

Needs Python 3.11 and the package nvidia-ml-py 13. Without arguments all scenarios and profiles of this crate are read. What is
expected comes from the TOML files alone, by the rules that scenarios/healthy.toml explains and not by the simulator's
code; struct layouts and version tags come from NVIDIA's package. Exit: 0 when all agree, 1 when a value is off, 2 when
the library is not the simulator.
"""

import ctypes
import os
import pathlib
import sys
import tempfile
import tomllib

import pynvml as nvml

HERE = pathlib.Path(__file__).resolve().parent
CRATE = HERE.parent
NO_LINK_SCOPE = 0

BRANDS = {"nvidia": nvml.NVML_BRAND_NVIDIA, "tesla": nvml.NVML_BRAND_TESLA}
ARCHITECTURES = {
    "turing": nvml.NVML_DEVICE_ARCH_TURING,
    "ampere": nvml.NVML_DEVICE_ARCH_AMPERE,
    "ada": nvml.NVML_DEVICE_ARCH_ADA,
    "hopper": nvml.NVML_DEVICE_ARCH_HOPPER,
    "blackwell": nvml.NVML_DEVICE_ARCH_BLACKWELL,
}
COMPUTE_MODES = {
    "default": nvml.NVML_COMPUTEMODE_DEFAULT,
    "prohibited": nvml.NVML_COMPUTEMODE_PROHIBITED,
    "exclusive_process": nvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS,
}
VIRTUALIZATION = {
    "none": nvml.NVML_GPU_VIRTUALIZATION_MODE_NONE,
    "passthrough": nvml.NVML_GPU_VIRTUALIZATION_MODE_PASSTHROUGH,
    "vgpu": nvml.NVML_GPU_VIRTUALIZATION_MODE_VGPU,
    "host_vgpu": nvml.NVML_GPU_VIRTUALIZATION_MODE_HOST_VGPU,
    "host_vsga": nvml.NVML_GPU_VIRTUALIZATION_MODE_HOST_VSGA,
}
HOST_VGPU = {"non_sriov": nvml.NVML_HOST_VGPU_MODE_NON_SRIOV, "sriov": nvml.NVML_HOST_VGPU_MODE_SRIOV}
ENVIRONMENTS = {
    "unavailable": nvml.NVML_CC_SYSTEM_ENVIRONMENT_UNAVAILABLE,
    "simulation": nvml.NVML_CC_SYSTEM_ENVIRONMENT_SIM,
    "production": nvml.NVML_CC_SYSTEM_ENVIRONMENT_PROD,
}
MULTI_GPU = {
    "none": nvml.NVML_CC_SYSTEM_MULTIGPU_NONE,
    "protected_pcie": nvml.NVML_CC_SYSTEM_MULTIGPU_PROTECTED_PCIE,
    "nvle": nvml.NVML_CC_SYSTEM_MULTIGPU_NVLE,
}
RECOVERY_ACTIONS = {
    "none": nvml.NVML_GPU_RECOVERY_ACTION_NONE,
    "gpu_reset": nvml.NVML_GPU_RECOVERY_ACTION_GPU_RESET,
    "node_reboot": nvml.NVML_GPU_RECOVERY_ACTION_NODE_REBOOT,
    "drain_p2p": nvml.NVML_GPU_RECOVERY_ACTION_DRAIN_P2P,
    "drain_and_reset": nvml.NVML_GPU_RECOVERY_ACTION_DRAIN_AND_RESET,
}
REASONS = {
    "gpu_idle": nvml.nvmlClocksEventReasonGpuIdle,
    "applications_clocks_setting": nvml.nvmlClocksEventReasonApplicationsClocksSetting,
    "sw_power_cap": nvml.nvmlClocksEventReasonSwPowerCap,
    "hw_slowdown": nvml.nvmlClocksThrottleReasonHwSlowdown,
    "sync_boost": nvml.nvmlClocksEventReasonSyncBoost,
    "sw_thermal_slowdown": nvml.nvmlClocksEventReasonSwThermalSlowdown,
    "hw_thermal_slowdown": nvml.nvmlClocksThrottleReasonHwThermalSlowdown,
    "hw_power_brake_slowdown": nvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
    "display_clock_setting": nvml.nvmlClocksEventReasonDisplayClockSetting,
}
# NVML's numbers of NVLink versions are in no constant of the package: one per generation and half generation.
NVLINK_VERSIONS = {"1.0": 1, "2.0": 2, "2.2": 3, "3.0": 4, "3.1": 5, "4.0": 6, "5.0": 7}
REMOTES = {"gpu": nvml.NVML_NVLINK_DEVICE_TYPE_GPU, "switch": nvml.NVML_NVLINK_DEVICE_TYPE_SWITCH}
P2P_STATUSES = {
    "ok": nvml.NVML_P2P_STATUS_OK,
    "chipset_not_supported": nvml.NVML_P2P_STATUS_CHIPSET_NOT_SUPPORTED,
    "not_supported": nvml.NVML_P2P_STATUS_NOT_SUPPORTED,
}
P2P_CAPABILITIES = {
    # The package has this one as a tuple.
    "read": 0,
    "write": nvml.NVML_P2P_CAPS_INDEX_WRITE,
    "nvlink": nvml.NVML_P2P_CAPS_INDEX_NVLINK,
    "atomics": nvml.NVML_P2P_CAPS_INDEX_ATOMICS,
    "pcie": nvml.NVML_P2P_CAPS_INDEX_PCI,
}
LINK_STATES = {"inactive": 0, "active": 1, "sleep": 2}
FABRIC_STATES = {
    "not_supported": nvml.NVML_GPU_FABRIC_STATE_NOT_SUPPORTED,
    "not_started": nvml.NVML_GPU_FABRIC_STATE_NOT_STARTED,
    "in_progress": nvml.NVML_GPU_FABRIC_STATE_IN_PROGRESS,
    "completed": nvml.NVML_GPU_FABRIC_STATE_COMPLETED,
}
FABRIC_SUMMARIES = {"not_supported": 0, "healthy": 1, "unhealthy": 2, "limited_capacity": 3}
FLAGS = {"not_supported": 0, "true": 1, "false": 2}
CONFIGURATIONS = {
    "not_supported": 0,
    "none": 1,
    "incorrect_sysguid": 2,
    "incorrect_chassis_sn": 3,
    "no_partition": 4,
    "insufficient_nvlinks": 5,
}
EVENT_KINDS = {
    "xid": nvml.nvmlEventTypeXidCriticalError,
    "double_bit_ecc": nvml.nvmlEventTypeDoubleBitEccError,
    "recovery_action": nvml.nvmlEventTypeGpuRecoveryAction,
}


class Absent:
    """What is expected where there is no value: an error of NVML."""

    def __init__(self, code):
        self.code = code

    def __eq__(self, other):
        return isinstance(other, Absent) and other.code == self.code

    def __repr__(self):
        return f"error {self.code}"


def error_number(name_or_number):
    if isinstance(name_or_number, int):
        return name_or_number
    return getattr(nvml, f"NVML_ERROR_{name_or_number}")


def absence(value):
    """The error a TOML value stands for, if it does."""
    if value == "unsupported":
        return Absent(nvml.NVML_ERROR_NOT_SUPPORTED)
    if isinstance(value, dict) and set(value) == {"error"}:
        return Absent(error_number(value["error"]))
    return None


def get(table, path):
    """The value at a dotted path, or the absence of it or of a table on the way."""
    value = table
    for key in path.split("."):
        value = value[key]
        if absence(value):
            return absence(value)
    return value


def merge(base, over):
    """The rule of the layers: tables merge key by key, unless one stands for an absent value."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict) and not absence(below) and not absence(value):
            merged[key] = merge(below, value)
        else:
            merged[key] = value
    return merged


def read_profile(name):
    """A profile, laid on the one it stands on."""
    profile = tomllib.loads((CRATE / "profiles" / f"{name}.toml").read_text())
    if "base" not in profile:
        return profile
    base = read_profile(profile.pop("base"))
    return merge(base, profile)


def slot(profile, index):
    """Where the GPU of this index sits; beyond the slots as the first ones do, in other PCI domains."""
    count = len(profile["slot"])
    turn, place = divmod(index, count)
    if not turn:
        return profile["slot"][place]
    domain, bus = profile["slot"][place]["pci"]["address"].split(":", 1)
    moved = {"pci": {"address": f"{int(domain, 16) + turn * 0x100:08x}:{bus}"}}
    if "identity" in profile["slot"][place]:
        moved["identity"] = {"module_id": profile["slot"][place]["identity"]["module_id"] + turn * count}
    return merge(profile["slot"][place], moved)


class Comparison:
    def __init__(self, scenario):
        self.scenario = scenario
        self.compared = 0
        self.wrong = []

    def same(self, what, expected, read):
        """Reads, and compares with what is expected: a value, or an Absent for an error."""
        try:
            got = read()
        except nvml.NVMLError as error:
            got = Absent(error.value)
        self.compared += 1
        if isinstance(got, bytes):
            got = got.decode()
        if got != expected:
            self.wrong.append(f"{self.scenario}: {what}: expected {expected!r}, read {got!r}")


def switched(value):
    return value if isinstance(value, Absent) else int(value)


def listed(value, numbers):
    return value if isinstance(value, Absent) else numbers[value]


def bits(value):
    return value if isinstance(value, Absent) else sum(REASONS[reason] for reason in value)


def bus_id(address):
    domain, bus, device = address.split(".")[0].split(":")
    return f"{int(domain, 16):08X}:{int(bus, 16):02X}:{int(device, 16):02X}.0"


def field(handle, number, scope=NO_LINK_SCOPE):
    """One field value, in the member that its type names."""
    value = nvml.nvmlDeviceGetFieldValues(handle, [(number, scope)])[0]
    if value.nvmlReturn != nvml.NVML_SUCCESS:
        raise nvml.NVMLError(value.nvmlReturn)
    members = {
        nvml.NVML_VALUE_TYPE_UNSIGNED_INT: value.value.uiVal,
        nvml.NVML_VALUE_TYPE_SIGNED_INT: value.value.siVal,
        nvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: value.value.ullVal,
    }
    return members[value.valueType]


def identity(check, gpu, index, handle):
    device_id = gpu["pci"]["device_id"]
    who = gpu["identity"]
    check("name", who["name"], lambda: nvml.nvmlDeviceGetName(handle))
    uuid = who.get("uuid", f"GPU-{device_id:08x}-0000-4000-8000-{index:012x}")
    check("uuid", uuid, lambda: nvml.nvmlDeviceGetUUID(handle))
    check("by uuid", index, lambda: nvml.nvmlDeviceGetIndex(nvml.nvmlDeviceGetHandleByUUID(uuid)))
    check("serial", who.get("serial", f"165{index + 1:010}"), lambda: nvml.nvmlDeviceGetSerial(handle))
    check("minor", who.get("minor", index), lambda: nvml.nvmlDeviceGetMinorNumber(handle))
    check("module", get(gpu, "identity.module_id"), lambda: nvml.nvmlDeviceGetModuleId(handle))
    check("part number", get(gpu, "identity.part_number"), lambda: nvml.nvmlDeviceGetBoardPartNumber(handle))
    check("vbios", get(gpu, "identity.vbios"), lambda: nvml.nvmlDeviceGetVbiosVersion(handle))
    check("brand", BRANDS[who["brand"]], lambda: nvml.nvmlDeviceGetBrand(handle))
    check("architecture", ARCHITECTURES[who["architecture"]], lambda: nvml.nvmlDeviceGetArchitecture(handle))
    check(
        "compute capability",
        tuple(who["compute_capability"]),
        lambda: tuple(nvml.nvmlDeviceGetCudaComputeCapability(handle)),
    )
    check("cores", get(gpu, "identity.cuda_cores"), lambda: nvml.nvmlDeviceGetNumGpuCores(handle))
    inforom = {
        "oem": nvml.NVML_INFOROM_OEM,
        "ecc": nvml.NVML_INFOROM_ECC,
        "power": nvml.NVML_INFOROM_POWER,
    }
    check("inforom image", get(gpu, "identity.inforom.image"), lambda: nvml.nvmlDeviceGetInforomImageVersion(handle))
    for key, number in inforom.items():
        check(
            f"inforom {key}",
            get(gpu, f"identity.inforom.{key}"),
            lambda number=number: nvml.nvmlDeviceGetInforomVersion(handle, number),
        )
    check("gsp", get(gpu, "identity.gsp_firmware"), lambda: nvml.nvmlDeviceGetGspFirmwareVersion(handle))
    check("numa node", get(gpu, "identity.numa_node"), lambda: nvml.nvmlDeviceGetNumaNodeId(handle))
    check(
        "display active", switched(get(gpu, "identity.display_active")), lambda: nvml.nvmlDeviceGetDisplayActive(handle)
    )
    check("display mode", switched(get(gpu, "identity.display_mode")), lambda: nvml.nvmlDeviceGetDisplayMode(handle))
    check("persistence", switched(get(gpu, "persistence")), lambda: nvml.nvmlDeviceGetPersistenceMode(handle))
    check("compute mode", listed(get(gpu, "compute_mode"), COMPUTE_MODES), lambda: nvml.nvmlDeviceGetComputeMode(handle))
    check(
        "virtualization",
        listed(get(gpu, "virtualization"), VIRTUALIZATION),
        lambda: nvml.nvmlDeviceGetVirtualizationMode(handle),
    )
    check("host vgpu", listed(get(gpu, "host_vgpu"), HOST_VGPU), lambda: nvml.nvmlDeviceGetHostVgpuMode(handle))
    platform(check, gpu, handle)
    address = bus_id(gpu["pci"]["address"])
    pci = nvml.nvmlDeviceGetPciInfo(handle)
    check("bus id", address, lambda: pci.busId)
    check("legacy bus id", address[4:], lambda: pci.busIdLegacy)
    check("bus", int(address[9:11], 16), lambda: pci.bus)
    check("device id", device_id, lambda: pci.pciDeviceId)
    check("subsystem", gpu["pci"]["subsystem_id"], lambda: pci.pciSubSystemId)
    for spelling in (address, address[4:], address.lower()):
        by_address = nvml.nvmlDeviceGetHandleByPciBusId
        check(f"by {spelling}", index, lambda spelling=spelling: nvml.nvmlDeviceGetIndex(by_address(spelling)))


def platform(check, gpu, handle):
    table = get(gpu, "platform")

    def read():
        info = nvml.c_nvmlPlatformInfo_v2_t()
        nvml.nvmlDeviceGetPlatformInfo(handle, ctypes.byref(info))
        # The package has them as texts, which would end at the first zero.
        raw = bytes(info)
        return [raw[4:20].hex(), raw[20:36].rstrip(b"\0").decode(), *raw[36:41]]

    keys = ("slot", "tray", "host", "peer_type", "module")
    wanted = table
    if not isinstance(table, Absent):
        wanted = [table["ib_guid"].replace("-", ""), table["chassis_serial"], *(table[key] for key in keys)]
    check("platform", wanted, read)


def memory(check, gpu, handle):
    total, reserved, used = (gpu["memory"][f"{key}_bytes"] for key in ("total", "reserved", "used"))
    first = nvml.nvmlDeviceGetMemoryInfo(handle)
    check("memory v1", (total, used + reserved, total - used - reserved), lambda: (first.total, first.used, first.free))
    second = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
    check(
        "memory v2",
        (total, reserved, used, total - used - reserved),
        lambda: (second.total, second.reserved, second.used, second.free),
    )
    bar1 = nvml.nvmlDeviceGetBAR1MemoryInfo(handle)
    bar1_total, bar1_used = gpu["memory"]["bar1_total_bytes"], gpu["memory"]["bar1_used_bytes"]
    check(
        "bar1",
        (bar1_total, bar1_used, bar1_total - bar1_used),
        lambda: (bar1.bar1Total, bar1.bar1Used, bar1.bar1Free),
    )
    check("bus width", get(gpu, "memory.bus_width_bits"), lambda: nvml.nvmlDeviceGetMemoryBusWidth(handle))
    protected = get(gpu, "protected_memory")
    if not isinstance(protected, Absent):
        protected = (protected["total_bytes"], protected["used_bytes"])
    usage = lambda: nvml.nvmlDeviceGetConfComputeProtectedMemoryUsage(handle)
    check("protected memory", protected, lambda: ((read := usage()).total, read.used))


def buffered(handle, kind):
    """The values of the driver's own samples, each once."""
    _, samples = nvml.nvmlDeviceGetSamples(handle, kind, 0)
    return {sample.sampleValue.uiVal for sample in samples}


def load(check, gpu, handle):
    divided = not isinstance(get(gpu, "mig"), Absent) and gpu["mig"]["enabled"]
    whole = lambda key: get(gpu, f"utilization.{key}_percent")
    percent = lambda key: Absent(nvml.NVML_ERROR_NOT_SUPPORTED) if divided else whole(key)
    check("gpu busy", percent("gpu"), lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    check("memory busy", percent("memory"), lambda: nvml.nvmlDeviceGetUtilizationRates(handle).memory)
    for what, kind, expected, instead in [
        ("power", nvml.NVML_TOTAL_POWER_SAMPLES, get(gpu, "power.instant_mw"), get(gpu, "power.usage_mw")),
        ("gpu busy", nvml.NVML_GPU_UTILIZATION_SAMPLES, percent("gpu"), None),
        ("memory busy", nvml.NVML_MEMORY_UTILIZATION_SAMPLES, percent("memory"), None),
        ("sm clock", nvml.NVML_PROCESSOR_CLK_SAMPLES, get(gpu, "clocks.current.sm_mhz"), None),
        ("memory clock", nvml.NVML_MEMORY_CLK_SAMPLES, get(gpu, "clocks.current.memory_mhz"), None),
    ]:
        # Where the board does not tell this moment's power, samples are of what it does tell.
        value = instead if isinstance(expected, Absent) and instead is not None else expected
        expected = value if isinstance(value, Absent) else {value}
        check(f"{what} samples", expected, lambda: buffered(handle, kind))
    check("encoder", percent("encoder"), lambda: nvml.nvmlDeviceGetEncoderUtilization(handle)[0])
    check("decoder", percent("decoder"), lambda: nvml.nvmlDeviceGetDecoderUtilization(handle)[0])
    check("pstate", get(gpu, "clocks.performance_state"), lambda: nvml.nvmlDeviceGetPerformanceState(handle))
    domains = {
        "graphics": nvml.NVML_CLOCK_GRAPHICS,
        "sm": nvml.NVML_CLOCK_SM,
        "memory": nvml.NVML_CLOCK_MEM,
        "video": nvml.NVML_CLOCK_VIDEO,
    }
    for key, domain in domains.items():
        now, most = (get(gpu, f"clocks.{which}.{key}_mhz") for which in ("current", "max"))
        check(f"{key} clock", now, lambda domain=domain: nvml.nvmlDeviceGetClockInfo(handle, domain))
        check(f"{key} max clock", most, lambda domain=domain: nvml.nvmlDeviceGetMaxClockInfo(handle, domain))
    kinds = {
        "compute": nvml.nvmlDeviceGetComputeRunningProcesses,
        "graphics": nvml.nvmlDeviceGetGraphicsRunningProcesses,
        "mps": nvml.nvmlDeviceGetMPSComputeRunningProcesses,
    }
    processes = gpu.get("processes", [])
    for kind, read in kinds.items():
        wanted = in_list(processes, kind)
        check(f"{kind} processes", wanted, lambda read=read: [(p.pid, p.usedGpuMemory) for p in read(handle)])
        for place, device in mig_devices(gpu, handle):
            part = in_list([p for p in processes if p.get("mig") == place], kind)
            check(f"{kind} processes of {place}", part, lambda: [(p.pid, p.usedGpuMemory) for p in read(device)])
    for process in processes:
        name = process.get("name", Absent(nvml.NVML_ERROR_NOT_FOUND))
        check("process name", name, lambda process=process: nvml.nvmlSystemGetProcessName(process["pid"]))
    sampled = [(p["pid"], p["sm_percent"]) for p in processes if "sm_percent" in p]
    check(
        "process utilization",
        Absent(nvml.NVML_ERROR_NOT_SUPPORTED) if divided else sampled or Absent(nvml.NVML_ERROR_NOT_FOUND),
        lambda: [(s.pid, s.smUtil) for s in nvml.nvmlDeviceGetProcessUtilization(handle, 0)],
    )


def in_list(processes, kind):
    """What a list has of them. NVIDIA's bindings say None where NVML has no figure."""
    bytes_of = lambda p: None if p["used_bytes"] == "unsupported" else p["used_bytes"]
    return [(p["pid"], bytes_of(p)) for p in processes if p.get("kind", "compute") == kind]


def mig_devices(gpu, handle):
    """The places on a divided GPU, each with NVML's handle for it."""
    mig = get(gpu, "mig")
    if isinstance(mig, Absent) or not mig["enabled"]:
        return
    for index, (instance, compute) in enumerate(instances_of(mig)):
        place = {"gpu_instance": instance["id"], "compute_instance": compute["id"]}
        yield place, nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)


def instances_of(mig):
    """Each compute instance with the GPU instance it is in, in NVML's order of MIG devices."""
    return [(instance, compute) for instance in mig.get("instances", []) for compute in instance.get("compute", [])]


def heat_and_power(check, gpu, handle):
    sensor = nvml.NVML_TEMPERATURE_GPU
    check("temperature", get(gpu, "thermal.gpu_celsius"), lambda: nvml.nvmlDeviceGetTemperature(handle, sensor))
    check("temperature V", get(gpu, "thermal.gpu_celsius"), lambda: nvml.nvmlDeviceGetTemperatureV(handle, sensor))
    check("margin", get(gpu, "thermal.margin_celsius"), lambda: nvml.nvmlDeviceGetMarginTemperature(handle))
    check(
        "memory temperature",
        get(gpu, "thermal.memory_celsius"),
        lambda: field(handle, nvml.NVML_FI_DEV_MEMORY_TEMP),
    )
    thresholds = {
        "shutdown": (nvml.NVML_TEMPERATURE_THRESHOLD_SHUTDOWN, nvml.NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT),
        "slowdown": (nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN, nvml.NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT),
        "memory_max": (nvml.NVML_TEMPERATURE_THRESHOLD_MEM_MAX, nvml.NVML_FI_DEV_TEMPERATURE_MEM_MAX_TLIMIT),
        "gpu_max": (nvml.NVML_TEMPERATURE_THRESHOLD_GPU_MAX, nvml.NVML_FI_DEV_TEMPERATURE_GPU_MAX_TLIMIT),
    }
    for key, (kind, number) in thresholds.items():
        absolute, margin = (get(gpu, f"thermal.{which}_celsius.{key}") for which in ("thresholds", "tlimit"))
        check(f"{key} threshold", absolute, lambda kind=kind: nvml.nvmlDeviceGetTemperatureThreshold(handle, kind))
        check(f"{key} margin", margin, lambda number=number: field(handle, number))
    fans = gpu["thermal"]["fans"]
    check("fans", len(fans), lambda: nvml.nvmlDeviceGetNumFans(handle))
    first = get(fans[0], "speed_percent") if fans else Absent(nvml.NVML_ERROR_NOT_SUPPORTED)
    check("fan speed", first, lambda: nvml.nvmlDeviceGetFanSpeed_v2(handle, 0))

    power = lambda key: get(gpu, f"power.{key}")
    check("power", power("usage_mw"), lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    check("enforced limit", power("enforced_limit_mw"), lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle))
    check("requested limit", power("requested_limit_mw"), lambda: nvml.nvmlDeviceGetPowerManagementLimit(handle))
    check("default limit", power("default_limit_mw"), lambda: nvml.nvmlDeviceGetPowerManagementDefaultLimit(handle))
    limits = lambda: nvml.nvmlDeviceGetPowerManagementLimitConstraints(handle)
    check("limits", [power("min_limit_mw"), power("max_limit_mw")], limits)
    check("energy", power("energy_mj"), lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
    numbers = {
        "average_mw": nvml.NVML_FI_DEV_POWER_AVERAGE,
        "instant_mw": nvml.NVML_FI_DEV_POWER_INSTANT,
        "min_limit_mw": nvml.NVML_FI_DEV_POWER_MIN_LIMIT,
        "max_limit_mw": nvml.NVML_FI_DEV_POWER_MAX_LIMIT,
        "default_limit_mw": nvml.NVML_FI_DEV_POWER_DEFAULT_LIMIT,
        "enforced_limit_mw": nvml.NVML_FI_DEV_POWER_CURRENT_LIMIT,
        "requested_limit_mw": nvml.NVML_FI_DEV_POWER_REQUESTED_LIMIT,
        "energy_mj": nvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION,
    }
    for key, number in numbers.items():
        check(f"{key} field", power(key), lambda number=number: field(handle, number))

    reasons, supported = bits(get(gpu, "throttle.reasons")), bits(get(gpu, "throttle.supported"))
    check("reasons", reasons, lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
    check("throttle reasons", reasons, lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
    check("supported reasons", supported, lambda: nvml.nvmlDeviceGetSupportedClocksEventReasons(handle))
    check("supported throttle", supported, lambda: nvml.nvmlDeviceGetSupportedClocksThrottleReasons(handle))
    policies = {
        "power": (nvml.NVML_PERF_POLICY_POWER, nvml.NVML_FI_DEV_PERF_POLICY_POWER),
        "thermal": (nvml.NVML_PERF_POLICY_THERMAL, nvml.NVML_FI_DEV_PERF_POLICY_THERMAL),
        "sync_boost": (nvml.NVML_PERF_POLICY_SYNC_BOOST, nvml.NVML_FI_DEV_PERF_POLICY_SYNC_BOOST),
        "board_limit": (nvml.NVML_PERF_POLICY_BOARD_LIMIT, nvml.NVML_FI_DEV_PERF_POLICY_BOARD_LIMIT),
        "low_utilization": (nvml.NVML_PERF_POLICY_LOW_UTILIZATION, nvml.NVML_FI_DEV_PERF_POLICY_LOW_UTILIZATION),
        "reliability": (nvml.NVML_PERF_POLICY_RELIABILITY, nvml.NVML_FI_DEV_PERF_POLICY_RELIABILITY),
        "app_clocks": (nvml.NVML_PERF_POLICY_TOTAL_APP_CLOCKS, nvml.NVML_FI_DEV_PERF_POLICY_TOTAL_APP_CLOCKS),
        "base_clocks": (nvml.NVML_PERF_POLICY_TOTAL_BASE_CLOCKS, nvml.NVML_FI_DEV_PERF_POLICY_TOTAL_BASE_CLOCKS),
    }
    for key, (policy, number) in policies.items():
        time = get(gpu, f"throttle.time_ns.{key}")
        violation = lambda policy=policy: nvml.nvmlDeviceGetViolationStatus(handle, policy).violationTime
        check(f"{key} violation", time, violation)
        check(f"{key} field", time, lambda number=number: field(handle, number))
    counters = {
        "sw_thermal": nvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN,
        "hw_thermal": nvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN,
        "hw_power_brake": nvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN,
    }
    for key, number in counters.items():
        check(f"{key} field", get(gpu, f"throttle.time_ns.{key}"), lambda number=number: field(handle, number))


def soundness(check, gpu, handle):
    spans = {"volatile": nvml.NVML_VOLATILE_ECC, "aggregate": nvml.NVML_AGGREGATE_ECC}
    corrected, uncorrected = nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED
    for key, span in spans.items():
        ecc = get(gpu, f"ecc.{key}")
        if isinstance(ecc, Absent) or not gpu["ecc"]["enabled"]:
            absent = ecc if isinstance(ecc, Absent) else Absent(nvml.NVML_ERROR_NOT_SUPPORTED)
            for kind in (corrected, uncorrected):
                check(
                    f"{key} ecc {kind}",
                    absent,
                    lambda kind=kind, span=span: nvml.nvmlDeviceGetTotalEccErrors(handle, kind, span),
                )
            continue
        sram_unc = ecc["sram_uncorrected_parity"] + ecc["sram_uncorrected_secded"]
        counts = {
            corrected: (ecc["sram_corrected"], ecc["dram_corrected"]),
            uncorrected: (sram_unc, ecc["dram_uncorrected"]),
        }
        for kind, (sram, dram) in counts.items():
            total = lambda kind=kind, span=span: nvml.nvmlDeviceGetTotalEccErrors(handle, kind, span)
            located = lambda place, kind=kind, span=span: nvml.nvmlDeviceGetMemoryErrorCounter(
                handle, kind, span, place
            )
            check(f"{key} ecc {kind}", sram + dram, total)
            check(f"{key} sram {kind}", sram, lambda: located(nvml.NVML_MEMORY_LOCATION_SRAM))
            check(f"{key} dram {kind}", dram, lambda: located(nvml.NVML_MEMORY_LOCATION_DRAM))
    mode = get(gpu, "ecc.enabled"), get(gpu, "ecc.pending")
    wanted = mode[0] if isinstance(mode[0], Absent) else [int(part) for part in mode]
    check("ecc mode", wanted, lambda: nvml.nvmlDeviceGetEccMode(handle))
    sram_status(check, gpu, handle)

    rows = get(gpu, "row_remap")
    remapped = ("correctable", "uncorrectable", "pending", "failure")
    wanted = rows if isinstance(rows, Absent) else tuple(int(rows[key]) for key in remapped)
    check("remapped rows", wanted, lambda: nvml.nvmlDeviceGetRemappedRows(handle))
    banks = ("max", "high", "partial", "low", "none")
    wanted = rows if isinstance(rows, Absent) else [rows["banks"][key] for key in banks]

    def histogram():
        values = nvml.nvmlDeviceGetRowRemapperHistogram(handle)
        return [getattr(values, key) for key in banks]

    check("spare rows", wanted, histogram)
    for key, number in zip(remapped, range(nvml.NVML_FI_DEV_REMAPPED_COR, nvml.NVML_FI_DEV_REMAPPED_FAILURE + 1)):
        check(f"rows {key} field", switched(get(gpu, f"row_remap.{key}")), lambda number=number: field(handle, number))
    repair = get(gpu, "repair")
    wanted = repair if isinstance(repair, Absent) else [int(repair["channel_pending"]), int(repair["tpc_pending"])]
    check("repair", wanted, lambda: nvml.nvmlDeviceGetRepairStatus(handle))

    pending = switched(get(gpu, "retired_pages.pending"))
    check("pages pending", pending, lambda: nvml.nvmlDeviceGetRetiredPagesPendingStatus(handle))
    causes = {
        "single_bit": nvml.NVML_PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS,
        "double_bit": nvml.NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR,
    }
    for key, cause in causes.items():
        pages = get(gpu, f"retired_pages.{key}")
        wanted = pages if isinstance(pages, Absent) else [page["address"] for page in pages]
        check(f"{key} pages", wanted, lambda cause=cause: list(nvml.nvmlDeviceGetRetiredPages(handle, cause)))
    action = listed(get(gpu, "recovery_action"), RECOVERY_ACTIONS)
    check("recovery action", action, lambda: field(handle, nvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION))


def sram_status(check, gpu, handle):
    exceeded = get(gpu, "ecc.sram_threshold_exceeded")
    if isinstance(exceeded, Absent) or not gpu["ecc"]["enabled"]:
        wanted = exceeded if isinstance(exceeded, Absent) else Absent(nvml.NVML_ERROR_NOT_SUPPORTED)
    else:
        ecc = gpu["ecc"]
        wanted = [
            *(ecc["aggregate"][f"sram_{key}"] for key in ("uncorrected_parity", "uncorrected_secded", "corrected")),
            *(ecc["volatile"][f"sram_{key}"] for key in ("uncorrected_parity", "uncorrected_secded", "corrected")),
            *(ecc["sram_sources"][key] for key in ("l2", "sm", "pcie", "microcontroller", "other")),
            int(exceeded),
        ]

    def read():
        status = nvml.c_nvmlEccSramErrorStatus_v1_t()
        nvml.nvmlDeviceGetSramEccErrorStatus(handle, ctypes.byref(status))
        return [getattr(status, name) for name, _ in status._fields_[1:]]

    check("sram", wanted, read)


def links(check, gpu, handle):
    pcie = lambda key: get(gpu, f"pcie.{key}")
    check("pcie gen", pcie("gen"), lambda: nvml.nvmlDeviceGetCurrPcieLinkGeneration(handle))
    check("pcie width", pcie("width"), lambda: nvml.nvmlDeviceGetCurrPcieLinkWidth(handle))
    check("pcie max gen", pcie("max_gen"), lambda: nvml.nvmlDeviceGetMaxPcieLinkGeneration(handle))
    check("pcie max width", pcie("max_width"), lambda: nvml.nvmlDeviceGetMaxPcieLinkWidth(handle))
    check("pcie gpu gen", pcie("gpu_max_gen"), lambda: nvml.nvmlDeviceGetGpuMaxPcieLinkGeneration(handle))
    check("replays", pcie("replays"), lambda: nvml.nvmlDeviceGetPcieReplayCounter(handle))
    transmit, receive = nvml.NVML_PCIE_UTIL_TX_BYTES, nvml.NVML_PCIE_UTIL_RX_BYTES
    check("pcie tx", pcie("transmit_kb_s"), lambda: nvml.nvmlDeviceGetPcieThroughput(handle, transmit))
    check("pcie rx", pcie("receive_kb_s"), lambda: nvml.nvmlDeviceGetPcieThroughput(handle, receive))
    numbers = {
        "replays": nvml.NVML_FI_DEV_PCIE_REPLAY_COUNTER,
        "replay_rollovers": nvml.NVML_FI_DEV_PCIE_REPLAY_ROLLOVER_COUNTER,
        "correctable_errors": nvml.NVML_FI_DEV_PCIE_COUNT_CORRECTABLE_ERRORS,
        "non_fatal_errors": nvml.NVML_FI_DEV_PCIE_COUNT_NON_FATAL_ERROR,
        "fatal_errors": nvml.NVML_FI_DEV_PCIE_COUNT_FATAL_ERROR,
    }
    for key, number in numbers.items():
        check(f"{key} field", pcie(key), lambda number=number: field(handle, number))
    nvlinks(check, gpu, handle)
    fabric(check, gpu, handle)

    mig = get(gpu, "mig")
    wanted = mig if isinstance(mig, Absent) else [int(mig["enabled"]), int(mig["pending"])]
    check("mig mode", wanted, lambda: nvml.nvmlDeviceGetMigMode(handle))
    most = 0 if isinstance(mig, Absent) else mig["max_devices"]
    check("mig devices", most, lambda: nvml.nvmlDeviceGetMaxMigDeviceCount(handle))
    if not isinstance(mig, Absent):
        divisions(check, mig, handle)
    for index, (place, device) in enumerate(mig_devices(gpu, handle)):
        instance, compute = instances_of(mig)[index]
        check("mig uuid", compute["uuid"], lambda: nvml.nvmlDeviceGetUUID(device))
        profile = next(profile for profile in mig["profiles"] if profile["name"] == instance["profile"])
        slices = compute.get("slices", profile["slices"])
        part = "" if slices == profile["slices"] else f"{slices}c."
        name = f"{gpu['identity']['name']} MIG {part}{profile['name']}"
        check("mig name", name, lambda: nvml.nvmlDeviceGetName(device))
        total, used = profile["memory_mib"] << 20, instance.get("used_bytes", 0)
        figures = nvml.nvmlDeviceGetMemoryInfo(device, version=nvml.nvmlMemory_v2)
        read = lambda: (figures.total, figures.reserved, figures.used, figures.free)
        check("mig memory", (total, 0, used, total - used), read)
        attributes = nvml.nvmlDeviceGetAttributes(device)
        sms = compute.get("multiprocessors", profile["multiprocessors"])
        check("mig sms", sms, lambda: attributes.multiprocessorCount)
        check("mig slices", (profile["slices"], slices), lambda: (attributes.gpuInstanceSliceCount, attributes.computeInstanceSliceCount))
        check("mig size", profile["memory_mib"], lambda: attributes.memorySizeMB)
        check("mig handle", 1, lambda: nvml.nvmlDeviceIsMigDeviceHandle(device).value)
        parent = lambda: nvml.nvmlDeviceGetIndex(nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device))
        check("mig parent", nvml.nvmlDeviceGetIndex(handle), parent)
        check("gpu instance", place["gpu_instance"], lambda: nvml.nvmlDeviceGetGpuInstanceId(device))
        check("compute instance", place["compute_instance"], lambda: nvml.nvmlDeviceGetComputeInstanceId(device))


def divisions(check, mig, handle):
    """What a board can be divided into, and the GPU instances there are, those without compute instances too."""
    by_number = {profile["number"]: profile for profile in mig["profiles"]}
    for number in range(nvml.NVML_GPU_INSTANCE_PROFILE_COUNT):
        profile = by_number.get(number)
        read = lambda number=number: nvml.nvmlDeviceGetGpuInstanceProfileInfo(handle, number)
        keys = {
            "id": "id",
            "slices": "sliceCount",
            "instances": "instanceCount",
            "memory_mib": "memorySizeMB",
            "multiprocessors": "multiprocessorCount",
            "copy_engines": "copyEngineCount",
            "decoders": "decoderCount",
            "encoders": "encoderCount",
            "jpegs": "jpegCount",
            "ofas": "ofaCount",
        }
        if profile is None:
            known = number < 17  # What the simulator's header has; NVIDIA's package is newer.
            code = nvml.NVML_ERROR_NOT_SUPPORTED if known else nvml.NVML_ERROR_INVALID_ARGUMENT
            check(f"profile {number}", Absent(code), read)
            continue
        for key, name in keys.items():
            check(f"profile {number} {key}", profile[key], lambda name=name: getattr(read(), name))
        check(f"profile {number} name", f"MIG {profile['name']}", lambda: read().name)
        instances = [i for i in mig.get("instances", []) if i["profile"] == profile["name"]]
        wanted = [(i["id"], profile["id"], i["start"], profile["memory_slices"]) for i in instances]
        if not mig["enabled"]:
            wanted = Absent(nvml.NVML_ERROR_NOT_SUPPORTED)
        check(f"instances of {profile['name']}", wanted, lambda: gpu_instances(handle, profile))


def gpu_instances(handle, profile):
    room = (nvml.c_nvmlGpuInstance_t * profile["instances"])()
    count = ctypes.c_uint()
    nvml.nvmlDeviceGetGpuInstances(handle, profile["id"], room, ctypes.byref(count))
    infos = [nvml.nvmlGpuInstanceGetInfo(instance) for instance in room[: count.value]]
    return [(info.id, info.profileId, info.placement.start, info.placement.size) for info in infos]


def nvlinks(check, gpu, handle):
    nvlink = get(gpu, "nvlink")
    absent = isinstance(nvlink, Absent)
    count = 0 if absent else len(nvlink["remote_addresses"])
    check("links", nvlink if absent else count, lambda: field(handle, nvml.NVML_FI_DEV_NVLINK_LINK_COUNT))
    beyond = nvlink if absent else Absent(nvml.NVML_ERROR_INVALID_ARGUMENT)
    check("link beyond the last", beyond, lambda: nvml.nvmlDeviceGetNvLinkState(handle, count))
    counters = {
        "replay_errors": (nvml.NVML_NVLINK_ERROR_DL_REPLAY, nvml.NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY),
        "recovery_errors": (nvml.NVML_NVLINK_ERROR_DL_RECOVERY, nvml.NVML_FI_DEV_NVLINK_ERROR_DL_RECOVERY),
        "crc_flit_errors": (nvml.NVML_NVLINK_ERROR_DL_CRC_FLIT, nvml.NVML_FI_DEV_NVLINK_ERROR_DL_CRC),
        "crc_data_errors": (nvml.NVML_NVLINK_ERROR_DL_CRC_DATA, None),
    }
    for number in range(count):
        link = merge(nvlink["link"], nvlink.get("links", {}).get(str(number), {}))
        up = link["state"] != "inactive"
        check(f"link {number}", int(up), lambda: nvml.nvmlDeviceGetNvLinkState(handle, number))
        version = NVLINK_VERSIONS[nvlink["version"]]
        check(f"link {number} version", version, lambda: nvml.nvmlDeviceGetNvLinkVersion(handle, number))
        remote = bus_id(nvlink["remote_addresses"][number])
        check(f"link {number} remote", remote, lambda: nvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, number).busId)
        vendor = lambda: nvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, number).pciDeviceId
        check(f"link {number} remote id", nvlink["remote_device_id"], vendor)
        kind = REMOTES[nvlink["remote"]]
        check(f"link {number} kind", kind, lambda: nvml.nvmlDeviceGetNvLinkRemoteDeviceType(handle, number))
        speed = nvlink["speed_mb_s"] if up else 0
        by_field = {
            "speed": (nvml.NVML_FI_DEV_NVLINK_GET_SPEED, speed),
            "state": (nvml.NVML_FI_DEV_NVLINK_GET_STATE, LINK_STATES[link["state"]]),
            "version": (nvml.NVML_FI_DEV_NVLINK_GET_VERSION, version),
        }
        for key, (counter, scoped) in counters.items():
            errors = lambda counter=counter: nvml.nvmlDeviceGetNvLinkErrorCounter(handle, number, counter)
            check(f"link {number} {key}", link[key], errors)
            if scoped is not None:
                by_field[key] = (scoped, link[key])
        for key, (scoped, wanted) in by_field.items():
            check(f"link {number} {key} field", wanted, lambda scoped=scoped: field(handle, scoped, number))


def fabric(check, gpu, handle):
    table = get(gpu, "fabric")

    def read(struct, call):
        info = struct()
        call(handle, ctypes.byref(info))
        return info

    def figures(info):
        uuid = bytes(info.clusterUuid).hex()
        return [uuid, info.status, info.cliqueId, info.state]

    calls = {
        "fabric v1": (nvml.c_nvmlGpuFabricInfo_t, nvml.nvmlDeviceGetGpuFabricInfo),
        "fabric v2": (nvml.c_nvmlGpuFabricInfo_v2_t, nvml.nvmlDeviceGetGpuFabricInfoV),
        "fabric v3": (nvml.c_nvmlGpuFabricInfo_v3_t, nvml.nvmlDeviceGetGpuFabricInfoV),
    }
    if isinstance(table, Absent):
        for what, (struct, call) in calls.items():
            check(what, table, lambda: read(struct, call))
        return
    status = nvml.NVML_SUCCESS if table["status"] == "success" else error_number(table["status"])
    wanted = [table["cluster_uuid"].replace("-", ""), status, table["clique_id"], FABRIC_STATES[table["state"]]]
    for what, (struct, call) in calls.items():
        check(what, wanted, lambda: figures(read(struct, call)))
    health = table["health"]
    shifts = {
        "degraded_bandwidth": nvml.NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_DEGRADED_BW,
        "route_recovery": nvml.NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_ROUTE_RECOVERY,
        "route_unhealthy": nvml.NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_ROUTE_UNHEALTHY,
        "access_timeout_recovery": nvml.NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_ACCESS_TIMEOUT_RECOVERY,
    }
    mask = sum(FLAGS[health[key]] << shift for key, shift in shifts.items())
    configuration = CONFIGURATIONS[health["incorrect_configuration"]]
    mask |= configuration << nvml.NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_INCORRECT_CONFIGURATION
    v3 = nvml.c_nvmlGpuFabricInfo_v3_t, nvml.nvmlDeviceGetGpuFabricInfoV
    check("fabric health", mask, lambda: read(*v3).healthMask)
    check("fabric summary", FABRIC_SUMMARIES[health["summary"]], lambda: read(*v3).healthSummary)


def numbers(text):
    """The numbers of a list such as 0-55,112-167, as bits."""
    if isinstance(text, Absent):
        return text
    ranges = [part.split("-") for part in text.split(",")]
    return sum(1 << number for part in ranges for number in range(int(part[0]), int(part[-1]) + 1))


def place(check, gpu, handle, others):
    """Where the GPU sits, and what it is to each of the others."""
    words = lambda array: sum(word << 64 * position for position, word in enumerate(array))
    cpus = numbers(get(gpu, "topology.cpus"))
    check("cpus", cpus, lambda: words(nvml.nvmlDeviceGetCpuAffinity(handle, 8)))
    nodes = numbers(get(gpu, "topology.memory_nodes"))
    check("memory nodes", nodes, lambda: words(nvml.nvmlDeviceGetMemoryAffinity(handle, 2, nvml.NVML_AFFINITY_SCOPE_NODE)))
    path = get(gpu, "topology.path")
    for other, other_handle in others:
        theirs = get(other, "topology.path")
        shared = len(os.path.commonprefix([path, theirs]))
        near = [nvml.NVML_TOPOLOGY_SYSTEM, nvml.NVML_TOPOLOGY_NODE, nvml.NVML_TOPOLOGY_HOSTBRIDGE]
        inside = nvml.NVML_TOPOLOGY_SINGLE if path == theirs else nvml.NVML_TOPOLOGY_MULTIPLE
        level = near[shared] if shared < 3 else inside
        check("level", level, lambda: nvml.nvmlDeviceGetTopologyCommonAncestor(handle, other_handle))
        for name, capability in P2P_CAPABILITIES.items():
            status = P2P_STATUSES[gpu["topology"]["p2p"][name]]
            check(f"p2p {name}", status, lambda capability=capability: nvml.nvmlDeviceGetP2PStatus(handle, other_handle, capability))


def events(check, scenario, handles):
    """All planned events of the GPUs that are there, in the order of their time, and then none."""
    event_set = nvml.nvmlEventSetCreate()
    wanted_types = nvml.nvmlEventTypeXidCriticalError | nvml.nvmlEventTypeDoubleBitEccError
    wanted_types |= nvml.nvmlEventTypeGpuRecoveryAction
    for handle in handles.values():
        nvml.nvmlDeviceRegisterEvents(handle, wanted_types, event_set)
    planned = [event for event in scenario.get("event", []) if event["gpu"] in handles]
    for event in sorted(planned, key=lambda event: event["after_ms"]):
        kind = EVENT_KINDS[event.get("kind", "xid")]
        data = event.get("xid", event.get("data", 0))

        def wait(timeout=event["after_ms"] + 5000):
            got = nvml.nvmlEventSetWait_v2(event_set, timeout)
            return (nvml.nvmlDeviceGetIndex(got.device), got.eventType, got.eventData)

        check("event", (event["gpu"], kind, data), wait)
    check("no event", Absent(nvml.NVML_ERROR_TIMEOUT), lambda: nvml.nvmlEventSetWait_v2(event_set, 20))
    nvml.nvmlEventSetFree(event_set)


def confidential(check, table):
    absent = absence(table)

    def settings():
        read = nvml.c_nvmlSystemConfComputeSettings_v1_t()
        code = nvml.nvmlSystemGetConfComputeSettings(ctypes.byref(read))
        if code != nvml.NVML_SUCCESS:
            raise nvml.NVMLError(code)
        return [read.environment, read.ccFeature, read.devToolsMode, read.multiGpuMode]

    def state():
        read = nvml.nvmlSystemGetConfComputeState()
        return [read.environment, read.ccFeature, read.devToolsMode]

    wanted = None
    if not absent:
        wanted = [ENVIRONMENTS[table["environment"]], int(table["enabled"]), int(table["dev_tools"])]
    check("confidential", absent or wanted, state)
    check("confidential settings", absent or [*wanted, MULTI_GPU[table["multi_gpu"]]], settings)
    check("ready", absent or int(table["ready"]), nvml.nvmlSystemGetConfComputeGpusReadyState)


def compare(path):
    scenario = tomllib.loads(path.read_text())
    profile = read_profile(scenario["profile"])
    comparison = Comparison(path.name)
    os.environ["NVML_SIM_SCENARIO"] = str(path)
    node = merge(profile["node"], scenario.get("node", {}))
    refusal = node.get("init_error", node.get("faults", {}).get("*"))
    if refusal:
        comparison.same("init", Absent(error_number(refusal)), nvml.nvmlInit)
        return comparison
    nvml.nvmlInit()
    same = comparison.same
    same("driver", node["driver_version"], nvml.nvmlSystemGetDriverVersion)
    same("nvml", node["nvml_version"], nvml.nvmlSystemGetNVMLVersion)
    same("cuda", node["cuda_driver_version"], nvml.nvmlSystemGetCudaDriverVersion_v2)
    same("branch", node["driver_branch"], lambda: nvml.nvmlSystemGetDriverBranch().branch)
    confidential(same, node["confidential"])
    count = scenario.get("gpus", len(profile["slot"]))
    same("count", count, nvml.nvmlDeviceGetCount)
    own = {table["index"]: table for table in scenario.get("gpu", [])}
    handles = {}
    gpus = {}
    for index in range(count):
        layers = [slot(profile, index), scenario.get("all", {}), own.get(index, {})]
        gpu = profile["gpu"]
        for layer in layers:
            gpu = merge(gpu, layer)
        check = lambda what, expected, read, index=index: same(f"GPU {index}: {what}", expected, read)
        # What one with frames says depends on the moment.
        if "frames" in gpu:
            continue
        if gpu.get("lost"):
            lost = Absent(nvml.NVML_ERROR_GPU_IS_LOST)
            check("handle", lost, lambda: nvml.nvmlDeviceGetHandleByIndex(index))
            continue
        handle = handles[index] = nvml.nvmlDeviceGetHandleByIndex(index)
        gpus[index] = gpu
        identity(check, gpu, index, handle)
        memory(check, gpu, handle)
        load(check, gpu, handle)
        heat_and_power(check, gpu, handle)
        soundness(check, gpu, handle)
        links(check, gpu, handle)
    for index, gpu in gpus.items():
        check = lambda what, expected, read, index=index: same(f"GPU {index}: {what}", expected, read)
        place(check, gpu, handles[index], [(gpus[other], handles[other]) for other in gpus if other != index])
    events(same, scenario, handles)
    nvml.nvmlShutdown()
    same("after shutdown", Absent(nvml.NVML_ERROR_UNINITIALIZED), nvml.nvmlDeviceGetCount)
    return comparison


def everything():
    """The shipped scenarios, and each profile as it is and with sixteen GPUs."""
    results = [compare(path) for path in sorted((CRATE / "scenarios").glob("*.toml"))]
    with tempfile.TemporaryDirectory() as folder:
        for profile in sorted((CRATE / "profiles").glob("*.toml")):
            for count in ("", "gpus = 16\n"):
                plain = pathlib.Path(folder) / profile.name
                plain.write_text(f'profile = "{profile.stem}"\n{count}')
                results.append(compare(plain))
    return results


def main(arguments):
    try:
        ctypes.CDLL("libnvidia-ml.so.1").k8sGpuMcpSimulatorVersion
    except (OSError, AttributeError) as error:
        print(f"nvidia_ml_py: libnvidia-ml.so.1 is not the simulator: {error}", file=sys.stderr)
        return 2
    paths = [pathlib.Path(argument).resolve() for argument in arguments]
    results = [compare(path) for path in paths] if paths else everything()
    wrong = [line for result in results for line in result.wrong]
    for line in wrong:
        print(line, file=sys.stderr)
    compared = sum(result.compared for result in results)
    print(f"nvidia_ml_py: {len(results)} scenarios, {compared} values compared, {len(wrong)} off")
    return 1 if wrong or not compared else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
