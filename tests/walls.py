"""Wall profiles until one has what a test waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from otlpfast.profiling import Sample, start_wall

from .collector import PATIENCE


def functions(sample: Sample) -> list[str]:
    """Names of its frames without their classes and outer functions, the innermost first."""
    return [frame.function.rpartition(".")[2] for frame in sample.stack]


def recorded(is_there: Callable[[Sample], bool], labels: bool = True) -> Sample:
    """A sample of that kind, out of as many wall profiles as it takes."""
    deadline, pause = time.monotonic() + PATIENCE, threading.Event()
    while time.monotonic() < deadline:
        recording = start_wall(500, labels=labels)
        pause.wait(0.05)
        for sample in recording.stop().samples:
            if is_there(sample):
                return sample
    raise AssertionError(f"no such sample in {PATIENCE} s")


@contextmanager
def held(work: Callable[[Callable[[], None]], None], *names: str) -> Iterator[list[threading.Thread]]:
    """Threads that do this work, each as far as where it calls what it is given, and there wait."""
    go, arrived = threading.Event(), threading.Semaphore(0)

    def rest() -> None:
        arrived.release()
        go.wait(PATIENCE)

    threads = [threading.Thread(target=work, args=(rest,), name=name, daemon=True) for name in names]
    for thread in threads:
        thread.start()
    try:
        assert all(arrived.acquire(timeout=PATIENCE) for _ in threads)
        yield threads
    finally:
        go.set()
        for thread in threads:
            thread.join(PATIENCE)
