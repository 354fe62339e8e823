"""Lock and RLock that know how long threads wait for them, in plain Python: the twin of _sampler/locks.pxi.

A signal handler that raises between the taking of a lock and the return to the caller leaves the lock taken:
plain Python has no way around that.
"""

from __future__ import annotations

import _thread
import copyreg
import random
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import TIMEOUT_MAX
from time import monotonic_ns
from types import CodeType, FrameType, TracebackType
from typing import Any

Told = Callable[[int, "CodeType | None", int], None]

_PlainLock = type(_thread.allocate_lock())
_PlainRLock = _thread.RLock
_chance = random.Random().random  # a generator of its own: those of the application go on undisturbed
_told: Told | None = None
_one_in = 1


def watch_locks(told: Told | None, one_in: int = 1) -> None:
    """From now on, ``told(nanoseconds, code, line)`` is called in threads that waited for a Lock or RLock.

    Args:
        told: it may raise, and the lock is then given back; None ends it. The code and its line are the place
            that released the lock after it was held the longest while the thread waited, or None and 0.
        one_in: it is called after one wait of so many, chosen at random.
    """
    global _told, _one_in
    _one_in, _told = max(one_in, 1), told


class _Waiter:
    """A thread that waits, and where the lock was released after it was held the longest meanwhile."""

    __slots__ = ("began", "code", "line", "longest")

    def __init__(self, began: int) -> None:
        self.began, self.longest = began, -1
        self.code: CodeType | None = None
        self.line = 0


def _is_patience(timeout: object) -> bool:
    return timeout == -1 or (isinstance(timeout, (int, float)) and 0 < timeout <= TIMEOUT_MAX)


class _Watched:
    """What both have."""

    __slots__ = ("__weakref__", "_plain", "_released", "_waiting")
    _plain: Any

    def __init__(self, plain: Any) -> None:
        self._plain = plain
        self._waiting: list[_Waiter] = []
        self._released = 0  # last, while a thread waited

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._plain)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        told, plain = _told, self._plain
        if told is None or blocking != 1 or not _is_patience(timeout):
            got: bool = plain.acquire(blocking, timeout)
            return got
        if plain.acquire(False):
            return True
        waiter = _Waiter(monotonic_ns())
        self._waiting.append(waiter)
        try:
            got = plain.acquire(True, timeout)
        finally:
            with suppress(ValueError):  # it may have been reinitialised
                self._waiting.remove(waiter)
        if _one_in == 1 or _chance() * _one_in < 1:
            try:
                told(monotonic_ns() - waiter.began, waiter.code, waiter.line)
            except BaseException:
                # As if it had come while the thread waited: nobody will release what was not acquired.
                if got:
                    plain.release()
                raise
        return got

    def __enter__(self) -> bool:
        return self.acquire()

    def release(self) -> None:
        if self._waiting:
            self._say_who_held_it(sys._getframe(1))
        self._plain.release()

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        if self._waiting:
            self._say_who_held_it(sys._getframe(1))
        self._plain.release()

    def _say_who_held_it(self, frame: FrameType) -> None:
        now = monotonic_ns()
        for waiter in list(self._waiting):
            held = now - max(waiter.began, self._released)
            if held > waiter.longest:
                waiter.longest, waiter.code, waiter.line = held, frame.f_code, frame.f_lineno or 0
        self._released = now

    def _at_fork_reinit(self) -> None:
        self._waiting = []
        self._plain._at_fork_reinit()

    def __reduce_ex__(self, protocol: object) -> Any:
        # As a plain one: by what someone registered for it, or not at all.
        plain_type = type(self._plain)
        reducer = copyreg.dispatch_table.get(plain_type)
        if reducer is None:
            raise TypeError(f"cannot pickle '{plain_type.__module__}.{plain_type.__qualname__}' object")
        return reducer(self)

    def __reduce__(self) -> Any:
        return self.__reduce_ex__(0)

    def __repr__(self) -> str:
        said, _, _ = repr(self._plain).rpartition(" at ")
        return f"{said} at {id(self):#x}>"


class Lock(_Watched):
    """``_thread.lock`` that tells of waits."""

    __slots__ = ()

    def __init__(self) -> None:
        _Watched.__init__(self, _thread.allocate_lock())

    def locked(self) -> bool:
        locked: bool = self._plain.locked()
        return locked

    acquire_lock, release_lock, locked_lock = _Watched.acquire, _Watched.release, locked


class RLock(_Watched):
    """``_thread.RLock`` that tells of waits."""

    __slots__ = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _Watched.__init__(self, _PlainRLock(*args, **kwargs))

    def locked(self) -> bool:
        return not repr(self._plain).startswith("<unlocked")

    def _is_owned(self) -> bool:
        owned: bool = self._plain._is_owned()
        return owned

    def _recursion_count(self) -> int:
        # CPython 3.10 and 3.11 have none: their repr tells it.
        if not self._plain._is_owned():
            return 0
        return int(repr(self._plain).partition(" count=")[2].partition(" ")[0])

    def _release_save(self) -> Any:
        return self._plain._release_save()

    def _acquire_restore(self, state: Any) -> None:
        self._plain._acquire_restore(state)
