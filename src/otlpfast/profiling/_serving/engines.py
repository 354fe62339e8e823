"""Engines that run for as long as anybody wants them: a server that keeps one on, a profile of 10 seconds."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from ..heap import HeapRecording

_Running = TypeVar("_Running")


class Shared(Generic[_Running]):
    """An engine that there can be one of: it begins with the first who wants it and ends with the last.

    Args:
        find: the one that is on, whoever began it; None where there is none.
        start: begins one.
        stop: ends it.
    """

    def __init__(
        self,
        find: Callable[[], _Running | None],
        start: Callable[..., _Running],
        stop: Callable[[_Running], object],
    ) -> None:
        self.find = find
        self._start = start
        self._stop = stop
        self.forget()

    def forget(self) -> None:
        """In a forked child: whoever wanted it does so in the parent."""
        self._lock = threading.Lock()
        self._wanted = 0
        self._own: _Running | None = None

    def want(self, **settings: Any) -> tuple[_Running, Callable[[], None]]:
        """The engine that is on already, or a new one with these settings; and how to say that it is no more wanted.

        ProfilerBusyError where it can't be had.
        """
        with self._lock:
            running = self.find()
            if running is None:
                self._own = running = self._start(**settings)
            if running is not self._own:
                return running, _nothing  # whoever began it ends it
            self._wanted += 1
            return running, self._leave

    def _leave(self) -> None:
        with self._lock:
            self._wanted = max(self._wanted - 1, 0)
            if self._wanted == 0 and self._own is not None:
                own, self._own = self._own, None
                self._stop(own)


def _nothing() -> None:
    pass


def _find_heap() -> HeapRecording | None:
    from ..heap import heap_recording

    return heap_recording()


def _start_heap(**settings: Any) -> HeapRecording:
    from ..heap import start_heap

    return start_heap(**settings)


heap: Shared[HeapRecording] = Shared(_find_heap, _start_heap, lambda recording: recording.stop())


def keep_on(undo: ExitStack, heap_too: bool) -> None:
    """Has engines on until ``undo`` is closed."""
    if heap_too:
        undo.callback(heap.want()[1])


def _in_child() -> None:
    heap.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
