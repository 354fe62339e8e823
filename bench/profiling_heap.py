"""What heap profiles cost: work with a recording on, over the same work with none, in one run.

    python -m bench.profiling_heap                   CPU time; the native sampler, and tracemalloc beside it
    python -m bench.profiling_heap --instructions    by callgrind, of the sampler alone; needs valgrind

On and off take turns, by rounds of some milliseconds; the least of all rounds counts on either side.
"stopped" is after a recording; "passing on" is after one whose hook had to stay, since tracemalloc had
wrapped it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from otlpfast.profiling import start_heap

from .gate import Unmeasurable, child

Work = Callable[[int], None]
Switch = Callable[[], Callable[[], object]]
"""Turns something on, and gives what turns it off."""

DOCUMENT = {
    "orders": [
        {"id": n, "customer": f"customer {n}", "total": n * 1.25, "tags": ["new", "paid"], "notes": None}
        for n in range(20)
    ]
}


def blocks(n: int) -> None:
    """Allocates and frees, and nothing else: the most that a hook can cost."""
    for _ in range(n * 250):
        bytes(100)


def kept(n: int) -> None:
    """Small objects by the thousand, which are then let go."""
    for _ in range(n):
        [[number] for number in range(500, 1_000)]


def documents(n: int) -> None:
    """What a service does with a request: JSON there and back."""
    for _ in range(n):
        json.loads(json.dumps(DOCUMENT))


WORK: dict[str, Work] = {"allocate and free": blocks, "lists of lists": kept, "JSON": documents}


def sampled() -> Callable[[], object]:
    return start_heap().stop


def exact() -> Callable[[], object]:
    return start_heap(exact=True).stop


def stopped() -> Callable[[], object]:
    start_heap().stop()
    return lambda: None


def passing_on() -> Callable[[], object]:
    recording = start_heap()
    tracemalloc.start()
    recording.stop()
    tracemalloc.stop()
    return start_heap().stop  # which is the outermost now, and goes


SIDES: dict[str, Switch] = {"sampled": sampled, "stopped": stopped, "passing on": passing_on, "exact": exact}


def seconds(work: Work, n: int) -> float:
    before = time.thread_time()
    work(n)
    return time.thread_time() - before


def ratio(work: Work, side: str, rounds: int) -> float:
    """CPU time on over off."""
    n, switch = 20, SIDES[side]
    if side == "exact":
        n, rounds = 2, rounds // 20
    on: list[float] = []
    off: list[float] = []
    for _ in range(rounds):
        off.append(seconds(work, n))
        end = switch()
        on.append(seconds(work, n))
        end()
    return min(on) / min(off)


def instructions(name: str, side: str, n: int) -> int:
    """Of a process that does the work n times."""
    tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command = [*tool, sys.executable, "-m", "bench.profiling_heap", "--run", name, side, str(n)]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parents[1], env=child(), capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise Unmeasurable("valgrind is not installed: on Debian and Ubuntu, apt install valgrind") from error
    counted = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not counted:
        raise Unmeasurable(done.stderr.strip()[-2000:])
    return int(counted[1])


def show_times(rounds: int) -> None:
    print(f"{'':<20}" + "".join(f"{side:>12}" for side in SIDES))
    for name, work in WORK.items():
        ratios = (ratio(work, side, rounds) for side in SIDES)
        print(f"{name:<20}" + "".join(f"{found:>12.3f}" for found in ratios))


def show_instructions(few: int = 20, many: int = 220) -> None:
    for name in WORK:
        off, on = (
            instructions(name, side, many) - instructions(name, side, few) for side in ("off", "sampled")
        )
        print(f"{name:<20}{on / off:>12.3f}   {off / (many - few):,.0f} instructions without")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.profiling_heap", description=__doc__)
    parser.add_argument("--instructions", action="store_true", help="count them instead of taking times")
    parser.add_argument("--rounds", type=int, default=200, help="of either side, by turns (default: 200)")
    parser.add_argument("--run", nargs=3, metavar=("WORK", "SIDE", "N"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.run:
        name, side, n = chosen.run
        if side in SIDES:
            SIDES[side]()
        WORK[name](int(n))
    elif chosen.instructions:
        show_instructions()
    else:
        show_times(chosen.rounds)


if __name__ == "__main__":
    main()
