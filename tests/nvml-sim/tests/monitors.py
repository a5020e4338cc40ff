#!/usr/bin/env python3
"""Monitors that people run, as witnesses: nvitop, gpustat and nvtop show of each profile what it says.

    LD_LIBRARY_PATH=<folder with the simulator as libnvidia-ml.so.1> python3 monitors.py nvitop|gpustat|nvtop

Needs Python 3.11, nvidia-ml-py, and the monitor. Each profile is shown in a process of its own, with this script's process
running on its first GPU. Exit: 0 when all is shown as it should be, 1 when not.
"""

import fcntl
import os
import pathlib
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time

import nvidia_ml_py as own

USED_BYTES = 5 << 30
MIB = 1 << 20
# A monitor that shows nothing for so long never will.
PATIENCE_S = 20


def or_none(value):
    return None if isinstance(value, own.Absent) else value


def gpus(profile):
    """What is to be seen: each GPU as its profile has it, the first with a process on it."""
    table = own.read_profile(profile)
    for index in range(len(table["slot"])):
        gpu = own.merge(table["gpu"], own.slot(table, index))
        yield index, own.merge(gpu, {"memory": {"used_bytes": USED_BYTES}}) if index == 0 else gpu


def scenario(profile, pid):
    divided = own.read_profile(profile)["gpu"].get("mig")
    place = ""
    if isinstance(divided, dict) and divided["enabled"]:
        place = f"mig = {{ gpu_instance = {divided['instances'][0]['id']}, compute_instance = 0 }}"
    return f"""profile = "{profile}"
[[gpu]]
index = 0
memory.used_bytes = {USED_BYTES}
[[gpu.processes]]
pid = {pid}
name = "python3"
used_bytes = {USED_BYTES}
{place}
"""


def address(gpu):
    domain, rest = gpu["pci"]["address"].split(":", 1)
    return f"{int(domain, 16):08X}:{rest.upper()}"


def uuid(gpu, index):
    return f"GPU-{gpu['pci']['device_id']:08x}-0000-4000-8000-{index:012x}"


def see_gpustat(profile, pid):
    import gpustat

    shown = gpustat.GPUStatCollection.new_query()
    for index, gpu in gpus(profile):
        fans = gpu["thermal"]["fans"]
        yield index, {
            "index": index,
            "uuid": uuid(gpu, index),
            "name": gpu["identity"]["name"],
            "temperature.gpu": or_none(own.get(gpu, "thermal.gpu_celsius")),
            "fan.speed": or_none(fans[0]["speed_percent"]) if fans else None,
            "utilization.gpu": or_none(own.get(gpu, "utilization.gpu_percent")),
            "power.draw": own.get(gpu, "power.usage_mw") // 1000,
            "enforced.power.limit": own.get(gpu, "power.enforced_limit_mw") // 1000,
            "memory.used": gpu["memory"]["used_bytes"] // MIB,
            "memory.total": gpu["memory"]["total_bytes"] // MIB,
            "processes": [pid] if index == 0 else [],
        }, {
            **{key: shown[index].entry[key] for key in shown[index].keys() if key != "processes"},
            "processes": [process["pid"] for process in shown[index].processes],
        }
    assert len(shown) == index + 1, f"{len(shown)} GPUs"


def see_nvitop(profile, pid):
    import nvitop

    def there(value):
        return None if value == nvitop.NA else value

    devices = nvitop.Device.all()
    for index, gpu in gpus(profile):
        device = devices[index]
        divided = isinstance(gpu["mig"], dict) and gpu["mig"]["enabled"]
        expected = {
            "name": gpu["identity"]["name"],
            "uuid": uuid(gpu, index),
            "bus_id": address(gpu),
            "memory_total": gpu["memory"]["total_bytes"],
            "memory_used": gpu["memory"]["used_bytes"],
            "temperature": or_none(own.get(gpu, "thermal.gpu_celsius")),
            "power_usage": own.get(gpu, "power.usage_mw"),
            "power_limit": own.get(gpu, "power.requested_limit_mw"),
            "gpu_utilization": or_none(own.get(gpu, "utilization.gpu_percent")),
            "sm_clock": own.get(gpu, "clocks.current.sm_mhz"),
            "max_memory_clock": own.get(gpu, "clocks.max.memory_mhz"),
            "is_mig_mode_enabled": divided,
        }
        seen = {key: there(getattr(device, key)()) for key in expected}
        expected["parts"] = [part["id"] for part in gpu["mig"]["instances"]] if divided else []
        seen["parts"] = [part.gpu_instance_id() for part in device.mig_devices()]
        expected["processes"] = [pid] if index == 0 else []
        seen["processes"] = list(device.processes())
        yield index, expected, seen
    assert len(devices) == index + 1, f"{len(devices)} GPUs"
    # And what it prints of all that.
    printed = subprocess.run([sys.executable, "-m", "nvitop", "-1"], capture_output=True, text=True)
    names = len(re.findall(r"^[|│]\s+\d+\s+\S", printed.stdout, re.MULTILINE))
    yield "the table", (0, ""), (printed.returncode, printed.stderr)
    yield "rows of the table", True, names >= len(devices)


def see_nvtop(profile, _):
    """It draws on a terminal only. What it draws first has a line of each GPU."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm"
        # Before it begins: it draws all anew when its window changes.
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 120, 200, 0, 0))
        os.execvp("nvtop", ["nvtop", "--no-plot", "--no-color"])
    wanted = [
        tuple(
            str(figure)
            for figure in (
                own.get(gpu, "clocks.current.graphics_mhz"),
                own.get(gpu, "clocks.current.memory_mhz"),
                own.get(gpu, "thermal.gpu_celsius"),
                own.get(gpu, "power.usage_mw") // 1000,
                own.get(gpu, "power.enforced_limit_mw") // 1000,
            )
        )
        for _, gpu in gpus(profile)
    ]
    drawn, deadline, lines, text = b"", time.monotonic() + PATIENCE_S, [], ""
    while time.monotonic() < deadline and len(lines) < len(wanted):
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            drawn += os.read(terminal, 1 << 16)
        except OSError:
            break
        text = re.sub(r"\x1b(\[[0-9;?]*[a-zA-Z]|\(B|[=>])", " ", drawn.decode(errors="replace"))
        lines = re.findall(r"GPU\s+(\d+)MHz\s+MEM\s+(\d+)MHz\s+TEMP\s+(\d+).*?POW\s+(\d+)\s*/\s*(\d+)(?=[\sW])", text)
    os.write(terminal, b"q")
    # It ends when it has said good-bye to the terminal, which somebody has to read.
    try:
        while os.read(terminal, 1 << 16):
            pass
    except OSError:
        pass
    yield "exit", 0, os.waitpid(child, 0)[1]
    yield "figures", wanted, lines
    yield "name", len(wanted), text.count(f"[{next(gpus(profile))[1]['identity']['name']}]")


SEE = {"gpustat": see_gpustat, "nvitop": see_nvitop, "nvtop": see_nvtop}


def one(monitor, profile, pid):
    """In a process of its own: shows a profile and compares."""
    wrong = 0
    for what, expected, seen in SEE[monitor](profile, pid):
        if isinstance(expected, dict):
            pairs = [(key, value, seen[key]) for key, value in expected.items()]
        else:
            pairs = [("", expected, seen)]
        for key, value, shown in pairs:
            if value != shown:
                wrong += 1
                print(f"{profile}: {what} {key}: expected {value!r}, {monitor} shows {shown!r}", file=sys.stderr)
    return 1 if wrong else 0


def main(monitor):
    profiles = sorted(path.stem for path in (own.CRATE / "profiles").glob("*.toml"))
    with tempfile.TemporaryDirectory() as folder:
        shown = {}
        for profile in profiles:
            path = pathlib.Path(folder) / f"{profile}.toml"
            path.write_text(scenario(profile, os.getpid()))
            command = [sys.executable, __file__, monitor, profile, str(os.getpid())]
            # A home of its own: monitors keep their settings there.
            shown[profile] = subprocess.Popen(command, env={**os.environ, "NVML_SIM_SCENARIO": str(path), "HOME": folder})
        failed = [profile for profile, process in shown.items() if process.wait()]
    print(f"monitors: {monitor}: {len(profiles)} profiles, not as they should be: {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(one(*sys.argv[1:3], int(sys.argv[3])) if len(sys.argv) == 4 else main(sys.argv[1]))
