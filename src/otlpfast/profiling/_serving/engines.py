"""Engines that run for as long as anybody wants them: a server that keeps one on, a profile of 10 seconds."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..._checks import whole_number

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
        self._lock = threading.RLock()  # a signal handler or a finaliser may come in between
        self._wanted = 0
        self._own: _Running | None = None

    def want(self, **settings: Any) -> tuple[_Running, Callable[[], None]]:
        """The engine that is on already, or a new one with these settings; and what ends that it is wanted.

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


def keep_on(undo: ExitStack, sample_heap: bool, block_rate: int, mutex_fraction: int) -> None:
    """Has engines on until ``undo`` is closed; 0 is off. Raises what they do where that can't be."""
    whole_number("block_rate", block_rate, 0, 1 << 62)
    whole_number("mutex_fraction", mutex_fraction, 0, 1 << 62)
    if sample_heap:
        undo.callback(heap.want()[1])
    if block_rate or mutex_fraction:
        from ..contention import start_contention

        undo.callback(start_contention(block_rate, mutex_fraction).stop)


@contextmanager
def contention(name: str) -> Iterator[None]:
    """Waits are counted meanwhile, at the rates in force or else the usual ones."""
    from ..contention import BLOCK_RATE, MUTEX_FRACTION, start_contention

    with start_contention() as handle:
        if name == "block" and handle.block_rate == 0:
            with start_contention(block_rate=BLOCK_RATE):
                yield
        elif name == "mutex" and handle.mutex_fraction == 0:
            with start_contention(mutex_fraction=MUTEX_FRACTION):
                yield
        else:
            yield


def _in_child() -> None:
    heap.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
