"""Engines that run for as long as anybody wants them: a server that keeps one on, a profile of 10 seconds."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from ..heap import HeapRecording

_Running = TypeVar("_Running")


class Shared(Generic[_Running]):
    """An engine that there can be one of: begins with the first who wants it and ends with the last."""

    def __init__(self, start: Callable[..., _Running], stop: Callable[[_Running], object]) -> None:
        self._start = start
        self._stop = stop
        self.forget()

    def forget(self) -> None:
        """In a forked child: whoever wanted it does so in the parent."""
        self._lock = threading.Lock()
        self._wanted = 0
        self._running: _Running | None = None

    @property
    def running(self) -> _Running | None:
        """The engine, where somebody wants it."""
        return self._running

    def want(self, **settings: Any) -> _Running:
        """Begins it, with these settings, where it does not run yet. ProfilerBusyError where others run it."""
        with self._lock:
            if self._running is None:
                self._running = self._start(**settings)
            self._wanted += 1
            return self._running

    def leave(self) -> None:
        """Undoes one ``want()``."""
        with self._lock:
            if self._wanted == 0:
                return  # of before a fork
            self._wanted -= 1
            if self._wanted == 0 and self._running is not None:
                running, self._running = self._running, None
                self._stop(running)

    @contextmanager
    def wanted(self) -> Iterator[_Running]:
        """It runs, as it does already or else with its own defaults."""
        running = self.want()
        try:
            yield running
        finally:
            self.leave()


def _start_heap(**settings: Any) -> HeapRecording:
    from ..heap import start_heap

    return start_heap(**settings)


def _start_contention(**settings: Any) -> Any:
    from ..contention import start_contention

    return start_contention(**settings)


heap: Shared[HeapRecording] = Shared(_start_heap, lambda recording: recording.stop())
contention: Shared[Any] = Shared(_start_contention, lambda undo: undo.stop())


def _in_child() -> None:
    heap.forget()
    contention.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
