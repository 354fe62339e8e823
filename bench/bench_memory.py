"""What spans take of memory: bytes that stay while they live or wait, and bytes allocated an operation.

Each figure comes from processes of its own: many spans less a few. Allocations are counted by valgrind's
memcheck, also those that are freed at once: what Go's benchmarks call B/op.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Measure
from .spans import LARGE, traced

FEW, MANY = 1_000, 21_000
ATTRIBUTES = {f"app.attribute.{number}": f"value {number}" for number in range(10)}


def resident() -> int:
    """The bytes of this process that are in memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def live(side: str, n: int) -> int:
    """Bytes that the process grows by with n spans of 10 attributes which have not ended."""
    tracer = traced(side).tracer
    before, spans = resident(), [None] * n
    for number in range(n):
        spans[number] = span = tracer.start_span("span")  # type: ignore[call-overload]
        span.set_attributes(ATTRIBUTES)
    return resident() - before


def waiting(side: str, n: int) -> int:
    """Bytes that the process grows by with n such spans which have ended and wait for their export."""
    room = {**LARGE, "max_queue_size": n + 1, "max_export_batch_size": n + 1}
    tracer = traced(side, room=room).tracer
    before = resident()
    for _ in range(n):
        span = tracer.start_span("span")
        span.set_attributes(ATTRIBUTES)
        span.end()
    return resident() - before


def ended(side: str, n: int) -> int:
    """Starts and ends n spans."""
    of = traced(side)
    for number in range(n):
        of.tracer.start_span("span").end()
        if number % 1_000 == 999:
            of.drain()
    return 0


WHAT: dict[str, Callable[[str, int], int]] = {"live": live, "waiting": waiting, "ended": ended}


def child(what: str, side: str, n: int, *before: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-m", "bench.bench_memory", what, side, str(n)]
    environment = {**os.environ, "PYTHONHASHSEED": "0", **variables}
    here = Path(__file__).parents[1]
    return subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=True)


@pytest.fixture
def measures(pytestconfig: pytest.Config) -> bool:
    """False where the benchmarks are only to show that they run."""
    return not pytestconfig.getoption("benchmark_disable")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize("side", ["SDK", "otlpfast"])
@pytest.mark.parametrize("what", ["live", "waiting"])
def test_memory_of_spans(record: Measure, measures: bool, side: str, what: str) -> None:
    few, many = (FEW, MANY) if measures else (10, 20)
    grown = int(child(what, side, many).stdout) - int(child(what, side, few).stdout)
    if measures:
        record(f"memory of a {what} span, 10 attributes", side, grown / (many - few))


def allocated(side: str, n: int) -> int:
    """Bytes that a whole process allocates in which n spans start and end."""
    valgrind = ("valgrind", "--undef-value-errors=no", "--leak-check=no")
    said = child("ended", side, n, *valgrind, PYTHONMALLOC="malloc").stderr
    counted = re.search(r"([\d,]+) bytes allocated", said)
    assert counted, said
    return int(counted[1].replace(",", ""))


@pytest.mark.parametrize("side", ["SDK", "otlpfast"])
def test_allocated_bytes(record: Measure, measures: bool, side: str) -> None:
    if not measures:
        child("ended", side, 10)
    elif shutil.which("valgrind") is None:
        pytest.skip("needs valgrind")
    else:
        few, many = FEW, 5 * FEW
        each = (allocated(side, many) - allocated(side, few)) / (many - few)
        record("start_span + end, bytes allocated", side, each, at_most=800)


if __name__ == "__main__":
    print(WHAT[sys.argv[1]](sys.argv[2], int(sys.argv[3])))
