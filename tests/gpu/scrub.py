"""Takes out of a capture what is one machine's own, and checks that nothing of it is left.

    python3 scrub.py FOLDER        exit 1, and where, if a file in it has anything that was not made up

UUIDs, serial numbers and long hexadecimal ids, the names of the node, of processes, pods and containers, and paths that are
no system's become made-up ones: the same the same in all of a capture, so that what belonged together still does. Figures,
PCI addresses, times and process ids stay. What is a name is known by where it stands in the structured answers; texts and
kernel lines are then searched for the names found.
"""

import json
import pathlib
import re
import socket
import sys

UUID = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{8}(?:[-_][0-9A-Fa-f]{4}){3}[-_][0-9A-Fa-f]{12}(?![0-9A-Fa-f])")
HEX = re.compile(r"(?<![0-9A-Za-z])(?:0x)?[0-9A-Fa-f]{32,}(?![0-9A-Za-z])")
PATH = re.compile(r"""(?<![\w.:/\]-])/[\w.-]+(?:/[^\s"',;:()<>]*)*""")
# A kernel line's process; its name may have spaces, and ends at the comma.
LINE = re.compile(r"\bname=([^,\n]+)")
SERIAL = re.compile(r"\bserial (?!N/A)([\w-]+)")

KEPT = ("/usr/", "/lib", "/bin/", "/sbin/", "/proc", "/sys", "/dev", "/run/", "/etc/", "/var/lib/kubelet", "/var/log/", "/agent")
NONE = ("<unknown>", "N/A", "")


def words(value, key=None, parent=None):
    """Each string, with the key it stands under and the object around that."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield from words(below, name, value)
    elif isinstance(value, list):
        for below in value:
            yield from words(below, key, parent)
    elif isinstance(value, str):
        yield value, key, parent


def names(value, within=None):
    """The names of somebody's in an answer, each with what it is a name of."""
    if isinstance(value, list):
        for below in value:
            yield from names(below, within)
    elif isinstance(value, dict):
        for key, below in value.items():
            if isinstance(below, (dict, list)):
                yield from names(below, key)
            elif not isinstance(below, str) or below in NONE:
                continue
            elif key == "node":
                yield below, "node"
            elif key in ("serial", "chassis_serial"):
                yield below, "serial"
            elif key == "pod":
                yield from zip(below.split("/"), ("namespace", "pod"))
            elif within == "pod" and key in ("namespace", "name", "container"):
                yield below, "pod" if key == "name" else key
            elif key == "name" and ("pid" in value or within == "process"):
                yield below, "process"
    for text, _, _ in words(value) if within is None else ():
        for pattern, kind in ((LINE, "process"), (SERIAL, "serial")):
            yield from ((name.strip(), kind) for name in pattern.findall(text) if name.strip() not in NONE)


def made_up(kind, number):
    return {
        "uuid": f"00000000-0000-4000-8000-{number:012}",
        "hex": f"{number:032}",
        "path": f"/made-up/path-{number}",
    }.get(kind, f"{kind}-{number}")


def is_made_up(kind, text):
    digits = re.sub("[^0-9A-Fa-f]", "", text.removeprefix("0x"))
    if kind == "uuid":
        return not digits.strip("0") or digits.startswith("00000000000040008000")
    if kind == "hex":
        return digits.startswith("0" * 20)
    return re.fullmatch(made_up(kind, 0).removesuffix("0") + r"\d+", text) is not None


class Scrub:
    """`learn` all answers first: a name that one of them tells stands in the text of another."""

    def __init__(self):
        self.replaced = {}
        self.counts = {}
        self.own(socket.gethostname(), "node")

    def own(self, text, kind):
        """The made-up one in its place."""
        if text not in self.replaced:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            self.replaced[text] = made_up(kind, self.counts[kind])
        return self.replaced[text]

    def learn(self, answer):
        for name, kind in names(answer):
            self.own(name, kind)
        known = sorted((name for name in self.replaced if name not in NONE), key=len, reverse=True)
        self.known = re.compile(r"(?<![\w.-])(?:" + "|".join(map(re.escape, known)) + r")(?![\w-])")

    def text(self, text):
        text = self.known.sub(lambda found: self.replaced[found[0]], text)
        for pattern, kind in ((UUID, "uuid"), (HEX, "hex")):
            text = pattern.sub(lambda f: f[0] if is_made_up(kind, f[0]) else self.own(f[0], kind), text)
        return PATH.sub(lambda found: self.path(found[0]), text)

    def path(self, path):
        return path if path.startswith((*KEPT, "/made-up/")) else self.own(path, "path")

    def clean(self, answer):
        if isinstance(answer, dict):
            return {key: self.clean(below) for key, below in answer.items()}
        if isinstance(answer, list):
            return [self.clean(below) for below in answer]
        return self.text(answer) if isinstance(answer, str) else answer


def left(answer):
    """What is in an answer and was not made up."""
    for name, kind in names(answer):
        if not is_made_up(kind, name):
            yield f"the name of a {kind}: {name}"
    for text, _, _ in words(answer):
        for pattern, kind in ((UUID, "uuid"), (HEX, "hex")):
            yield from (f"{kind}: {found}" for found in pattern.findall(text) if not is_made_up(kind, found))
        yield from (f"path: {found}" for found in PATH.findall(text) if not found.startswith((*KEPT, "/made-up/")))
        if re.fullmatch(r"\d{10,}", text) and not is_made_up("hex", text):
            yield f"like a serial number: {text}"


def check(folder):
    """Each thing that is left, with its file."""
    files = sorted(pathlib.Path(folder).glob("*.json"))
    if not files:
        return [f"{folder}: no capture"]
    return [f"{file.name}: {what}" for file in files for what in sorted(set(left(json.loads(file.read_text()))))]


def main():
    (folder,) = sys.argv[1:]
    found = check(folder)
    print(*found, f"{len(found)} things that were not made up", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
