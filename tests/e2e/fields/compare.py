"""Holds a tool's answer against nvidia-ml-py reading the same library, field by field.

usage: LD_LIBRARY_PATH=<folder of the simulator> compare.py AGENT SIMULATOR TABLE [scenario.toml ...]

TABLE is a module beside this one, such as `inventory`: which tool, asked for what, and for each field of its answer the call
of NVIDIA's Python binding that has the same value and the unit it comes in. Without scenarios all profiles and all scenarios
of the simulator that have a driver are read, those dropped into its folders too.

What holds: each field of the tool's outputSchema is in the table, and no other; each value of the answer is that of the
call; where the call refuses, the answer has null and names the field in `absent`; each list has as many entries as NVML
says. Exit 0: all held. With `--rows` each row is printed with the number of values that were compared.
"""

import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import pynvml as nvml
from rows import Row, Told

SIMULATOR = pathlib.Path(__file__).resolve().parents[2] / "nvml-sim"


class Agent:
    """A session of the agent, in MCP's lines."""

    def __init__(self, agent, simulator, scenario, host):
        command = [agent, "--nvml-mode", "simulated", "--nvml-library", simulator, "--ebpf", "off"]
        command += ["--kernel-log", "off", "--host-root", host]
        environment = {**os.environ, "NVML_SIM_SCENARIO": str(scenario)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )
        self.id = 0
        client = {"name": "fields", "version": "1"}
        self.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client})
        self.send({"method": "notifications/initialized"})

    def send(self, message):
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def ask(self, method, params):
        self.id += 1
        self.send({"id": self.id, "method": method, "params": params})
        for line in self.process.stdout:
            message = json.loads(line)
            if message.get("id") == self.id:
                return message["result"]
        raise SystemExit("fields: the agent closed its end")

    def schema(self, tool):
        tools = self.ask("tools/list", {})["tools"]
        return next(known["outputSchema"] for known in tools if known["name"] == tool)

    def answer(self, tool, arguments, pages):
        """The whole answer: the lists of all its pages, in one."""
        whole, cursor = None, None
        while whole is None or cursor is not None:
            more = {} if cursor is None else {"cursor": cursor}
            result = self.ask("tools/call", {"name": tool, "arguments": {**arguments, **more}})
            assert not result.get("isError"), result["content"][0]["text"]
            page = result["structuredContent"]
            if whole is None:
                whole = page
            else:
                whole[pages] += page[pages]
            cursor = page.get("next_cursor")
        return whole

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(30) == 0


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


def compare(name, answer, table, wrong):
    for path, row in table.FIELDS.items():
        if isinstance(row, Told):
            continue
        for entries, value, at in values(answer, path):
            place = f"{name}: {path} of {[entry.get('index', entry.get('id')) for entry in entries]}"
            if table.lost(entries):
                continue
            row.compared += 1
            try:
                wanted = row.wanted(entries)
            except nvml.NVMLError as error:
                if value is not None:
                    wrong.append(f"{place}: {value!r}, but {row.call} refuses: {error}")
                elif not table.explained(answer, entries, at):
                    wrong.append(f"{place}: null, and `absent` does not say why ({at})")
                continue
            if value != wanted:
                wrong.append(f"{place}: {value!r}, but {row.call} says {wanted!r}")


def scenarios(folder):
    for profile in sorted((SIMULATOR / "profiles").glob("*.toml")):
        plain = pathlib.Path(folder) / f"{profile.stem}.toml"
        plain.write_text(f'profile = "{profile.stem}"')
        yield plain
    yield from sorted((SIMULATOR / "scenarios").glob("*.toml"))


def read(agent, simulator, scenario, table, wrong):
    """One scenario; False where it has no driver."""
    os.environ["NVML_SIM_SCENARIO"] = str(scenario)
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return False
    with tempfile.TemporaryDirectory() as host:
        session = Agent(agent, simulator, scenario, host)
        schema = set(leaves(session.schema(table.TOOL)))
        wrong += [f"{path}: not in the table" for path in sorted(schema - set(table.FIELDS))]
        wrong += [f"{path}: not in the schema" for path in sorted(set(table.FIELDS) - schema)]
        answer = session.answer(table.TOOL, table.ARGUMENTS, table.PAGES)
        compare(scenario.stem, answer, table, wrong)
        session.close()
    nvml.nvmlShutdown()
    return True


def main(arguments):
    rows = "--rows" in arguments
    agent, simulator, name, *paths = [argument for argument in arguments if argument != "--rows"]
    table, wrong, done = importlib.import_module(name), [], []
    with tempfile.TemporaryDirectory() as folder:
        for scenario in [pathlib.Path(path).resolve() for path in paths] or scenarios(folder):
            if read(agent, simulator, scenario, table, wrong):
                done.append(scenario.stem)
    compared = {path: row for path, row in table.FIELDS.items() if isinstance(row, Row)}
    # A row of which there was never a value is a row that holds nothing.
    wrong += [f"{path}: never in any answer" for path, row in compared.items() if not row.compared and not paths]
    for line in dict.fromkeys(wrong):
        print(line, file=sys.stderr)
    if rows:
        for path, row in compared.items():
            factor = "" if row.factor == 1 else f" × {row.factor}"
            print(f"| `{path}` | `{row.call}`{factor} | {row.compared} |")
    total = sum(row.compared for row in compared.values())
    print(f"{table.TOOL}: {len(compared)} fields, {total} values compared in {', '.join(done)}; {len(wrong)} off")
    return 1 if wrong or not total else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
