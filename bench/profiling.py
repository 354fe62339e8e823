"""What a CPU profile costs while it is taken: ``python -m bench.profiling``, or ``make profiling``.

The cost of a sample is measured by taking many on stacks of a certain depth, as the handler of the timer's signal
does. That of a thread at work is measured in turns with and without a profile, one after the other in one run.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import threading
import time
from collections.abc import Callable

from otlpfast.profiling import start_cpu
from otlpfast.profiling._labels import ThreadNames
from otlpfast.profiling._native import sampler

DEPTHS = (10, 40, 160)
TIMES = 2_000
FREQUENCY = 100


def at_depth(depth: int, call: Callable[[], float]) -> float:
    return at_depth(depth - 1, call) if depth > 1 else call()


def sample_micros(depth: int, labels: bool) -> float:
    """Of the CPU time of a sample, the least of several tries."""
    assert sampler is not None
    engine = sampler.CpuSampler(10**12, ThreadNames(), labels)

    def once() -> float:
        start = time.thread_time_ns()
        engine.tick(TIMES)
        return (time.thread_time_ns() - start) / TIMES / 1e3

    engine.start()
    try:
        at_depth(depth, once)
        engine.look(False)  # its code is known from now on, as that of any stack after its first samples
        return min(at_depth(depth, once) for _ in range(15))
    finally:
        engine.stop()


def idle_share(seconds: float) -> float:
    """CPU time that a profile takes of a process that does nothing, as a share of a core."""
    recording = start_cpu(FREQUENCY)
    start, begin = time.process_time(), time.monotonic()
    threading.Event().wait(seconds)
    share = (time.process_time() - start) / (time.monotonic() - begin)
    recording.stop()
    return share


def work() -> int:
    total = 0
    for number in range(1_000_000):
        total += number & 3
    return total


def turn() -> float:
    start = time.process_time()
    for _ in range(3):
        work()
    return time.process_time() - start


def busy_ratio(turns: int) -> float:
    """CPU time of the process for the same work, with a profile and without: the median of pairs of turns."""
    ratios = []
    for number in range(turns):
        times = {}
        for profiled in (number % 2 == 0, number % 2 == 1):
            recording = start_cpu(FREQUENCY) if profiled else None
            times[profiled] = turn()
            if recording is not None:
                recording.stop()
        ratios.append(times[True] / times[False])
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=40, help="with and without a profile")
    parser.add_argument("--seconds", type=float, default=5, help="of an idle process")
    arguments = parser.parse_args()
    assert sampler is not None and sampler.can_sample_cpu(), "this needs the native sampler"
    print(f"CPython {platform.python_version()}, {FREQUENCY} Hz")
    for depth in DEPTHS:
        micros = [sample_micros(depth, labels) for labels in (False, True)]
        share = micros[1] * FREQUENCY / 1e6
        print(f"a sample at depth {depth:3}: {micros[0]:5.1f} µs, with labels {micros[1]:5.1f} µs", end="")
        print(f": {share:.2%} of a core")
    print(f"an idle process: {idle_share(arguments.seconds):.2%} of a core")
    ratio = busy_ratio(arguments.turns)
    print(f"a thread at work, {arguments.turns} pairs of turns: {ratio - 1:+.2%} CPU time")


if __name__ == "__main__":
    main()
