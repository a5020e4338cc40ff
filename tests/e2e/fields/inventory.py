"""The fields of `get_gpu_inventory`, and NVIDIA's calls for each."""

import ctypes

import pynvml as nvml
from rows import Row, Told, between

TOOL = "get_gpu_inventory"
ARGUMENTS = {"detail": "full"}
PAGES = "gpus"

KIB, MIB = 1 << 10, 1 << 20


def explained(answer, entries, at):
    """Whether the GPU, or the node, names the field at this path in `absent`."""
    gpu = entries[0] if entries else answer
    field = at.removeprefix("gpus.").removeprefix("detail.")
    return any(field in group["fields"] for group in gpu["absent"])


def lost(entries):
    """Whether NVML refuses all of the GPU, which the answer then says."""
    try:
        _ = entries and handle(entries[0])
    except nvml.NVMLError:
        return entries[0]["error"] is not None
    return False


def handle(gpu):
    return nvml.nvmlDeviceGetHandleByIndex(gpu["index"])


def row(call, read, factor=1):
    """A field of a GPU."""
    return Row(call, lambda gpu: read(handle(gpu)), factor)


def plain(name, *arguments):
    """A field that one function has as it is."""
    return row(name, lambda device: getattr(nvml, name)(device, *arguments))


def flag(name):
    return row(name, lambda device: bool(getattr(nvml, name)(device)))


def named(name, names):
    return row(name, lambda device: names[getattr(nvml, name)(device)])


def member(name, member, *arguments, **options):
    """A field of a struct."""
    return row(f"{name} {member}", lambda device: getattr(getattr(nvml, name)(device, *arguments, **options), member))


def item(name, index, *, kind=lambda value: value):
    return row(f"{name} [{index}]", lambda device: kind(getattr(nvml, name)(device)[index]))


def memory(key):
    return member("nvmlDeviceGetMemoryInfo", key, version=nvml.nvmlMemory_v2)


def clock(name, domain):
    return plain(name, getattr(nvml, f"NVML_CLOCK_{domain}"))


# --- names that the agent gives to numbers ---------------------------------------------------------------------------------

BRANDS = {nvml.NVML_BRAND_NVIDIA: "NVIDIA", nvml.NVML_BRAND_TESLA: "Tesla", nvml.NVML_BRAND_QUADRO: "Quadro"}
ARCHITECTURES = {
    nvml.NVML_DEVICE_ARCH_TURING: "Turing",
    nvml.NVML_DEVICE_ARCH_AMPERE: "Ampere",
    nvml.NVML_DEVICE_ARCH_ADA: "Ada",
    nvml.NVML_DEVICE_ARCH_HOPPER: "Hopper",
    nvml.NVML_DEVICE_ARCH_BLACKWELL: "Blackwell",
    nvml.NVML_DEVICE_ARCH_RUBIN: "Rubin",
}
COMPUTE_MODES = {
    nvml.NVML_COMPUTEMODE_DEFAULT: "default",
    nvml.NVML_COMPUTEMODE_PROHIBITED: "prohibited",
    nvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS: "exclusive_process",
}
VIRTUALIZATION = {
    nvml.NVML_GPU_VIRTUALIZATION_MODE_NONE: "none",
    nvml.NVML_GPU_VIRTUALIZATION_MODE_PASSTHROUGH: "passthrough",
    nvml.NVML_GPU_VIRTUALIZATION_MODE_VGPU: "vgpu",
    nvml.NVML_GPU_VIRTUALIZATION_MODE_HOST_VGPU: "host_vgpu",
    nvml.NVML_GPU_VIRTUALIZATION_MODE_HOST_VSGA: "host_vsga",
}
HOST_VGPU = {nvml.NVML_HOST_VGPU_MODE_NON_SRIOV: "non_sriov", nvml.NVML_HOST_VGPU_MODE_SRIOV: "sriov"}
FABRIC_STATES = {
    nvml.NVML_GPU_FABRIC_STATE_NOT_SUPPORTED: "not_supported",
    nvml.NVML_GPU_FABRIC_STATE_NOT_STARTED: "not_started",
    nvml.NVML_GPU_FABRIC_STATE_IN_PROGRESS: "in_progress",
    nvml.NVML_GPU_FABRIC_STATE_COMPLETED: "completed",
}
NVLINK_VERSIONS = {1: "1.0", 2: "2.0", 3: "2.2", 4: "3.0", 5: "3.1", 6: "4.0", 7: "5.0"}
ENVIRONMENTS = {
    nvml.NVML_CC_SYSTEM_ENVIRONMENT_UNAVAILABLE: "unavailable",
    nvml.NVML_CC_SYSTEM_ENVIRONMENT_SIM: "simulation",
    nvml.NVML_CC_SYSTEM_ENVIRONMENT_PROD: "production",
}
MULTI_GPU = {
    nvml.NVML_CC_SYSTEM_MULTIGPU_NONE: "none",
    nvml.NVML_CC_SYSTEM_MULTIGPU_PROTECTED_PCIE: "protected_pcie",
    nvml.NVML_CC_SYSTEM_MULTIGPU_NVLE: "nvle",
}

# --- calls that need more than a line --------------------------------------------------------------------------------------


def lower_pci_address(device):
    """The kernel writes four digits of domain, in lower case."""
    info = nvml.nvmlDeviceGetPciInfo(device)
    return f"{info.domain:04x}:{info.bus:02x}:{info.device:02x}.0"


def bits(words):
    return [64 * at + bit for at, word in enumerate(words) for bit in range(64) if word >> bit & 1]


def ranges(numbers):
    runs = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def host_node(device):
    """The one node that is near; the kernel is asked where there are several, and it is not here."""
    (node,) = bits(nvml.nvmlDeviceGetMemoryAffinity(device, 64, nvml.NVML_AFFINITY_SCOPE_NODE))
    return node


def link_count(device):
    value = nvml.nvmlDeviceGetFieldValues(device, [nvml.NVML_FI_DEV_NVLINK_LINK_COUNT])[0]
    if value.nvmlReturn != nvml.NVML_SUCCESS:
        raise nvml.NVMLError(value.nvmlReturn)
    return value.value.uiVal


def link_states(device):
    return [nvml.nvmlDeviceGetNvLinkState(device, link) for link in range(link_count(device))]


def fabric(device):
    info = nvml.c_nvmlGpuFabricInfo_t()
    nvml.nvmlDeviceGetGpuFabricInfo(device, ctypes.byref(info))
    return info


def of_fabric(name, value):
    """Says nothing before the registration is completed."""

    def read(device):
        info = fabric(device)
        return value(info) if info.state == nvml.NVML_GPU_FABRIC_STATE_COMPLETED else None

    return row(f"nvmlDeviceGetGpuFabricInfo {name}", read)


def cluster(info):
    digits = bytes(info.clusterUuid).hex()
    return "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])


def of_platform(name, value):
    def read(device):
        info = nvml.c_nvmlPlatformInfo_v2_t()
        nvml.nvmlDeviceGetPlatformInfo(device, ctypes.byref(info))
        return value(bytes(info))

    return row(f"nvmlDeviceGetPlatformInfo {name}", read)


def of_settings(name, value):
    def read():
        settings = nvml.c_nvmlSystemConfComputeSettings_v1_t()
        code = nvml.nvmlSystemGetConfComputeSettings(ctypes.byref(settings))
        if code != nvml.NVML_SUCCESS:
            raise nvml.NVMLError(code)
        return value(settings)

    return Row(f"nvmlSystemGetConfComputeSettings {name}", read)


def cuda_version():
    version = nvml.nvmlSystemGetCudaDriverVersion_v2()
    return f"{version // 1000}.{version % 1000 // 10}"


# --- MIG -------------------------------------------------------------------------------------------------------------------


def profiles(device):
    for number in range(nvml.NVML_GPU_INSTANCE_PROFILE_COUNT):
        try:
            yield nvml.nvmlDeviceGetGpuInstanceProfileInfo(device, number)
        except nvml.NVMLError:
            continue


def gpu_instances(device):
    """Each GPU instance by its id: what NVML says of it, and its profile."""
    found = {}
    if not nvml.nvmlDeviceGetMigMode(device)[0]:
        return found
    for profile in profiles(device):
        room, count = (nvml.c_nvmlGpuInstance_t * profile.instanceCount)(), ctypes.c_uint()
        nvml.nvmlDeviceGetGpuInstances(device, profile.id, room, ctypes.byref(count))
        for instance in room[: count.value]:
            info = nvml.nvmlGpuInstanceGetInfo(instance)
            found[info.id] = (info, profile)
    return found


def mig_devices(device, instance=None):
    """The MIG devices by their index, those of one GPU instance or all."""
    found = {}
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(device)):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(device, index)
        except nvml.NVMLError_NotFound:
            continue
        if instance is None or nvml.nvmlDeviceGetGpuInstanceId(part) == instance:
            found[index] = part
    return found


def of_instance(name, value):
    """Of a GPU instance."""
    return Row(name, lambda gpu, instance: value(gpu_instances(handle(gpu))[instance["id"]]))


def instance_memory(key):
    def read(gpu, instance):
        parts = list(mig_devices(handle(gpu), instance["id"]).values())
        if not parts:
            raise nvml.NVMLError(nvml.NVML_ERROR_NOT_FOUND)
        return getattr(nvml.nvmlDeviceGetMemoryInfo(parts[0], version=nvml.nvmlMemory_v2), key)

    return Row(f"nvmlDeviceGetMemoryInfo {key} of a MIG device", read)


def of_compute(name, value):
    """Of a compute instance."""

    def read(gpu, instance, compute):
        return value(mig_devices(handle(gpu), instance["id"])[compute["mig_index"]])

    return Row(f"{name} of a MIG device", read)


def profile_names(device):
    instances = gpu_instances(device)
    return [instances[id][1].name.removeprefix("MIG ") for id in sorted(instances)]


TREE = "gpus[].detail.mig.gpu_instances[]"

FIELDS = {
    "simulated": Told("what the agent was started with"),
    "node": Told("the node's name"),
    "nvml_library": Told("the path it was loaded by"),
    "kernel_module.flavour": Told("/proc/driver/nvidia/version"),
    "kernel_module.version": Told("/proc/driver/nvidia/version"),
    "absent[]": Told("reasons"),
    "absent[].fields": Told("reasons"),
    "absent[].reason": Told("reasons"),
    "absent[].by_design": Told("reasons"),
    "next_cursor": Told("paging"),
    "driver_version": Row("nvmlSystemGetDriverVersion", nvml.nvmlSystemGetDriverVersion),
    "nvml_version": Row("nvmlSystemGetNVMLVersion", nvml.nvmlSystemGetNVMLVersion),
    "cuda_version": Row("nvmlSystemGetCudaDriverVersion_v2", cuda_version),
    "gpu_count": Row("nvmlDeviceGetCount", nvml.nvmlDeviceGetCount),
    "confidential_computing.environment": of_settings("environment", lambda s: ENVIRONMENTS[s.environment]),
    "confidential_computing.enabled": of_settings("ccFeature", lambda s: bool(s.ccFeature)),
    "confidential_computing.dev_tools": of_settings("devToolsMode", lambda s: bool(s.devToolsMode)),
    "confidential_computing.multi_gpu": of_settings("multiGpuMode", lambda s: MULTI_GPU[s.multiGpuMode]),
    "confidential_computing.gpus_ready": Row(
        "nvmlSystemGetConfComputeGpusReadyState", lambda: bool(nvml.nvmlSystemGetConfComputeGpusReadyState())
    ),
    "gpus[]": Row("nvmlDeviceGetCount", nvml.nvmlDeviceGetCount),
    "gpus[].absent[]": Told("reasons"),
    "gpus[].absent[].fields": Told("reasons"),
    "gpus[].absent[].reason": Told("reasons"),
    "gpus[].absent[].by_design": Told("reasons"),
    "gpus[].error": Told("what the agent makes of refusals"),
    "gpus[].index": plain("nvmlDeviceGetIndex"),
    "gpus[].pci_address": row("nvmlDeviceGetPciInfo domain, bus, device", lower_pci_address),
    "gpus[].uuid": plain("nvmlDeviceGetUUID"),
    "gpus[].product": plain("nvmlDeviceGetName"),
    "gpus[].memory_total_bytes": memory("total"),
    "gpus[].memory_used_bytes": memory("used"),
    "gpus[].temperature_celsius": plain("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
    "gpus[].power_mw": plain("nvmlDeviceGetPowerUsage"),
    "gpus[].power_limit_mw": plain("nvmlDeviceGetEnforcedPowerLimit"),
    "gpus[].gpu_utilization_percent": member("nvmlDeviceGetUtilizationRates", "gpu"),
    "gpus[].mig_enabled": item("nvmlDeviceGetMigMode", 0, kind=bool),
    "gpus[].mig_profiles": row("nvmlDeviceGetGpuInstances, nvmlDeviceGetGpuInstanceProfileInfo name", profile_names),
    "gpus[].ecc_enabled": item("nvmlDeviceGetEccMode", 0, kind=bool),
    "gpus[].detail.brand": named("nvmlDeviceGetBrand", BRANDS),
    "gpus[].detail.architecture": named("nvmlDeviceGetArchitecture", ARCHITECTURES),
    "gpus[].detail.compute_capability": row(
        "nvmlDeviceGetCudaComputeCapability",
        lambda d: "{}.{}".format(*nvml.nvmlDeviceGetCudaComputeCapability(d)),
    ),
    "gpus[].detail.cuda_cores": plain("nvmlDeviceGetNumGpuCores"),
    "gpus[].detail.serial": plain("nvmlDeviceGetSerial"),
    "gpus[].detail.board_part_number": plain("nvmlDeviceGetBoardPartNumber"),
    "gpus[].detail.board_id": row("nvmlDeviceGetBoardId", lambda d: f"{nvml.nvmlDeviceGetBoardId(d):#x}"),
    "gpus[].detail.module_id": plain("nvmlDeviceGetModuleId"),
    "gpus[].detail.vbios_version": plain("nvmlDeviceGetVbiosVersion"),
    "gpus[].detail.inforom_image_version": plain("nvmlDeviceGetInforomImageVersion"),
    "gpus[].detail.gsp_firmware_version": plain("nvmlDeviceGetGspFirmwareVersion"),
    "gpus[].detail.gsp_firmware_enabled": item("nvmlDeviceGetGspFirmwareMode", 0, kind=bool),
    "gpus[].detail.gsp_firmware_default": item("nvmlDeviceGetGspFirmwareMode", 1, kind=bool),
    "gpus[].detail.pci_device_id": row(
        "nvmlDeviceGetPciInfo pciDeviceId", lambda d: f"0x{nvml.nvmlDeviceGetPciInfo(d).pciDeviceId:08X}"
    ),
    "gpus[].detail.pci_subsystem_id": row(
        "nvmlDeviceGetPciInfo pciSubSystemId", lambda d: f"0x{nvml.nvmlDeviceGetPciInfo(d).pciSubSystemId:08X}"
    ),
    "gpus[].detail.minor_number": plain("nvmlDeviceGetMinorNumber"),
    "gpus[].detail.memory_reserved_bytes": memory("reserved"),
    "gpus[].detail.memory_free_bytes": memory("free"),
    "gpus[].detail.memory_bus_width_bits": plain("nvmlDeviceGetMemoryBusWidth"),
    "gpus[].detail.bar1_total_bytes": member("nvmlDeviceGetBAR1MemoryInfo", "bar1Total"),
    "gpus[].detail.bar1_used_bytes": member("nvmlDeviceGetBAR1MemoryInfo", "bar1Used"),
    "gpus[].detail.bar1_free_bytes": member("nvmlDeviceGetBAR1MemoryInfo", "bar1Free"),
    "gpus[].detail.protected_memory_total_bytes": member("nvmlDeviceGetConfComputeProtectedMemoryUsage", "total"),
    "gpus[].detail.protected_memory_used_bytes": member("nvmlDeviceGetConfComputeProtectedMemoryUsage", "used"),
    "gpus[].detail.power_limit_default_mw": plain("nvmlDeviceGetPowerManagementDefaultLimit"),
    "gpus[].detail.power_limit_requested_mw": plain("nvmlDeviceGetPowerManagementLimit"),
    "gpus[].detail.power_limit_min_mw": item("nvmlDeviceGetPowerManagementLimitConstraints", 0),
    "gpus[].detail.power_limit_max_mw": item("nvmlDeviceGetPowerManagementLimitConstraints", 1),
    "gpus[].detail.graphics_clock_mhz": clock("nvmlDeviceGetClockInfo", "GRAPHICS"),
    "gpus[].detail.graphics_clock_max_mhz": clock("nvmlDeviceGetMaxClockInfo", "GRAPHICS"),
    "gpus[].detail.sm_clock_mhz": clock("nvmlDeviceGetClockInfo", "SM"),
    "gpus[].detail.sm_clock_max_mhz": clock("nvmlDeviceGetMaxClockInfo", "SM"),
    "gpus[].detail.memory_clock_mhz": clock("nvmlDeviceGetClockInfo", "MEM"),
    "gpus[].detail.memory_clock_max_mhz": clock("nvmlDeviceGetMaxClockInfo", "MEM"),
    "gpus[].detail.video_clock_mhz": clock("nvmlDeviceGetClockInfo", "VIDEO"),
    "gpus[].detail.video_clock_max_mhz": clock("nvmlDeviceGetMaxClockInfo", "VIDEO"),
    "gpus[].detail.memory_utilization_percent": member("nvmlDeviceGetUtilizationRates", "memory"),
    "gpus[].detail.pcie_generation": plain("nvmlDeviceGetCurrPcieLinkGeneration"),
    "gpus[].detail.pcie_generation_max": plain("nvmlDeviceGetMaxPcieLinkGeneration"),
    "gpus[].detail.pcie_device_generation_max": plain("nvmlDeviceGetGpuMaxPcieLinkGeneration"),
    "gpus[].detail.pcie_width": plain("nvmlDeviceGetCurrPcieLinkWidth"),
    "gpus[].detail.pcie_width_max": plain("nvmlDeviceGetMaxPcieLinkWidth"),
    "gpus[].detail.numa_node": plain("nvmlDeviceGetNumaNodeId"),
    "gpus[].detail.host_numa_node": row("nvmlDeviceGetMemoryAffinity", host_node),
    "gpus[].detail.cpu_affinity": row("nvmlDeviceGetCpuAffinity", lambda d: ranges(bits(nvml.nvmlDeviceGetCpuAffinity(d, 64)))),
    "gpus[].detail.persistence_mode": flag("nvmlDeviceGetPersistenceMode"),
    "gpus[].detail.compute_mode": named("nvmlDeviceGetComputeMode", COMPUTE_MODES),
    "gpus[].detail.display_active": flag("nvmlDeviceGetDisplayActive"),
    "gpus[].detail.display_mode": flag("nvmlDeviceGetDisplayMode"),
    "gpus[].detail.ecc_pending": item("nvmlDeviceGetEccMode", 1, kind=bool),
    "gpus[].detail.virtualization_mode": named("nvmlDeviceGetVirtualizationMode", VIRTUALIZATION),
    "gpus[].detail.host_vgpu_mode": named("nvmlDeviceGetHostVgpuMode", HOST_VGPU),
    "gpus[].detail.nvlink.link_count": row("nvmlDeviceGetFieldValues NVLINK_LINK_COUNT", link_count),
    "gpus[].detail.nvlink.version": row(
        "nvmlDeviceGetNvLinkVersion", lambda d: NVLINK_VERSIONS[nvml.nvmlDeviceGetNvLinkVersion(d, 0)]
    ),
    "gpus[].detail.nvlink.up": row("nvmlDeviceGetNvLinkState", lambda d: link_states(d).count(1)),
    "gpus[].detail.nvlink.down": row("nvmlDeviceGetNvLinkState", lambda d: link_states(d).count(0)),
    "gpus[].detail.fabric.state": row("nvmlDeviceGetGpuFabricInfo state", lambda d: FABRIC_STATES[fabric(d).state]),
    "gpus[].detail.fabric.status": of_fabric("status", lambda info: info.status),
    "gpus[].detail.fabric.clique_id": of_fabric("cliqueId", lambda info: info.cliqueId),
    "gpus[].detail.fabric.cluster_uuid": of_fabric("clusterUuid", cluster),
    "gpus[].detail.platform.ib_guid": of_platform("ibGuid", lambda raw: raw[4:20].hex()),
    "gpus[].detail.platform.chassis_serial": of_platform(
        "chassisSerialNumber", lambda raw: raw[20:36].rstrip(b"\0").decode()
    ),
    "gpus[].detail.platform.slot_number": of_platform("slotNumber", lambda raw: raw[36]),
    "gpus[].detail.platform.tray_index": of_platform("trayIndex", lambda raw: raw[37]),
    "gpus[].detail.platform.host_id": of_platform("hostId", lambda raw: raw[38]),
    "gpus[].detail.platform.peer_type": of_platform("peerType", lambda raw: raw[39]),
    "gpus[].detail.platform.module_id": of_platform("moduleId", lambda raw: raw[40]),
    "gpus[].detail.mig.enabled": item("nvmlDeviceGetMigMode", 0, kind=bool),
    "gpus[].detail.mig.pending": item("nvmlDeviceGetMigMode", 1, kind=bool),
    "gpus[].detail.mig.devices_max": row(
        "nvmlDeviceGetMaxMigDeviceCount",
        lambda d: nvml.nvmlDeviceGetMigMode(d) and nvml.nvmlDeviceGetMaxMigDeviceCount(d),
    ),
    TREE: row("nvmlDeviceGetGpuInstances", lambda d: len(gpu_instances(d))),
    f"{TREE}.id": of_instance("nvmlGpuInstanceGetInfo id", lambda found: found[0].id),
    f"{TREE}.profile": of_instance(
        "nvmlDeviceGetGpuInstanceProfileInfo name", lambda found: found[1].name.removeprefix("MIG ")
    ),
    f"{TREE}.placement_start": of_instance("nvmlGpuInstanceGetInfo placement.start", lambda f: f[0].placement.start),
    f"{TREE}.placement_size": of_instance("nvmlGpuInstanceGetInfo placement.size", lambda f: f[0].placement.size),
    f"{TREE}.memory_total_bytes": instance_memory("total"),
    f"{TREE}.memory_used_bytes": instance_memory("used"),
    f"{TREE}.memory_reserved_bytes": instance_memory("reserved"),
    f"{TREE}.memory_free_bytes": instance_memory("free"),
    f"{TREE}.compute_instances[]": Row(
        "nvmlDeviceGetMigDeviceHandleByIndex", lambda gpu, instance: len(mig_devices(handle(gpu), instance["id"]))
    ),
    f"{TREE}.compute_instances[].id": of_compute("nvmlDeviceGetComputeInstanceId", nvml.nvmlDeviceGetComputeInstanceId),
    f"{TREE}.compute_instances[].mig_index": Row(
        "nvmlDeviceGetMigDeviceHandleByIndex",
        lambda gpu, instance, compute: next(
            index
            for index, part in mig_devices(handle(gpu), instance["id"]).items()
            if nvml.nvmlDeviceGetComputeInstanceId(part) == compute["id"]
        ),
    ),
    f"{TREE}.compute_instances[].uuid": of_compute("nvmlDeviceGetUUID", nvml.nvmlDeviceGetUUID),
    f"{TREE}.compute_instances[].sm_count": of_compute(
        "nvmlDeviceGetAttributes multiprocessorCount", lambda d: nvml.nvmlDeviceGetAttributes(d).multiprocessorCount
    ),
    f"{TREE}.compute_instances[].slices": of_compute(
        "nvmlDeviceGetAttributes computeInstanceSliceCount",
        lambda d: nvml.nvmlDeviceGetAttributes(d).computeInstanceSliceCount,
    ),
}

# What moves while nobody changes anything.
MOVING = dict.fromkeys(
    [
        "gpus[].memory_used_bytes",
        "gpus[].temperature_celsius",
        "gpus[].power_mw",
        "gpus[].gpu_utilization_percent",
        "gpus[].detail.memory_free_bytes",
        "gpus[].detail.bar1_used_bytes",
        "gpus[].detail.bar1_free_bytes",
        "gpus[].detail.protected_memory_used_bytes",
        "gpus[].detail.graphics_clock_mhz",
        "gpus[].detail.sm_clock_mhz",
        "gpus[].detail.memory_clock_mhz",
        "gpus[].detail.video_clock_mhz",
        "gpus[].detail.memory_utilization_percent",
        "gpus[].detail.pcie_generation",
        f"{TREE}.memory_used_bytes",
        f"{TREE}.memory_free_bytes",
    ],
    between,
)
