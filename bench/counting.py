"""Instructions by function: operations of the gate, all in one process under valgrind's callgrind.

    python -m bench.counting OPERATION ...     what such a process runs

The interpreter sets its recursion limit, to what it is, between what is counted and what is not: callgrind
writes what it has counted so far whenever that function is called.
"""

from __future__ import annotations

import gc
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import gate

ROOT = Path(__file__).parents[1]
TIMES = 10_000
MARK = "Py_SetRecursionLimit"

Costs = Counter[tuple[str, str]]
"""Instructions of one operation by object file and function, without those of functions that it calls."""

_NAME = re.compile(r"(ob|fn)=\((\d+)\)(?: (.*))?")
_COST = re.compile(r"(?:[+*-]?\d+|\*) (\d+)$")


def counted(operations: Sequence[str], library: str | Path = "") -> tuple[Costs, dict[str, Costs]]:
    """Of an empty loop, and of each operation with such a loop; ``library`` as for ``gate.child``."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "counts")
        tool = ["valgrind", "--tool=callgrind", f"--dump-before={MARK}", f"--callgrind-out-file={file}"]
        command = [*tool, sys.executable, "-m", "bench.counting", *operations]
        done = subprocess.run(command, cwd=ROOT, env=gate.child(library), capture_output=True, text=True)
        if done.returncode:
            raise gate.Unmeasurable(done.stderr.strip()[-2000:])
        # By turns: what is made ready, and what is counted.
        found = [_costs(Path(f"{file}.{2 * number}")) for number in range(1, len(operations) + 2)]
    return found[0], dict(zip(operations, found[1:], strict=True))


def _costs(dump: Path) -> Costs:
    """Reads a file in callgrind's format."""
    names: dict[tuple[str, str], str] = {}
    now = {"ob": "", "fn": ""}
    costs: Costs = Counter()
    lines = iter(dump.read_text(encoding="utf-8", errors="replace").splitlines())
    for line in lines:
        if line.startswith("calls="):
            next(lines)  # what the callee and all below it took
        elif cost := _COST.match(line):
            costs[now["ob"], now["fn"]] += int(cost[1])
        elif name := _NAME.search(line):
            kind, number, text = name.groups()
            known = names.setdefault((kind, number), text or "")
            if line.startswith(kind):  # and not that of a callee, which only names it
                now[kind] = known
    return Counter({at: cost / TIMES for at, cost in costs.items()})


def run(operations: Iterable[str]) -> None:
    gc.disable()
    limit, mark = sys.getrecursionlimit(), sys.setrecursionlimit
    for work in (gate.empty(), *(gate.OPERATIONS[name]() for name in operations)):
        work(gate.FEW)
        mark(limit)
        work(TIMES)
        mark(limit)


if __name__ == "__main__":
    run(sys.argv[1:])
