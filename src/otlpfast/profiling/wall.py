"""The wall profile: where all threads spend their time, whether they compute or wait."""

from __future__ import annotations

import atexit
import os
import random
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

from .._threads import are_real, real, start_real
from ._frames import Lines, Place, current_frames, places_of
from ._labels import SPAN_KEY, ThreadNames, Work, context_variable, work_of_task
from ._look import task_in, tasks_by_frame
from ._native import sampler
from .profile import Profile, Sample, Stack, ValueType
from .recording import ProfilerBusyError, Recording

MOST_FREQUENT = 1_000
MOST_COUNTS = 1 << 15
END_SECONDS = 5.0
"""How long ``stop()`` waits for the sampler, which needs the GIL once more to end."""

TRIES = 100  # of a last look, where the list of threads is about to change

_BIAS = (
    "wall: a thread that holds the GIL is seen where it lets go of it; waits are seen right",
    "wall: a look stands for the time from halfway to the one before until halfway to the next",
)

_OWN = {
    os.path.join(os.path.dirname(__file__), f"{name}.py")
    for name in ("_cpu_gil", "_cpu_signal", "_ordered", "periodic", "runtime")
}
"""What runs in threads that are not the application's."""

Result = tuple[Stack, "Work | None", int, int]
"""Stack, what was worked on, how often it was seen, and nanoseconds."""


class _Engine(Protocol):
    names: ThreadNames

    def add(self, nanos: int) -> bool:
        """Looks at all threads but the caller's; False if that has to be tried again."""
        ...

    def prolong(self, nanos: int) -> None:
        """What was seen last went on for so long."""
        ...

    def results(self) -> Iterator[Result]: ...

    def comments(self) -> Iterator[str]: ...


def start_wall(frequency: float = 100, labels: bool = True) -> Recording:
    """Starts to record what all threads of this process are doing, until ``stop()``.

    Args:
        frequency: looks a second, at most 1000. The time between two varies at random by half, so that what
            the application does in step with the clock is seen at its true share.
        labels: whether samples say ``thread``, ``trace_id``, ``span_id``, ``span_name`` and ``task``.

    Returns:
        A recording whose profile has (samples, count) and (wall, nanoseconds).

    Raises:
        ValueError: a frequency that is not allowed.
        ProfilerBusyError: there is a wall profile under way.
        RuntimeError: there can be no more threads.
    """
    global _current
    if not 0 < frequency <= MOST_FREQUENT:
        raise ValueError(f"frequency={frequency!r}: above 0, and at most {MOST_FREQUENT} a second")
    if not _busy.acquire(blocking=False):
        raise ProfilerBusyError("wall profiling already in use")
    try:
        _current = _WallRecording(frequency, labels)
    except BaseException:
        _busy.release()
        raise
    return _current.begun()


class _WallRecording:
    def __init__(self, frequency: float, labels: bool) -> None:
        self._period = round(1e9 / frequency)
        self._engine: _Engine = _NativeEngine(labels) if sampler is not None else _PlainEngine(labels)
        self._profile: Profile | None = None
        self._trouble: str | None = None
        self._time, self._start, self._end = time.time_ns(), time.monotonic_ns(), 0
        self._make_locks()

    def begun(self) -> _WallRecording:
        """Itself, with its thread."""
        try:
            self._ended.acquire()
            try:
                start_real(self._run)
            except BaseException:
                self._ended.release()
                raise
        except BaseException:
            self.end()
            raise
        return self

    def _make_locks(self) -> None:
        self._lock = real("RLock")()  # a signal handler may stop what it interrupts the start or the end of
        self._wake = real("allocate_lock")()
        self._wake.acquire()
        self._ended = real("allocate_lock")()

    def stop(self) -> Profile:
        """Ends it, and gives what was found; a second call gives the same again."""
        with self._lock:
            if self._profile is None:
                self.end()
                self._profile = self._made()
            return self._profile

    def end(self) -> None:
        """Ends the sampler's thread."""
        global _current
        with self._lock:
            if self._end:
                return
            self._end = time.monotonic_ns()
            try:
                self._wake.release()
                self._ended.acquire(timeout=END_SECONDS)
            finally:
                if _current is self:
                    _current = None
                    _busy.release()

    def forget_thread(self) -> None:
        """This is a child of the process in which it was started: nobody samples here."""
        self._make_locks()
        self._end = self._end or time.monotonic_ns()
        self._trouble = "wall: the process forked; this is what was seen before"

    def _run(self) -> None:
        try:
            self._sample()
        except Exception as error:
            self._trouble = f"wall: ended early by {type(error).__name__}: {error}"
        finally:
            self._ended.release()

    def _sample(self) -> None:
        vary, period, wait = random.Random().random, self._period, self._wake.acquire
        before = due = self._start
        while True:
            due += round(period * (0.5 + vary()))
            if wait(timeout=max(due - time.monotonic_ns(), 0) / 1e9):
                return self._look_last(before)
            now = time.monotonic_ns()
            if self._engine.add(now - before):
                before = now
            due = max(due, now - period)  # what was missed is not made up for

    def _look_last(self, before: int) -> None:
        since = max(self._end - before, 0)
        for _ in range(TRIES if before == self._start else 0):  # however short it was, it is not empty
            if self._engine.add(since):
                break
        self._engine.prolong(since)

    def _made(self) -> Profile:
        samples: dict[tuple[Any, ...], list[int]] = {}
        for stack, work, count, nanos in self._engine.results():
            if _is_own(stack):
                continue
            labels = work.labels(self._engine.names) if work is not None else ()
            values = samples.setdefault((stack, labels), [0, 0])
            values[0] += count
            values[1] += nanos
        comments = [*_BIAS, *self._engine.comments()]
        if not are_real():
            comments.append("wall: of the greenlets of a thread only the one that runs is seen")
        if self._trouble:
            comments.append(self._trouble)
        return Profile(
            kind="wall",
            value_types=(ValueType("samples", "count"), ValueType("wall", "nanoseconds")),
            samples=tuple(Sample(stack, tuple(v), labels) for (stack, labels), v in samples.items()),
            time_unix_nano=self._time,
            duration_nanos=self._end - self._start,
            default_type="wall",
            period_type=ValueType("wall", "nanoseconds"),
            period=self._period,
            comments=tuple(comments),
        )


def _is_own(stack: Stack) -> bool:
    """Whether it is of a thread that profiling has started for itself."""
    begun = next((frame for frame in reversed(stack) if frame.filename != threading.__file__), None)
    return begun is not None and begun.filename in _OWN


class _NativeEngine:
    def __init__(self, labels: bool) -> None:
        assert sampler is not None
        self.names = ThreadNames()
        self._counter = sampler.WallCounter(self.names, context_variable(), SPAN_KEY, labels, MOST_COUNTS)
        self.add, self.prolong = self._counter.add, self._counter.prolong

    def results(self) -> Iterator[Result]:
        lines = Lines()
        stacks: dict[int, Stack] = {}
        works: dict[int, Work] = {}
        for stack, work, count, nanos in self._counter.counted():
            if stack not in stacks:
                places = self._counter.stacks.frames(stack)
                stacks[stack] = tuple(lines.frame(code, line) for code, line in places)
            if work not in works:
                works[work] = Work(*self._counter.work(work))
            yield stacks[stack], works[work], count, nanos

    def comments(self) -> Iterator[str]:
        yield from _limits(self._counter.lost, self._counter.unlabelled)


class _PlainEngine:
    def __init__(self, labels: bool) -> None:
        self.names = ThreadNames()
        self._has_labels, self._me = labels, real("get_ident")
        self._counts: dict[tuple[tuple[Place, ...], Work | None], list[int]] = {}
        self._latest: list[list[int]] = []
        self._lost = 0

    def add(self, nanos: int) -> bool:
        frames = current_frames()
        frames.pop(self._me(), None)
        half = nanos // 2 if self._latest else 0
        self.prolong(half)
        running = tasks_by_frame(frames) if self._has_labels else {}
        if self._has_labels:
            self.names.keep(frames.keys())
        for ident, frame in frames.items():
            places, work = places_of(frame), None
            if self._has_labels:
                thread = self.names.of(ident, ident)
                task = task_in(frame, running)
                work = work_of_task(task, thread) if task is not None else Work(thread)
            self._count(places, work, nanos - half)
        return True

    def prolong(self, nanos: int) -> None:
        for values in self._latest:
            values[1] += nanos
        self._latest = []

    def _count(self, places: tuple[Place, ...], work: Work | None, nanos: int) -> None:
        if len(self._counts) >= MOST_COUNTS and (places, work) not in self._counts:
            self._lost += 1
            return
        values = self._counts.setdefault((places, work), [0, 0])
        values[0] += 1
        values[1] += nanos
        self._latest.append(values)

    def results(self) -> Iterator[Result]:
        lines = Lines()
        for (places, work), (count, nanos) in self._counts.items():
            yield lines.stack(places), work, count, nanos

    def comments(self) -> Iterator[str]:
        yield "wall: without the compiled sampler only asyncio tasks that run have trace_id and span_id"
        yield from _limits(self._lost, 0)


def _limits(lost: int, unlabelled: int) -> Iterator[str]:
    if lost:
        yield f"wall: {lost} samples had no room: there were too many different stacks and labels"
    if unlabelled:
        yield f"wall: {unlabelled} samples have no trace_id: there were too many"


_current: _WallRecording | None = None
_busy = real("allocate_lock")()


def _end_at_exit() -> None:
    # A thread that comes back for the GIL of an interpreter that is gone would be ended where it stands.
    if _current is not None:
        _current.end()


def _forget_in_child() -> None:
    global _current, _busy
    if _current is not None:
        _current.forget_thread()
    _current, _busy = None, real("allocate_lock")()


atexit.register(_end_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
