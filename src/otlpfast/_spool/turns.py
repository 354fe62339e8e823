"""One thread at a time, and a signal handler that comes between turns away."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar


class Guarded(Protocol):
    """What takes turns."""

    lock: threading.RLock
    busy: bool
    closed: bool
    lined_up: list[int]  # threads that wait for their turn

    def after_fork(self) -> None:
        """Starts anew in a forked child."""


_S = TypeVar("_S", bound=Guarded)
_P = ParamSpec("_P")
_R = TypeVar("_R")


def one_at_a_time(
    default: Any,
) -> Callable[[Callable[Concatenate[_S, _P], _R]], Callable[Concatenate[_S, _P], _R]]:
    """Has one thread at a time in a method. Where that thread is in one already, it gives the default.

    A signal handler may have interrupted it anywhere: the lock lets it in again, and the flag sends it back.
    So does ``closed``.
    """

    def decorate(method: Callable[Concatenate[_S, _P], _R]) -> Callable[Concatenate[_S, _P], _R]:
        @functools.wraps(method)
        def alone(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
            self.after_fork()
            if not self.lock.acquire(blocking=False):
                _line_up(self)
            try:
                if self.busy or self.closed:
                    return default  # type: ignore[no-any-return]
                self.busy = True
                try:
                    return method(self, *args, **kwargs)
                finally:
                    self.busy = False
            finally:
                self.lock.release()

        return alone

    return decorate


def _line_up(guarded: Guarded) -> None:
    guarded.lined_up.append(threading.get_ident())
    try:
        guarded.lock.acquire()
    finally:
        guarded.lined_up.remove(threading.get_ident())
