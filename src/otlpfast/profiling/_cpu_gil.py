"""The CPU profile where there is no native sampler: a thread that takes the GIL and looks at the others."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from types import FrameType

from .._threads import real, start_real
from ._frames import Lines, Place, current_frames, places_of
from ._labels import ThreadNames, thread_of
from .profile import Label, Stack

_BIASED = "cpu: biased: taken by a thread that needs the GIL, and so sees others only where they let go of it"
BIAS = (
    _BIASED,
    "cpu: take the stacks for a hint, and the CPU time of each thread for right",
    "cpu: threads that Python did not start are missing",
)
BIAS_WITHOUT_CLOCKS = (
    _BIASED,
    "cpu: the CPU time of the process is shared by the threads that were not where they had been",
)
HAS_CLOCKS = sys.platform == "linux"
END_SECONDS = 5.0  # for the thread that looks to end


class GilEngine:
    """Gives the CPU time that a thread has used since the last look to the stack where it is found."""

    def __init__(self, frequency: float) -> None:
        self._seconds = 1 / frequency
        self._names, self._lines = ThreadNames(), Lines()
        self._counts: dict[tuple[tuple[Place, ...], int], list[int]] = {}
        self._clock_of = clocks_of_threads if HAS_CLOCKS else Shares()
        self._clocks = self._clock_of(current_frames())
        self._wake, self._ended = real("allocate_lock")(), real("allocate_lock")()
        self._wake.acquire()
        self._ended.acquire()
        start_real(self._run)

    def end(self) -> None:
        """No more samples. A second call does what is left where a signal handler has raised in the first."""
        with suppress(RuntimeError):  # it is released already
            self._wake.release()
        self._ended.acquire(timeout=END_SECONDS)

    def found(self) -> Iterator[tuple[Stack, tuple[Label, ...], int, int]]:
        """Stack, labels, samples and nanoseconds; the same stack more than once."""
        for (places, number), (count, nanos) in self._counts.items():
            name = self._names[number]
            yield self._lines.stack(places), (("thread", name),) if name else (), count, nanos

    def comments(self) -> Iterator[str]:
        """How it was done, and what is not exact."""
        yield from BIAS if HAS_CLOCKS else BIAS_WITHOUT_CLOCKS

    def _run(self) -> None:
        here = real("get_ident")()
        try:
            while not self._wake.acquire(timeout=self._seconds):
                self._look(here)
            self._look(here)
        finally:
            self._ended.release()

    def _look(self, here: int) -> None:
        frames = current_frames()
        frames.pop(here, None)
        clocks = self._clock_of(frames)
        for ident, clock in clocks.items():
            before = self._clocks.get(ident, 0)
            # The ident of a thread that has ended may be another's.
            used = clock - before if clock >= before else clock
            if used:
                key = places_of(frames[ident]), self._names.of(ident, ident)
                counted = self._counts.setdefault(key, [0, 0])
                counted[0] += 1
                counted[1] += used
        self._names.keep(frames.keys())
        self._clocks = clocks


def clocks_of_threads(frames: dict[int, FrameType]) -> dict[int, int]:
    """The CPU clocks of threads, by ident, in nanoseconds."""
    found = {}
    for ident in frames:
        # Not time.pthread_getcpuclockid(): for a thread that has just ended it may crash. This is how Linux
        # names the clock of a thread.
        thread = thread_of(ident)
        # A fork leaves the thread that it copied the thread id that it had in the parent.
        is_main = thread is threading.main_thread()
        thread_id = os.getpid() if is_main else thread.native_id if thread is not None else None
        if thread_id:
            with suppress(OSError):
                found[ident] = time.clock_gettime_ns(~thread_id << 3 | 6)
    return found


class Shares:
    """In place of clocks: the CPU time of the process goes to the threads that are not where they were."""

    def __init__(self) -> None:
        self._clock = time.process_time_ns()
        self._clocks: dict[int, int] = {}
        self._places: dict[int, tuple[int, int]] = {}

    def __call__(self, frames: dict[int, FrameType]) -> dict[int, int]:
        clock, places = time.process_time_ns(), {i: (id(f), f.f_lasti) for i, f in frames.items()}
        moved = [ident for ident in frames if places[ident] != self._places.get(ident)] or list(frames)
        clocks = {ident: self._clocks.get(ident, 0) for ident in frames}
        for ident in moved:
            clocks[ident] += (clock - self._clock) // len(moved)
        self._clock, self._clocks, self._places = clock, clocks, places
        return clocks
