"""What the agent answers on this machine's GPUs while they work, and when one reports a fault; scrubbed.

    python3 capture.py AGENT OUT [--seconds 30]
    python3 capture.py AGENT OUT --simulated LIBRARY        the simulator's, by NVML_SIM_SCENARIO; no load, nothing of the kernel

Starts a recorder in a folder of its own and a session that joins it, lets `load.py` work, asks every tool that answers from
NVML in full and in short, counts calls into the driver, has `load.py --fault` raise an Xid 31 and listens for it. OUT gets a
JSON file a tool and `capture.json`, which says how it was made and what was missing; `scrub.py` has been over all of them
and is asked once more. Exit 1: something of this machine's own is left in OUT, or there was no capture.

Root has eBPF and the kernel's log, and so the words of the Xid and the process that caused it. Without, that is said, and the
rest is done: NVML tells the Xid by its number.
"""

import argparse
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "e2e/fields"))
from scrub import Scrub, check  # noqa: E402
from session import Refused, Session  # noqa: E402

FIGURES = ("get_gpu_inventory", "get_gpu_health", "get_gpu_topology", "get_gpu_processes", "get_gpu_timeline")
KINDS = ["xid", "sxid", "bus_loss", "init_failure", "reset_required", "gsp", "aer"]
KINDS += ["gpu_open", "gpu_close", "call_failed", "call_stalled"]
PATIENCE = 60


def say(text):
    print(f"  {text}", flush=True)


class Capture:
    """Answers by tool, and what was missing; written by `ask` and `miss`, read by `write`."""

    def __init__(self, session):
        self.session = session
        self.answers = {}
        self.missing = []

    def miss(self, what):
        self.missing.append(what)
        say(f"missing: {what}")

    def ask(self, when, tool, **arguments):
        """The first page, or None where the tool refused."""
        asked = {"when": when, "arguments": arguments}
        try:
            pages = [{"structured": page, "text": text} for page, text in self.session.pages(tool, arguments)]
            self.answers.setdefault(tool, []).append({**asked, "pages": pages})
            return pages[0]["structured"]
        except Refused as refused:
            self.answers.setdefault(tool, []).append({**asked, "refused": str(refused)})
            why = str(refused).split("\nNext: ")[0].splitlines()[-1]
            self.miss(f"{tool}: {why}")
            return None

    def figures(self, when):
        for tool in FIGURES:
            for detail in ("summary", "full"):
                self.ask(when, tool, detail=detail)

    def write(self, out, how):
        scrub = Scrub()
        files = {**self.answers, "capture": {**how, "missing": self.missing}}
        for answer in files.values():
            scrub.learn(answer)
        out.mkdir(parents=True, exist_ok=True)
        # An earlier capture; nothing else that lies there.
        for old in out.glob("*.json") if (out / "capture.json").exists() else ():
            old.unlink()
        for name, answer in files.items():
            text = json.dumps(scrub.clean(answer), indent=1, ensure_ascii=False)
            (out / f"{name}.json").write_text(text + "\n")


def flags(options):
    if options.simulated:
        return ["--nvml-mode", "simulated", "--nvml-library", options.simulated, "--ebpf", "off", "--kernel-log", "off"]
    return ["--nvml-mode", "real", "--ebpf", "auto", "--kernel-log", "auto", "--host-root", "/"]


def start_recorder(options, folder):
    path, log = f"{folder}/agent.sock", pathlib.Path(folder, "log")
    command = [options.agent, "record", "--socket", path, "--journal", f"{folder}/journal.redb", *flags(options)]
    with log.open("w") as errors:
        recorder = subprocess.Popen(command, stderr=errors)
    end = time.monotonic() + PATIENCE
    while recorder.poll() is None and time.monotonic() < end:
        with socket.socket(socket.AF_UNIX) as client:
            if client.connect_ex(path) == 0:
                return recorder, path
        time.sleep(0.05)
    recorder.kill()
    raise SystemExit(f"capture: the recorder does not listen: {log.read_text()}")


def start_load(*arguments):
    """The load, once it says that it is at work, and that word."""
    command = [sys.executable, str(HERE / "load.py"), *arguments]
    load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return load, load.stdout.readline().strip()


def with_load(capture, options, cursor):
    load, said = start_load("--seconds", str(options.seconds))
    say(f"load: {said}")
    if " compute" not in said:
        capture.miss(f"the load: {said}")
    capture.ask("under load", "trace_driver_calls", duration_s=5)
    capture.ask("under load", "watch_gpu_events", since=cursor, kinds=KINDS, duration_s=2)
    capture.figures("under load")
    load.wait()
    capture.ask("after the load", "get_gpu_timeline", detail="full")
    return " compute" in said


def with_fault(capture, cursor):
    """What became of the fault that is made on purpose."""
    load, said = start_load("--fault")
    rest = load.communicate()[0].strip()
    say(f"fault: {said}; {rest}")
    if load.returncode:
        capture.miss(f"the fault: {said} {rest}")
        return None
    cause = int(re.search(r"process (\d+)", said)[1])
    capture.ask("after the fault", "watch_gpu_events", since=cursor, kinds=["xid"], max_events=1, duration_s=10)
    heard = capture.ask("after the fault", "watch_gpu_events", since=cursor, kinds=KINDS, duration_s=2)
    capture.ask("after the fault", "analyze_xid_errors", detail="full", since=cursor)
    capture.ask("after the fault", "get_gpu_health", detail="summary")
    xids = [event for event in (heard or {"events": []})["events"] if (event.get("xid") or {}).get("code") == 31]
    if not xids:
        capture.miss("an Xid 31 of the fault: no source heard one; get_agent_status says which listened")
        return {"heard": False}
    by, sources = xids[0].get("process") or {}, xids[0]["sources"]
    fault = {"heard": True, "sources": sources, "known_by": by.get("known_by"), "is_the_cause": by.get("pid") == cause}
    if not fault["is_the_cause"]:
        # In a container the load knows itself by another number than the kernel does.
        capture.miss(f"the Xid 31 with its process: heard by {sources}, of pid {by.get('pid')}; it was pid {cause} here")
    say(f"Xid 31 heard by {', '.join(sources)}, process {by.get('name')} ({by.get('known_by')})")
    return fault


def slug(inventory):
    words = f"{inventory['gpus'][0]['product']}-{inventory['driver_version']}".lower()
    return re.sub(r"[^a-z0-9.]+", "-", words)


def run(options):
    with tempfile.TemporaryDirectory() as folder:
        recorder, path = start_recorder(options, folder)
        try:
            capture = Capture(Session([options.agent, "--socket", path, *flags(options)]))
            how = take(capture, options)
            capture.session.close()
        finally:
            recorder.send_signal(signal.SIGTERM)
            recorder.wait(PATIENCE)
        capture.write(options.out, how)
    found = check(options.out)
    for what in found:
        say(f"NOT SCRUBBED: {what}")
    say(f"{len(capture.answers) + 1} files in {options.out}, {len(capture.missing)} things missing, {len(found)} not scrubbed")
    return 1 if found else 0


def take(capture, options):
    status = capture.ask("at first", "get_agent_status")
    assert status["recorder"], "the session has not joined the recorder"
    if not options.simulated:
        if os.geteuid():
            capture.miss(f"root: this is user {os.geteuid()}")
        for source in status["sources"]:
            if source["state"] != "live" and source["name"] != "replay":
                capture.miss(f"{source['name']} is {source['state']}: {source['detail']}")
    inventory = capture.ask("at first", "get_gpu_inventory", detail="full")
    if not inventory or not inventory["gpus"]:
        raise SystemExit(f"capture: no GPU to capture: {'; '.join(capture.missing)}")
    how = {"name": slug(inventory), "driver_version": inventory["driver_version"], "agent": status["version"]}
    how |= {"kernel_release": status["kernel_release"], "uid": status["uid"], "capabilities": status["capabilities"]}
    cursor = capture.ask("at first", "watch_gpu_events", duration_s=0)["next_cursor"]
    if options.simulated:
        capture.ask("without load", "trace_driver_calls", duration_s=0)
        capture.ask("without load", "watch_gpu_events", since=cursor, duration_s=0)
        capture.figures("without load")
        return {**how, "simulated": True, "seconds": 0, "load": False, "fault": None}
    load = with_load(capture, options, cursor)
    cursor = capture.ask("before the fault", "watch_gpu_events", duration_s=0)["next_cursor"]
    fault = with_fault(capture, cursor)
    capture.ask("at last", "get_agent_status")
    return {**how, "simulated": False, "seconds": options.seconds, "load": load, "fault": fault}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("agent")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=30, help="how long the GPUs compute")
    parser.add_argument("--simulated", metavar="LIBRARY", help="the simulator's GPUs, without load and fault")
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
