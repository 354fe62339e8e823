"""The CPU profile's usual engine: timers of the threads' CPU clocks, and a signal handler that reads frames."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from types import ModuleType

from .profile import Frame, Label, Stack

LOOK_SECONDS = 0.05
"""Between two looks at what was sampled, and at which threads there are."""


class SignalEngine:
    """Reads frames natively, where a thread is when another period of its CPU time is over.

    OSError where that can't be.
    """

    def __init__(self, sampler: ModuleType, frequency: float, labels: bool) -> None:
        self._period = round(1e9 / frequency)
        self._sampler = sampler.CpuSampler(self._period, _name_of)
        self._pulse = sampler.Pulse(self._sampler.look, LOOK_SECONDS)
        self._had_the_signal = True
        self._sampler.start()
        try:
            self._pulse.start()
        except RuntimeError:
            self._sampler.stop()
            raise

    def end(self) -> None:
        """No more samples. A second call does nothing."""
        self._pulse.stop()
        self._had_the_signal = self._sampler.stop() and self._had_the_signal

    def found(self) -> Iterator[tuple[Stack, tuple[Label, ...], int, int]]:
        """Stack, labels, samples and nanoseconds; the same stack more than once."""
        for frames, name, ticks in self._sampler.samples():
            if isinstance(frames, str):
                stack: Stack = (Frame(frames, "", 0),)
            else:
                stack = tuple(Frame.of(code, line) for code, line in frames)
            yield stack, (("thread", name),) if name else (), ticks, ticks * self._period

    def comments(self) -> Iterator[str]:
        """How it was done, and what is not exact."""
        yield "each thread was sampled by a timer of its own CPU clock"
        if self._sampler.lost:
            yield f"{self._sampler.lost} samples had no room and were not counted"
        if self._sampler.refused:
            yield "some threads could not be sampled: no timer for them, or more than 4096 threads"
        if not self._had_the_signal:
            yield "other code took SIGPROF while the profile was taken: from then on samples are missing"


def _name_of(ident: int, tid: int) -> str:
    thread = threading._active.get(ident)  # type: ignore[attr-defined]
    if thread is not None:
        return str(thread.name)
    return "MainThread" if tid == os.getpid() else f"thread {tid}"
