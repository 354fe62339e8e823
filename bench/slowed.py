"""Tries the gate: the same build passes it, and one that is compiled to be slower fails it and is named.

    python -m bench.slowed         a minute or two; 0 if the gate did both

The baseline is counted here for this, so that it works on every machine with gcc and valgrind.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from . import gate
from .builds import ROOT, build

SLOWER = {"CFLAGS": "-O1"}
OPERATION = "start_span, end"


def through_the_gate(baseline: Path, *options: str, library: str | Path = "") -> tuple[int, str]:
    """The exit status of the gate and what it says, for the build in ``library`` or the installed one."""
    command = [sys.executable, "-m", "bench.gate", "--only", OPERATION, "--baseline", str(baseline), *options]
    done = subprocess.run(command, cwd=ROOT, env=gate.child(library), capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        baseline = Path(folder, "baseline.json")
        kept = through_the_gate(baseline, "--update")
        same = through_the_gate(baseline)
        slower = through_the_gate(baseline, library=build("slowed", SLOWER))
    tries = (("counted", kept, 0), ("the same build", same, 0), ("a build with -O1", slower, 1))
    for title, (status, said), expected in tries:
        print(f"{title}: the gate ended with {status}\n{said.strip()}\n")
        if status != expected or (expected and f"regression: {OPERATION}: " not in said):
            print(f"the gate does not work: {expected} was expected of {title}")
            return 1
    print("the gate passes the same build and fails a slower one")
    return 0


if __name__ == "__main__":
    sys.exit(main())
