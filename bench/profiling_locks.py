"""What profiling contention costs: locks that are free, and queues that threads fight over.

python -m bench.profiling_locks              every figure is a ratio to the plain lock, of the same run
python -m bench.profiling_locks --rounds 5   fewer rounds; the median counts
"""

from __future__ import annotations

import argparse
import queue
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from otlpfast.profiling import _locks
from otlpfast.profiling._native import sampler
from otlpfast.profiling.contention import start_contention

PASSES, ITEMS, WORKERS = 100_000, 4_000, 4


def seconds_uncontended(lock: Any) -> float:
    """Of ``with lock``, over and over in one thread."""
    passes = range(PASSES)
    began = time.perf_counter()
    for _ in passes:
        with lock:
            pass
    return time.perf_counter() - began


def seconds_of_a_queue() -> float:
    """Until items that some threads put have been got by as many others."""
    items: queue.Queue[int] = queue.Queue(maxsize=64)

    def put() -> None:
        for number in range(ITEMS):
            items.put(number)

    def get() -> None:
        for _ in range(ITEMS):
            items.get()

    return seconds_of([threading.Thread(target=work) for _ in range(WORKERS) for work in (put, get)])


def seconds_of_a_lock() -> float:
    """Until threads have taken one lock in turn, each holding it for some microseconds."""
    lock = threading.Lock()

    def work() -> None:
        for _ in range(ITEMS):
            with lock:
                sum(range(200))
                time.sleep(0)  # lets go of the GIL: others find the lock taken

    return seconds_of([threading.Thread(target=work) for _ in range(WORKERS)])


def seconds_of(threads: list[threading.Thread]) -> float:
    """Until all have run."""
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


@contextmanager
def watched(made: Any) -> Iterator[None]:
    """As while contention is profiled, but for the names of threading."""
    made.watch_locks(lambda waited, code, line: None)
    try:
        yield
    finally:
        made.watch_locks(None)


def ratio(rounds: int, plain: Callable[[], float], ours: Callable[[], float]) -> tuple[float, float]:
    """The median cost of ours to that of plain, measured in turn; and plain's, in seconds."""
    pairs = [(plain(), ours()) for _ in range(rounds)]
    return statistics.median(own / base for base, own in pairs), min(base for base, _ in pairs)


def profiled(work: Callable[[], float]) -> float:
    with start_contention():
        return work()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15, help="how often each is measured (%(default)s)")
    rounds = parser.parse_args().rounds
    implementations = {"native": sampler, "Python": _locks}
    for name, plain in (("Lock", threading.Lock), ("RLock", threading.RLock)):
        for kind, made in implementations.items():
            if made is not None:
                with watched(made):
                    plain_lock, our_lock = plain(), getattr(made, name)()
                    times, seconds = ratio(
                        rounds,
                        lambda: seconds_uncontended(plain_lock),  # noqa: B023
                        lambda: seconds_uncontended(our_lock),  # noqa: B023
                    )
                nanos = seconds / PASSES * 1e9
                print(f"with {name}, free, {kind}: {times:.2f} times the plain one's {nanos:.0f} ns")
    for what, work in (("queue", seconds_of_a_queue), ("lock", seconds_of_a_lock)):
        times, seconds = ratio(rounds, work, lambda: profiled(work))  # noqa: B023
        print(f"{what} that {WORKERS} threads fight over: {times:.2f} times the plain one's {seconds:.3f} s")


if __name__ == "__main__":
    main()
