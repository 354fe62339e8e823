"""Block and mutex profiles: where threads and tasks wait for each other.

``mutex`` has the waits for Lock, RLock and Semaphore, ``block`` those in Condition (and so in Event, Barrier,
``queue.Queue`` and futures), ``queue.SimpleQueue``, ``Thread.join``, and in asyncio. Nobody looks until
``start_contention()``, which puts measuring locks in the place of ``threading.Lock`` and ``threading.RLock``,
and measuring methods in that of the others. Taking a lock that is free is not measured.
"""

from __future__ import annotations

import _thread
import os
import time
from types import TracebackType
from typing import TYPE_CHECKING

from .. import _threads
from .profile import Profile, ValueType

if TYPE_CHECKING:
    from ._patches import Patched
    from ._waits import Waits

BLOCK_RATE = 10_000
"""Nanoseconds of blocking for each sample: waits of 10 µs and more are all counted."""

MUTEX_FRACTION = 1
"""Each wait for a lock is counted: what is long and rare must not be missed."""

# Re-entrant: a signal handler may come in between, and that starts or stops as well.
_changing = _thread.RLock()
_handles: list[Contention] = []
_patched: list[Patched] = []
_waits: Waits | None = None  # since the last beginning; stays after the end
_hooked = False


class Contention:
    """Contention is profiled until ``stop()``. Made by ``start_contention()``; a context manager."""

    def __init__(self, block_rate: int, mutex_fraction: int) -> None:
        self.block_rate, self.mutex_fraction = block_rate, mutex_fraction

    def stop(self) -> None:
        """Ends it; with the last that ends, all names are given back. A second call does nothing.

        Locks that were made meanwhile go on working, and measure nothing. What was counted can still be had.
        """
        with _changing:
            if self in _handles:
                _handles.remove(self)
                _apply()

    def block(self) -> Profile:
        """As ``block()``."""
        return block()

    def mutex(self) -> Profile:
        """As ``mutex()``."""
        return mutex()

    def __enter__(self) -> Contention:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def start_contention(block_rate: int | None = None, mutex_fraction: int | None = None) -> Contention:
    """Begins to count waits, for ``block()`` and ``mutex()``.

    Of locks, those are seen that are made from now on through ``threading``: call it early. Conditions,
    events, semaphores, threads, queues and what asyncio has are seen whenever they were made. It can be
    started several times: the rates of the newest are in force, and the last to stop ends it.

    Args:
        block_rate: nanoseconds of blocking for each sample, as Go's ``SetBlockProfileRate``. Waits that are
            shorter are counted in proportion to their length, and weighted; 1 counts all, 0 none. Left out,
            it is that which is in force, or ``BLOCK_RATE``.
        mutex_fraction: one of so many waits for a lock is counted, and weighted, as Go's
            ``SetMutexProfileFraction``; 0 counts none. Left out, it is that which is in force, or
            ``MUTEX_FRACTION``.

    Raises:
        ValueError: a rate is below 0.
        RuntimeError: threads are gevent's or eventlet's, which have locks of their own.
    """
    for name, value in (("block_rate", block_rate), ("mutex_fraction", mutex_fraction)):
        if value is not None and not 0 <= int(value) < 1 << 63:
            raise ValueError(f"{name}={value}: 0 or more is understood")
    if not _threads.are_real():
        raise RuntimeError(
            "contention can't be profiled where gevent or eventlet has replaced the locks of threading: "
            "profile its wall time instead"
        )
    with _changing:
        newest = _handles[-1] if _handles else Contention(BLOCK_RATE, MUTEX_FRACTION)
        handle = Contention(
            newest.block_rate if block_rate is None else int(block_rate),
            newest.mutex_fraction if mutex_fraction is None else int(mutex_fraction),
        )
        _handles.append(handle)
        try:
            _apply()
        except BaseException:
            _handles.remove(handle)
            raise
    return handle


def is_on(kind: str = "") -> bool:
    """Whether contention is being profiled: of that kind, ``block`` or ``mutex``, or any."""
    newest = _handles[-1] if _handles else None
    if newest is None or not kind:
        return newest is not None
    return bool(newest.block_rate if kind == "block" else newest.mutex_fraction)


def block() -> Profile:
    """Waits for an event since ``start_contention()``: contentions and delay (ns) by stack.

    Labels: ``thread``; ``trace_id``, ``span_id`` and ``span_name`` of the current span; ``task`` in asyncio.
    A wait appears once it is over. Empty before the first start; after the end it stays as it was.
    """
    return _snapshot("block")


def mutex() -> Profile:
    """Waits for a lock since ``start_contention()``: contentions and delay (ns), by the stack that waited.

    Labels as those of ``block()``, and ``holder``: what released it after it was held the longest meanwhile.
    With ``go tool pprof -tagroot=holder`` the delay is that which each holder has caused.
    """
    return _snapshot("mutex")


def _snapshot(kind: str) -> Profile:
    waits = _waits
    if waits is not None:
        return waits.profile(kind)
    types = ValueType("contentions", "count"), ValueType("delay", "nanoseconds")
    return Profile(kind, types, (), time.time_ns(), comments=("It is off: start_contention() begins it.",))


def _apply() -> None:
    """Makes true what the handles say; called with ``_changing``."""
    global _waits, _hooked, _patched
    from . import _patches  # it takes asyncio: whoever only looks need not
    from ._waits import Waits

    if not _handles:
        done, _patched = _patched, []
        _patches.undo(done)
        if _waits is not None:
            _waits.end()
        return
    newest = _handles[-1]
    if not _patched:
        _waits = Waits(newest.block_rate, newest.mutex_fraction)
        _patched = _patches.install(_waits)
    if _waits is not None:
        _waits.block_rate, _waits.mutex_fraction = newest.block_rate, newest.mutex_fraction
        _patches.tell(_waits)
    if not _hooked and hasattr(os, "register_at_fork"):
        _hooked = True
        os.register_at_fork(after_in_child=_begin_child)


def _begin_child() -> None:
    global _changing
    _changing = _thread.RLock()
    if _waits is not None:
        _waits.forget()
