"""Builds the core in several ways and compares them: by instructions and by time, in one run.

    python -m bench.builds                        all ways, about five minutes; writes docs/performance.md
    python -m bench.builds --only -O3 --only PGO

Each build has the flags of a release but for what its name says, in build/builds. Instructions are those of
the gate's operations, net of the loop, all counted in one process for each build; the time is CPU time of the
thread, the builds taking turns, the least of many rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from otlpfast.cli.circumstances import busy
from otlpfast.cli.console import Console

from . import counting, gate, page

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
BUILDS: dict[str, dict[str, str]] = {
    "-O3": {},
    "-O2": {"CFLAGS": "-O2"},
    "-O3, LTO": {"CFLAGS": "-flto", "LDFLAGS": "-flto"},
    "-O3, PGO": {"OTLPFAST_PGO": "1"},
    "-O3, PGO, LTO": {"OTLPFAST_PGO": "1", "CFLAGS": "-flto", "LDFLAGS": "-flto"},
}
REFERENCE = "-O3"
OPERATIONS = [name for name in gate.OPERATIONS if "Pool" not in name and "Counters" not in name]
_TIMES, _ROUNDS = 20_000, 12

Found = dict[str, dict[str, float]]
"""By build and operation."""


def build(name: str, flags: Mapping[str, str]) -> Path:
    """Compiles the core in this way; where the package with it is."""
    base = ROOT / "build" / "builds" / name.replace(", ", "")
    chosen = {"CC": "gcc", "OTLPFAST_BUILD": "require", "OTLPFAST_PGO": "0", "CFLAGS": "", **flags}
    folders = ["--build-base", str(base), "--build-lib", str(base / "lib")]
    command = [sys.executable, "setup.py", "--quiet", "build", *folders]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **chosen}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name} could not be built:\n{done.stderr}")
    return base / "lib"


def instructions(library: Path) -> dict[str, float]:
    """Instructions of one operation, for each."""
    loop, found = counting.counted(OPERATIONS, library)
    without = {name: 0.0 if name == gate.BATCHED else float(loop.total()) for name in found}
    return {name: costs.total() - without[name] for name, costs in found.items()}


def nanoseconds(library: Path, operations: Sequence[str]) -> dict[str, float]:
    """CPU time of one operation, for each, in a process of its own."""
    command = [sys.executable, "-m", "bench.builds", "--time", *operations]
    done = subprocess.run(command, cwd=ROOT, env=gate.child(library), stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _time_here(operations: Sequence[str]) -> dict[str, float]:
    import gc
    import time

    found = {}
    gc.disable()
    for name in operations:
        work, empty = gate.OPERATIONS[name](), gate.empty()
        least: dict[str, float] = {}
        for which, loop in (("work", work), ("empty", empty)):
            loop(_TIMES // 10)
            for _ in range(_ROUNDS):
                before = time.thread_time_ns()
                loop(_TIMES)
                took = (time.thread_time_ns() - before) / _TIMES
                least[which] = min(took, least.get(which, took))
        found[name] = least["work"] - (0 if name == gate.BATCHED else least["empty"])
    return found


def _table(names: Sequence[str], found: Found, unit: str) -> str:
    rows = []
    for operation in found[names[0]]:
        reference = found[names[0]][operation]
        cells = [f"{reference:,.0f}"]
        cells += [f"{found[name][operation] / reference - 1:+.1%}" for name in names[1:]]
        rows.append([operation, *cells])
    means = [
        statistics.fmean(found[name][of] / found[names[0]][of] for of in found[name]) for name in names[1:]
    ]
    rows.append(["**mean**", "", *(f"**{mean - 1:+.1%}**" for mean in means)])
    return page.table([unit, names[0], *names[1:]], rows)


def report(names: Sequence[str], counted: Found, timed: Found, sizes: Mapping[str, int], before: str) -> str:
    """Both tables, and what they were measured on."""
    kilobytes = ", ".join(f"{name} {size / 1e3:,.0f} kB" for name, size in sizes.items())
    notes = page.conditions(f"size of the core: {kilobytes}", before=before)
    counts = _table(names, counted, "instructions")
    return "\n".join([counts, "", _table(names, timed, "CPU time, ns"), "", notes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", action="append", choices=BUILDS, metavar="NAME", help=", ".join(BUILDS))
    parser.add_argument("--turns", type=int, default=3, help="for the time (default 3)")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write the tables into")
    parser.add_argument("--time", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.time:
        print(json.dumps(_time_here(arguments.time)))
        return
    if not (shutil.which("valgrind") and shutil.which("gcc")):
        parser.exit(1, "needs gcc and valgrind: on Debian and Ubuntu, apt install gcc valgrind\n")
    names = list(dict.fromkeys([REFERENCE, *(arguments.only or BUILDS)]))
    console, before = Console(), busy()
    libraries: dict[str, Path] = {}
    counted: Found = {}
    timed: Found = {}
    for name in names:
        console.step(f"compiling with {name}")
        libraries[name] = build(name, BUILDS[name])
    for name in names:
        console.step(f"counting the instructions of {name}")
        counted[name] = instructions(libraries[name])
    for turn in range(arguments.turns):
        console.step(f"time, turn {turn + 1} of {arguments.turns}")
        for name in names:
            took = nanoseconds(libraries[name], OPERATIONS)
            timed[name] = {of: min(took[of], timed.get(name, took)[of]) for of in OPERATIONS}
    console.clear()
    sizes = {
        name: next(library.glob("otlpfast/_core*.so")).stat().st_size for name, library in libraries.items()
    }
    text = report(names, counted, timed, sizes, before)
    page.put("builds", text, arguments.out)
    print(text)


if __name__ == "__main__":
    main()
