"""Holds the simulator's profile of a board against a capture of that board: how a profile is corrected.

    python3 hold.py CAPTURE AGENT SIMULATOR [--profile NAME]

CAPTURE is a folder that `capture.py` wrote. The agent reads the simulator on the profile of that product (or NAME's, or what
the capture's capture.json has as `profile`), with as many GPUs, and each field of inventory, health and topology that is null in one and not in the other is printed, and each
value that differs and stands still: limits, thresholds, sizes, versions, links. What moves, what a board has been through and
what is its own (UUID, address, place) is compared for being there alone. Exit 1: something differs.
"""

import argparse
import collections
import json
import pathlib
import re
import sys
import tempfile

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.append(str(TESTS / "e2e/fields"))
import health  # noqa: E402
import inventory  # noqa: E402
from session import Session, whole  # noqa: E402

PROFILES = TESTS / "nvml-sim/profiles"
TOOLS = {"get_gpu_inventory": "gpus", "get_gpu_health": "gpus", "get_gpu_topology": "gpus"}

# Said of the reading, judged, this machine's own, or how its owner divided it: no matter of a profile.
LEFT_OUT = set(
    "simulated node nvml_library kernel_module absent error reason next_cursor verdict findings limits other_devices"
    " xids_considered compared_with_seconds_ago mig_profiles gpu_instances nics nics_left_out notes tree".split()
)
# Whether it is there belongs to the board; which it is, to one board alone.
OWN = re.compile(
    r"(^|\.)(uuid|serial|pci_address|board_id|module_id|minor_number|cpu_affinity|numa_affinity|host_numa_node|cluster_uuid"
    r"|clique_id|platform\.\w+)$"
)
LIVED = re.compile(
    r"\.errors\.|figures\.(ecc_(un)?corrected|sram_(un|thr)|remapp|memory_banks|retired_|repair_|pcie_\w+_errors|pcie_replays"
    r"|nvlink_(replays|recoveries|crc|failed)|recovery_action)|nvlinks\.erring"
)
MOVING = {path for table in (inventory, health) for path in table.MOVING}


def figures(value, path=""):
    """Each value by its path, with the number of the entry where it is in a list; an object is `there`, and what is in it."""
    nested = isinstance(value, dict) or isinstance(value, list) and any(isinstance(entry, dict) for entry in value)
    if nested:
        yield path, "there"
    if isinstance(value, dict):
        for key, below in value.items():
            if key not in LEFT_OUT:
                yield from figures(below, f"{path}.{key}" if path else key)
    elif nested:
        for number, entry in enumerate(value):
            yield from figures(entry, f"{path}[{number}]")
    else:
        yield path, value


def captured(folder, tool):
    """The last that was asked in full."""
    asked = json.loads((folder / f"{tool}.json").read_text())
    full = [answer for answer in asked if answer["arguments"].get("detail") == "full" and "pages" in answer]
    if not full:
        raise SystemExit(f"hold: {tool} was never answered in full in {folder}")
    return whole([page["structured"] for page in full[-1]["pages"]], TOOLS[tool])


def profile_of(product):
    """The profile with that name; what says no name is another's variant."""
    known = {}
    for path in sorted(PROFILES.glob("*.toml")):
        named = re.search(r'^name = "(.*)"$', path.read_text(), re.MULTILINE)
        if named:
            known[named[1]] = path.stem
    if product not in known:
        raise SystemExit(f"hold: no profile of {product!r}; there are those of {', '.join(known)}: name one with --profile")
    return known[product]


def simulated(agent, simulator, profile, count):
    """The same answers of the simulator on a profile."""
    with tempfile.TemporaryDirectory() as folder:
        scenario = pathlib.Path(folder, "scenario.toml")
        scenario.write_text(f'profile = "{profile}"\ngpus = {count}\n')
        command = [agent, "--nvml-mode", "simulated", "--nvml-library", simulator, "--ebpf", "off", "--kernel-log", "off"]
        command += ["--host-root", folder, "--socket", f"{folder}/no.sock"]
        session = Session(command, {"NVML_SIM_SCENARIO": str(scenario)})
        answers = {
            tool: whole([page for page, _ in session.pages(tool, {"detail": "full"})], lists) for tool, lists in TOOLS.items()
        }
        session.close()
        return answers


def differences(real, made):
    """How often each pair of values stands beside each other, by tool and field; and how many fields were compared."""
    found, compared = collections.Counter(), 0
    for tool in TOOLS:
        here, there = dict(figures(real[tool])), dict(figures(made[tool]))
        for path in {**here, **there}:
            field = re.sub(r"\[\d+\]", "[]", path)
            left, right = here.get(path), there.get(path)
            compared += 1
            free = field in MOVING or OWN.search(field) or LIVED.search(field)
            if left != right and (left is None or right is None or not free):
                # Of an object that one does not have, its fields say nothing more.
                if all(here.get(parent) == there.get(parent) for parent in parents(path)):
                    found[tool, field, json.dumps(left), json.dumps(right)] += 1
    return found, compared


def parents(path):
    while "." in path or "[" in path:
        path = path[: max(path.rfind("."), path.rfind("["))]
        yield path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("capture", type=pathlib.Path)
    parser.add_argument("agent")
    parser.add_argument("simulator")
    parser.add_argument("--profile", help="by its file's name; that of the product when left out")
    options = parser.parse_args()
    real = {tool: captured(options.capture, tool) for tool in TOOLS}
    gpus = real["get_gpu_inventory"]["gpus"]
    how = json.loads((options.capture / "capture.json").read_text())
    profile = options.profile or how.get("profile") or profile_of(gpus[0]["product"])
    found, compared = differences(real, simulated(options.agent, options.simulator, profile, len(gpus)))
    if found:
        print("| tool | field | captured | profile | times |\n| --- | --- | --- | --- | --- |")
    for (tool, field, left, right), times in found.items():
        print(f"| {tool} | `{field}` | {left} | {right} | {times} |")
    print(f"{gpus[0]['product']} against the profile {profile}: {compared} values compared, {len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
