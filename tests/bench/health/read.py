"""The reads of one answer of `get_gpu_health` by NVIDIA's Python binding, GPU by GPU.

For each line on stdin all GPUs are read once, and the nanoseconds that took are printed. `raw.rs` beside this makes the same calls; the
benchmark holds both against what the agent calls.
"""

import ctypes
import sys
import time

import pynvml as nvml

OF_GPU = [1, 2, 3, 4, 6, 12, 29, 30, 31, 82, 91, 94, 142, 143, 144, 145, 147, 173, 179, 180, 230]
SLOWDOWN = [269, 270, 271]
OF_LINK = [161, 162, 163, 165]
LATER_LINK = [214, 215]
LINKS = 18


def first_of_fields(device):
    links = [(number, 0) for number in OF_LINK + LATER_LINK]
    nvml.nvmlDeviceGetFieldValues(device, OF_GPU + SLOWDOWN + links)


def rest_of_fields(device):
    links = [(number, link) for link in range(1, LINKS) for number in OF_LINK]
    nvml.nvmlDeviceGetFieldValues(device, links)


def sram(device):
    nvml.nvmlDeviceGetSramEccErrorStatus(device, ctypes.byref(nvml.c_nvmlEccSramErrorStatus_v1_t()))


def fabric(device):
    nvml.nvmlDeviceGetGpuFabricInfoV(device, ctypes.byref(nvml.c_nvmlGpuFabricInfo_v3_t()))


READS = [
    first_of_fields,
    sram,
    nvml.nvmlDeviceGetRowRemapperHistogram,
    nvml.nvmlDeviceGetRepairStatus,
    nvml.nvmlDeviceGetMarginTemperature,
    lambda device: nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU),
    nvml.nvmlDeviceGetCurrentClocksEventReasons,
    nvml.nvmlDeviceGetNumFans,
    nvml.nvmlDeviceGetVirtualizationMode,
    nvml.nvmlDeviceGetCurrPcieLinkGeneration,
    nvml.nvmlDeviceGetMaxPcieLinkGeneration,
    nvml.nvmlDeviceGetCurrPcieLinkWidth,
    nvml.nvmlDeviceGetMaxPcieLinkWidth,
    nvml.nvmlDeviceGetGpuMaxPcieLinkGeneration,
    rest_of_fields,
    fabric,
    nvml.nvmlDeviceGetUtilizationRates,
    nvml.nvmlDeviceGetMigMode,
    nvml.nvmlDeviceValidateInforom,
]


def read_all():
    for index in range(nvml.nvmlDeviceGetCount()):
        device = nvml.nvmlDeviceGetHandleByIndex(index)
        for read in READS:
            try:
                read(device)
            except nvml.NVMLError_NotSupported:
                pass


nvml.nvmlInit()
for _ in sys.stdin:
    begun = time.perf_counter_ns()
    read_all()
    print(time.perf_counter_ns() - begun, flush=True)
