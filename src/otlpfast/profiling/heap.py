"""Heap profiles: who allocated memory, and whose memory is in use.

Three engines find out. The native sampler takes a block in every 512 KiB or so out of all that Python's
allocators hand out: cheap enough to be on all the time. ``exact=True`` has tracemalloc count each block, at
several times the run time; it is also the engine where there is no native sampler. ``native=True`` has memray
see malloc() and mmap() themselves, with the C functions that called them.
"""

from __future__ import annotations

import os
import threading
from gc import collect
from typing import Protocol

from . import _native
from .profile import Profile, ValueType
from .recording import ProfilerBusyError

SAMPLE_BYTES = 512 * 1024

VALUE_TYPES = (
    ValueType("alloc_objects", "count"),
    ValueType("alloc_space", "bytes"),
    ValueType("inuse_objects", "count"),
    ValueType("inuse_space", "bytes"),
)


class Engine(Protocol):
    """Counts memory from its making on. All is called by any thread, also by two at once."""

    def profile(self) -> Profile:
        """What it found until now."""
        ...

    def end(self) -> Profile:
        """The last profile. May be called again, by who came in between: gives what can still be had."""
        ...

    def begin_child(self) -> bool:
        """This is a forked child; whether it goes on here."""
        ...


class HeapRecording:
    """A heap profile that is being taken. Made by ``start_heap()``; a context manager that stops it."""

    def __init__(self, engine: Engine) -> None:
        self._engine: Engine | None = engine
        self._last: Profile | None = None
        self._ending = threading.RLock()  # a signal handler may come in between

    def snapshot(self, gc: bool = False) -> Profile:
        """What was allocated since it began, and what of that is in use now. Once stopped: at its end.

        gc: collect garbage first, so that only what is referenced is in use.
        """
        if gc:
            collect()
        engine = self._engine
        if engine is None:
            return self.stop()
        return engine.profile()

    def stop(self) -> Profile:
        """Ends it, and gives the last snapshot; a second call gives the same again."""
        with self._ending:
            engine = self._engine
            if self._last is None and engine is not None:
                last = engine.end()
                self._last = self._last or last
                self._engine = None
                self._leave()
        assert self._last is not None
        return self._last

    def __enter__(self) -> HeapRecording:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _leave(self) -> None:
        if _in_use.get(_KEY) is self:
            del _in_use[_KEY]

    def _begin_child(self) -> None:
        self._ending = threading.RLock()  # whoever held it is not here
        if self._engine is not None and not self._engine.begin_child():
            self._leave()


# The recording that is on, or the one that is being started. A dictionary, whose setdefault is atomic.
_KEY = "heap"
_in_use: dict[str, HeapRecording | object] = {}


def start_heap(sample_bytes: int = SAMPLE_BYTES, exact: bool = False, native: bool = False) -> HeapRecording:
    """Begins to count memory; what was allocated before is in no profile.

    Args:
        sample_bytes: between two samples, on average. Estimates from few samples scatter: what makes up a
            MiB is seen with 86 % at 512 KiB. 1 counts each block. Without meaning for the other engines.
        exact: count each block, by tracemalloc. If that is on already, what it knows is part of it.
        native: see malloc() and mmap() too, by memray: ``pip install 'otlpfast[memray]'``.

    ProfilerBusyError if one is on. ImportError if memray is missing, RuntimeError if a tracker of it is on.
    ValueError for a sample_bytes that is not from 1 to 2^40, or exact with native.
    """
    if not 1 <= sample_bytes <= 1 << 40:
        raise ValueError(f"sample_bytes={sample_bytes}: from 1 to {1 << 40}")
    if exact and native:
        raise ValueError("exact=True is tracemalloc's profile, native=True memray's: it is one of them")
    claim = object()
    if _in_use.setdefault(_KEY, claim) is not claim:
        raise ProfilerBusyError("heap profiling already in use")
    try:
        recording = HeapRecording(_engine(sample_bytes, exact, native))
    except BaseException:
        _in_use.pop(_KEY, None)
        raise
    _in_use[_KEY] = recording
    return recording


def heap_recording() -> HeapRecording | None:
    """The one that is on, whoever began it."""
    found = _in_use.get(_KEY)
    return found if isinstance(found, HeapRecording) else None


def heap_profile(gc: bool = False) -> Profile:
    """A snapshot of the heap recording that is on, whoever began it; RuntimeError if there is none.

    gc: collect garbage first.
    """
    recording = heap_recording()
    if recording is None:
        raise RuntimeError("no heap recording is on: otlpfast.profiling.start_heap() begins one")
    return recording.snapshot(gc)


def _engine(sample_bytes: int, exact: bool, native: bool) -> Engine:
    # Here and not at the top: neither engine's modules are loaded for nothing.
    if native:
        from ._heap_memray import MemrayEngine

        return MemrayEngine()
    if exact or _native.sampler is None:
        from ._heap_exact import ExactEngine

        return ExactEngine("" if exact else "no native sampler here, so each block is counted")
    from ._heap_sampled import SampledEngine

    return SampledEngine(_native.sampler, sample_bytes)


def _begin_child() -> None:
    recording = heap_recording()
    if recording is not None:
        recording._begin_child()
    else:
        _in_use.clear()  # a thread that is not here was about to start one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)
