"""Holds a tool's answer against nvidia-ml-py reading the same library, field by field.

usage: LD_LIBRARY_PATH=<folder of the simulator> compare.py AGENT SIMULATOR TABLE [scenario.toml ...]
       compare.py AGENT real TABLE

TABLE is a module beside this one, such as `inventory`: which tool, asked for what, and for each field of its answer the call
of NVIDIA's Python binding that has the same value and the unit it comes in. Without scenarios all profiles and all scenarios
of the simulator that have a driver are read, those dropped into its folders too.

What holds: each field of the tool's outputSchema is in the table, and no other; each value of the answer is that of the
call; where the call refuses, the answer has null and names the field in `absent`; each list has as many entries as NVML
says. Exit 0: all held. With `--rows` each row is printed with the number of values that were compared.

`real` is the driver's library, of this machine. There figures move between two readings: those in the table's `MOVING` are
accepted when the call's lies between two answers, from before and after it, with some slack; which were is printed.
`--loosely` has that with the simulator too, as scenarios whose figures move have.
"""

import collections
import importlib
import os
import pathlib
import re
import sys
import tempfile

import pynvml as nvml
from rows import Row, Told
from session import Session, whole

REAL = "real"
TRIES = 3
SIMULATOR = pathlib.Path(__file__).resolve().parents[2] / "nvml-sim"


def session(agent, library, scenario, folder):
    """An agent that reads the library that this process reads, by itself, whatever recorder this machine has."""
    command = [agent, "--ebpf", "off", "--kernel-log", "off", "--socket", f"{folder}/no.sock"]
    if library == REAL:
        return Session([*command, "--nvml-mode", "real", "--host-root", "/"])
    simulated = ["--nvml-mode", "simulated", "--nvml-library", library, "--host-root", folder]
    return Session([*command, *simulated], {"NVML_SIM_SCENARIO": str(scenario)})


def leaves(schema, root=None, path=""):
    """The paths of all fields of a schema: `gpus[]` for a list of objects, `gpus[].uuid` for a field in it."""
    root = root or schema
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    for choice in schema.get("anyOf", []) + schema.get("oneOf", []):
        if choice.get("type") != "null":
            yield from leaves(choice, root, path)
            return
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "object" in kinds:
        assert "properties" in schema, f"{path}: a map has no fields to compare"
        for name, field in schema["properties"].items():
            yield from leaves(field, root, f"{path}.{name}" if path else name)
    elif "array" in kinds:
        below = list(leaves(schema["items"], root, f"{path}[]"))
        yield from [path] if below == [f"{path}[]"] else [f"{path}[]", *below]
    else:
        yield path


def values(answer, path):
    """Each value at a path, with the entries of the lists it is in, and the path at which it is null if it is."""

    def walk(value, parts, entries, at):
        if not parts or value is None:
            # What would be in the entries of a list that is not there is not there either.
            if not any(part.endswith("[]") for part in parts[:-1]):
                yield entries, value, at
            return
        name, *rest = parts
        here = f"{at}.{name}".lstrip(".").removesuffix("[]")
        below = value.get(name.removesuffix("[]"))
        if name.endswith("[]") and rest:
            for entry in below or []:
                yield from walk(entry, rest, [*entries, entry], here)
        elif name.endswith("[]"):
            yield entries, None if below is None else len(below), here
        else:
            yield from walk(below, rest, entries, here)

    yield from walk(answer, path.split("."), [], "")


def readings(answer, table):
    """Each value of the answer beside what NVIDIA's binding reads now: the value, or the error."""
    for path, row in table.FIELDS.items():
        if isinstance(row, Told):
            continue
        for entries, value, at in values(answer, path):
            if table.lost(entries):
                continue
            row.compared += 1
            try:
                wanted = row.wanted(entries)
            except (nvml.NVMLError, LookupError) as error:
                wanted = error
            yield path, entries, value, at, wanted


def compare(name, before, read, after, table, wrong, loosely):
    """What was read, against the answer before it, and the one after it where figures move."""
    later = {path: [value for _, value, _ in values(after, path)] for path in table.MOVING}
    seen = collections.Counter()
    for path, entries, value, at, wanted in read:
        call = table.FIELDS[path].call
        place = f"{name}: {path} of {[entry.get('index', entry.get('id')) for entry in entries]}"
        which, seen[path] = seen[path], seen[path] + 1
        if isinstance(wanted, nvml.NVMLError):
            if value is not None:
                wrong.append(f"{place}: {value!r}, but {call} refuses: {wanted}")
            elif not table.explained(before, entries, at):
                wrong.append(f"{place}: null, and `absent` does not say why ({at})")
        elif isinstance(wanted, LookupError):
            wrong.append(f"{place}: {value!r}, but the table has nothing for what {call} says: {wanted!r}")
        elif value != wanted:
            moved = table.MOVING.get(path)
            if moved and after is not before and which < len(later[path]) and moved(wanted, value, later[path][which]):
                loosely[path] += 1
            else:
                wrong.append(f"{place}: {value!r}, but {call} says {wanted!r}")


def scenarios(folder):
    for profile in sorted((SIMULATOR / "profiles").glob("*.toml")):
        plain = pathlib.Path(folder) / f"{profile.stem}.toml"
        plain.write_text(f'profile = "{profile.stem}"')
        yield plain
    yield from sorted((SIMULATOR / "scenarios").glob("*.toml"))


def moves(scenario):
    """Whether it has frames, the next of which may come between two readings."""
    return scenario.exists() and re.search(r"^frames = ", scenario.read_text(), re.MULTILINE) is not None


def read(agent, library, scenario, table, wrong, loosely):
    """One scenario, or the real driver; False where there is no driver. Without `loosely` figures stand still."""
    if library != REAL:
        os.environ["NVML_SIM_SCENARIO"] = str(scenario)
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        if library == REAL:
            raise SystemExit(f"NVIDIA's own binding finds no NVML: {error}") from error
        return False
    with tempfile.TemporaryDirectory() as folder:
        asked = session(agent, library, scenario, folder)
        schema = set(leaves(asked.tools()[table.TOOL]["outputSchema"]))
        wrong += [f"{path}: not in the table" for path in sorted(schema - set(table.FIELDS))]
        wrong += [f"{path}: not in the schema" for path in sorted(set(table.FIELDS) - schema)]

        def answer():
            return whole([page for page, _ in asked.pages(table.TOOL, table.ARGUMENTS)], table.PAGES)

        # A figure that is one thing in one moment and another in the next is asked for again.
        for _ in range(1 if loosely is None else TRIES):
            off = []
            before = answer()
            between = list(readings(before, table))
            after = before if loosely is None else answer()
            compare(scenario.stem, before, between, after, table, off, loosely)
            if not off:
                break
        wrong += off
        asked.close()
    nvml.nvmlShutdown()
    return True


def main(arguments):
    flags = {argument for argument in arguments if argument.startswith("--")}
    agent, library, name, *paths = [argument for argument in arguments if argument not in flags]
    table, wrong, done = importlib.import_module(name), [], []
    loosely = collections.Counter() if library == REAL or "--loosely" in flags else None
    with tempfile.TemporaryDirectory() as folder:
        chosen = [pathlib.Path(path).resolve() for path in [REAL, *paths] if path != REAL or library == REAL]
        for scenario in chosen or scenarios(folder):
            moved = collections.Counter() if loosely is None and moves(scenario) else loosely
            if read(agent, library, scenario, table, wrong, moved):
                done.append(scenario.stem)
    compared = {path: row for path, row in table.FIELDS.items() if isinstance(row, Row)}
    # A row of which there was never a value is a row that holds nothing; one machine does not have everything.
    wrong += [f"{path}: never in any answer" for path, row in compared.items() if not row.compared and not chosen]
    for line in dict.fromkeys(wrong):
        print(line, file=sys.stderr)
    if "--rows" in flags:
        for path, row in compared.items():
            factor = "" if row.factor == 1 else f" × {row.factor}"
            print(f"| `{path}` | `{row.call}`{factor} | {row.compared} |")
    total = sum(row.compared for row in compared.values())
    if loosely is not None:
        print(f"{sum(loosely.values())} values had moved and were compared loosely:", *sorted(loosely))
    print(f"{table.TOOL}: {len(compared)} fields, {total} values compared in {', '.join(done)}; {len(wrong)} off")
    return 1 if wrong or not total else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
