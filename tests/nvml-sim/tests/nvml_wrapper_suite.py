#!/usr/bin/env python3
"""nvml-wrapper's own tests as a witness: which of them pass on the simulator, and why the others do not.

    LD_LIBRARY_PATH=<folder with the simulator as libnvidia-ml.so.1> python3 nvml_wrapper_suite.py [profile ...]

Copies the crate that this workspace uses out of cargo's registry into a folder that goes away again, builds its tests, which
takes a minute, and runs them on each profile. They were written on a desktop board and take what that answers for the only
answer, so two kinds of failure are as they should be: of a function that the simulator does not have (vGPU, accounting,
sessions of encoders, units, setters, and what nothing of ours reads), and of the tests in ABSENT. Exit: 0 when nothing else
fails.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

CRATE = pathlib.Path(__file__).resolve().parent.parent

# Tests that ask for what a data-centre board, idle and not divided, says it has not; drivers say it too.
ABSENT = {
    "device::test::accounting_stats_for": "no process to account for",
    "device::test::device_attributes": "of MIG devices only",
    "device::test::encoder_utilization": "a divided GPU has none",
    "device::test::decoder_utilization": "a divided GPU has none",
    "device::test::fan_speed": "no fan",
    "device::test::fan_speed_rpm": "no fan",
    "device::test::is_display_connected": "deprecated, a code that the wrapper does not know",
    "device::test::mig_device_by_index": "not divided",
    "device::test::mig_mode": "cannot be divided",
    "device::test::mig_parent_device": "not divided",
    "device::test::numa_node_id": "memory not coherent with the CPU",
    "device::test::process_utilization_stats": "no process",
    "device::test::supported_event_types_strict": "newer kinds of events than the wrapper knows",
    "device::test::temperature_threshold": "margins since Ada",
    "device::test::utilization_rates": "a divided GPU has none",
    "test::sys_process_name": "no process",
}


def build(folder):
    """The tests of the crate, as a program."""
    command = ["cargo", "metadata", "--format-version", "1"]
    packages = json.loads(subprocess.check_output(command, cwd=CRATE))["packages"]
    source = next(package for package in packages if package["name"] == "nvml-wrapper")["manifest_path"]
    copy = folder / "nvml-wrapper"
    shutil.copytree(pathlib.Path(source).parent, copy)
    # A workspace of its own, so that cargo looks for no other above it.
    with open(copy / "Cargo.toml", "a", encoding="utf-8") as manifest:
        manifest.write("\n[workspace]\n")
    command = ["cargo", "test", "--lib", "--no-run", "--message-format", "json"]
    built = subprocess.check_output(command, cwd=copy, env={**os.environ, "CARGO_TARGET_DIR": str(folder / "target")})
    messages = [json.loads(line) for line in built.splitlines()]
    return next(message["executable"] for message in messages if message.get("executable"))


def run(program, profile, folder):
    """How many passed, failed for want of a function, failed for want of hardware; and the names of the rest."""
    scenario = folder / f"{profile}.toml"
    scenario.write_text(f'profile = "{profile}"\n')
    environment = {**os.environ, "NVML_SIM_SCENARIO": str(scenario), "RUST_BACKTRACE": "0"}
    said = subprocess.run([program, "--test-threads", "4"], env=environment, capture_output=True, text=True).stdout
    reported = re.search(r"(\d+) passed; (\d+) failed", said)
    failures = re.findall(r"^---- (\S+) stdout ----\n(.*?)(?=^---- |^failures:)", said, re.MULTILINE | re.DOTALL)
    lacking = {name for name, why in failures if "undefined symbol" in why}
    absent = {name for name, _ in failures if name not in lacking and name in ABSENT}
    rest = sorted({name for name, _ in failures} - lacking - absent)
    if not reported or int(reported[2]) != len(failures):
        rest.append("the report, which this script does not understand")
    return int(reported[1]) if reported else 0, len(lacking), len(absent), rest


def main(profiles):
    profiles = profiles or sorted(path.stem for path in (CRATE / "profiles").glob("*.toml"))
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        program = build(folder)
        for profile in profiles:
            passed, lacking, absent, rest = run(program, profile, folder)
            wrong += len(rest)
            print(f"{profile}: {passed} passed, {lacking} of functions not simulated, {absent} of what the board has not; others: {rest or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
