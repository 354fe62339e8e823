"""Threads that wait for each other, until a profile has seen it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from otlpfast.profiling import Profile, Sample, contention

PATIENCE = 60.0  # seconds


@pytest.fixture(name="profiled")
def profiled_fixture() -> Iterator[contention.Contention]:
    """Contention is profiled, and each wait counted."""
    with contention.start_contention(block_rate=1, mutex_fraction=1) as handle:
        yield handle
    assert not contention.is_on()


def those(profile: Profile, function: str) -> list[Sample]:
    """Samples with a function of this qualified name, or the end of it, among their frames."""
    return [
        sample
        for sample in profile.samples
        if any(f".{frame.function}".endswith(f".{function}") for frame in sample.stack)
    ]


def at(profile: Profile, function: str) -> list[Sample]:
    """Samples whose innermost frame is in a function of this name."""
    return [sample for sample in profile.samples if sample.stack[0].function.rpartition(".")[2] == function]


def seen(profile: Callable[[], Profile], function: str, scenario: Callable[[], object]) -> Sample:
    """The longest wait in a function, after as many runs of a scenario as it takes for one to have waited.

    On a busy machine, what a thread would wait for may be there before it looks.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        scenario()
        found = those(profile(), function)
        if found:
            return max(found, key=lambda sample: sample.values[1])
    raise AssertionError(f"nothing waited in {function}: {profile().samples}")


@contextmanager
def later(work: Callable[[], object], seconds: float = 0.02) -> Iterator[None]:
    """Another thread does it in a moment, and is done at the end."""
    timer = threading.Timer(seconds, work)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@contextmanager
def held_elsewhere(lock: Any) -> Iterator[Callable[[], object]]:
    """Another thread holds it, until the function that this gives is called."""
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            done.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(PATIENCE)
    try:
        yield done.set
    finally:
        done.set()
        thread.join()
