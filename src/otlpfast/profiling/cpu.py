"""The CPU profile: on which stacks the threads of this process use CPU time."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Protocol

from ._cpu_gil import GilEngine
from ._cpu_signal import SignalEngine
from ._native import sampler
from .profile import Label, Profile, Sample, Stack, ValueType
from .recording import ProfilerBusyError, Recording

MOST_FREQUENT = 10_000


class _Engine(Protocol):
    def end(self) -> None: ...

    def found(self) -> Iterator[tuple[Stack, tuple[Label, ...], int, int]]: ...

    def comments(self) -> Iterator[str]: ...


def start_cpu(frequency: float = 100, labels: bool = True) -> Recording:
    """Starts to record on which stacks the threads of this process use CPU time, until ``stop()``.

    On Linux each thread is sampled by a timer of its own CPU clock, which sends SIGPROF to it: a thread that
    waits costs nothing, and one that holds the GIL is seen where it is. A handler of SIGPROF that was there
    before still gets the signals that are not of these timers. Elsewhere, or where a process may not read its
    own memory with process_vm_readv(), a thread that needs the GIL looks at the others, and the comments of
    the profile say what that means.

    Args:
        frequency: samples for each second of CPU time of a thread, at most 10000.
        labels: whether samples say ``trace_id``, ``span_id``, ``span_name`` and ``task``; ``thread`` they say
            in any case.

    Returns:
        A recording whose profile has (samples, count) and (cpu, nanoseconds). A stack of one frame named
        ``<native>`` is of a thread that ran no Python code, ``<unreadable>`` of one whose frames could not be
        read at that moment.

    Raises:
        ValueError: a frequency that is not allowed.
        ProfilerBusyError: there is a CPU profile under way.
        RuntimeError: there can be no more threads.
    """
    global _running
    if not 0 < frequency <= MOST_FREQUENT:
        raise ValueError(f"frequency={frequency!r}: above 0, and at most {MOST_FREQUENT} a second")
    with _lock:
        if _running is not None and _running.is_ending:
            _running.end()  # a signal handler has raised in the first try
        if _running is not None:
            raise ProfilerBusyError("cpu profiling already in use")
        if sampler is not None:
            sampler.stop_cpu()  # or while it began
        _running = _CpuRecording(frequency, labels)
        return _running


class _CpuRecording:
    def __init__(self, frequency: float, labels: bool) -> None:
        self._period = round(1e9 / frequency)
        self._time, self._start, self._end = time.time_ns(), time.monotonic_ns(), 0
        self._cpu = time.process_time_ns()
        self._profile: Profile | None = None
        self._is_over = False
        self._engine: _Engine | None = _engine(frequency, labels)

    @property
    def is_ending(self) -> bool:
        """Whether its end has begun."""
        return self._end != 0

    def stop(self) -> Profile:
        """Ends it, and gives what was found; a second call gives the same again."""
        with _lock:
            self.end()
            if self._profile is None:
                self._profile = self._made()
                self._engine = None
            return self._profile

    def end(self) -> None:
        """No more samples."""
        global _running
        with _lock:
            if self._is_over:
                return
            if not self._end:
                self._cpu = time.process_time_ns() - self._cpu
                self._end = time.monotonic_ns()
            if self._engine is not None:
                self._engine.end()
            self._is_over = True
            if _running is self:
                _running = None

    def forget(self) -> None:
        """This is a child of the process in which it was started, which has all that was found."""
        self._end = self._end or time.monotonic_ns()
        self._is_over = True
        if isinstance(self._engine, SignalEngine):
            self._engine.unhook()
        self._engine = None

    def _made(self) -> Profile:
        merged: dict[tuple[Stack, tuple[Label, ...]], list[int]] = {}
        comments = ["cpu: the process forked: its parent has what was found"]
        if self._engine is not None:
            for stack, labels, count, nanos in self._engine.found():
                values = merged.setdefault((stack, labels), [0, 0])
                values[0] += count
                values[1] += nanos
            seen = sum(values[1] for values in merged.values())
            comments = [*self._engine.comments(), _account(seen, self._cpu)]
        return Profile(
            kind="cpu",
            value_types=(ValueType("samples", "count"), ValueType("cpu", "nanoseconds")),
            samples=tuple(Sample(stack, tuple(values), labels) for (stack, labels), values in merged.items()),
            time_unix_nano=self._time,
            duration_nanos=self._end - self._start,
            default_type="cpu",
            period_type=ValueType("cpu", "nanoseconds"),
            period=self._period,
            comments=tuple(comments),
        )


def _account(seen: int, used: int) -> str:
    return f"cpu: samples show {seen / 1e9:.3f} s of the {used / 1e9:.3f} s of CPU time that the process used"


def _engine(frequency: float, labels: bool) -> _Engine:
    if sampler is not None:
        with contextlib.suppress(OSError):
            return SignalEngine(sampler, frequency, labels)
    return GilEngine(frequency)


_lock = threading.RLock()  # a signal handler may stop what it interrupts the start or the end of
_running: _CpuRecording | None = None


def _end_running() -> None:
    if _running is not None:
        _running.end()


def _before_fork() -> None:
    if sampler is not None:
        sampler.pause_cpu(True)


def _after_fork() -> None:
    if sampler is not None:
        sampler.pause_cpu(False)


def _after_fork_in_child() -> None:
    global _lock, _running
    _lock = threading.RLock()
    if sampler is not None:
        sampler.forget_cpu()
    if _running is not None:
        _running.forget()
        _running = None


atexit.register(_end_running)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
