"""The usual engine of CPU profiles: timers of the threads' CPU clocks, and a handler that reads frames."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from types import ModuleType

from .._threads import are_real, real, start_real
from . import _landmarks
from ._frames import Lines
from ._labels import ThreadNames
from .profile import Frame, Label, Stack

MOST_LOOK_SECONDS, LEAST_LOOK_SECONDS = 0.25, 0.05
"""Between two looks at what was sampled, and at which threads there are. Each wakes a thread up."""
END_SECONDS = 5.0  # for the thread that looks to end
SAMPLES_OF_A_LOOK = 50  # for which the rings have room, at a hundred frames or so


class SignalEngine:
    """Reads frames natively, where a thread is when another period of its CPU time is over.

    OSError or RuntimeError where that can't be.
    """

    def __init__(self, sampler: ModuleType, frequency: float, labels: bool) -> None:
        self._period = round(1e9 / frequency)
        self._pause = min(max(SAMPLES_OF_A_LOOK / frequency, LEAST_LOOK_SECONDS), MOST_LOOK_SECONDS)
        self._names = ThreadNames()
        if labels:
            _landmarks.learn()
        self._sampler = sampler.CpuSampler(self._period, self._names, labels)
        self._had_the_signal = True
        self._wake, self._ended = real("allocate_lock")(), real("allocate_lock")()
        self._wake.acquire()
        self._ended.acquire()
        self._sampler.start()
        original = threading.Thread._bootstrap_inner  # type: ignore[attr-defined]
        while isinstance(original, sampler.ThreadHook):  # of one whose end was interrupted
            original = original.original
        self._hook = sampler.ThreadHook(original)
        if are_real():  # greenlets would begin and end the thread that they run in
            threading.Thread._bootstrap_inner = self._hook  # type: ignore[attr-defined]
        try:
            start_real(self._run)
        except BaseException:
            self.unhook()
            self._sampler.stop()
            raise

    def _run(self) -> None:
        try:
            while not self._wake.acquire(timeout=self._pause) and not self._sampler.is_ending:
                self._sampler.look()
        finally:
            self._ended.release()

    def end(self) -> None:
        """No more samples. A second call does what is left where a signal handler has raised in the first."""
        self.unhook()
        self._had_the_signal = self._sampler.stop() and self._had_the_signal
        with suppress(RuntimeError):  # it is released already
            self._wake.release()
        self._ended.acquire(timeout=END_SECONDS)

    def unhook(self) -> None:
        """Threads begin as ever."""
        if threading.Thread._bootstrap_inner is self._hook:  # type: ignore[attr-defined]
            threading.Thread._bootstrap_inner = self._hook.original  # type: ignore[attr-defined]

    def found(self) -> Iterator[tuple[Stack, tuple[Label, ...], int, int]]:
        """Stack, labels, samples and nanoseconds; the same stack more than once."""
        lines = Lines()
        for frames, number, work, ticks in self._sampler.samples():
            if isinstance(frames, str):
                stack: Stack = (Frame(frames, "", 0),)
            else:
                stack = tuple(lines.frame(code, line) for code, line in frames)
            name = self._names[number]
            labels = tuple(sorted((*work, ("thread", name)))) if name else work
            yield stack, labels, ticks, ticks * self._period

    def comments(self) -> Iterator[str]:
        """How it was done, and what is not exact."""
        yield "cpu: each thread was sampled by a timer of its own CPU clock"
        if self._sampler.lost:
            yield f"cpu: {self._sampler.lost} samples had no room and were not counted"
        if self._sampler.refused:
            yield "cpu: some threads could not be sampled: no timer for them, or more than 4096 threads"
        if not self._had_the_signal:
            yield "cpu: other code took SIGPROF while the profile was taken: from then on samples are missing"
