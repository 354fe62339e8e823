"""What becomes of a span that finds the queue full: the policies of ``on_full``."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from ._impl import SpanQueue

POLICIES = ("drop_newest", "drop_oldest", "block", "spool")


class DropOldest:
    """Makes room by dropping the oldest batch that waits, whole.

    Args:
        waiting: the queue.
        warn: is told that spans were dropped.
    """

    def __init__(self, waiting: SpanQueue, warn: Callable[[], None]) -> None:
        self._waiting = waiting
        self._warn = warn

    def __call__(self, size: int) -> bool:
        """Whether there was something to drop: not where all the room is taken by what is under way."""
        taken = self._waiting.take()
        if taken is None:
            return False
        self._waiting.counters.add("queue_full", taken[1])
        self._waiting.done(taken[1], taken[2])
        del taken  # its memory goes back before more is asked for
        self._warn()
        return True


class Block:
    """Waits until the export thread has made room, but once for each time that the queue gets stuck.

    Whoever waited in vain, and everybody after that, goes on at once until there was room again: a collector
    that is away costs an application one wait and not one a span.

    Args:
        waiting: the queue.
        patience: seconds to wait, all in all, however often others were faster to take the room.
        exporting: whether the present thread is the one that has to make room.
        hurry: has what waits exported, also what is no full batch yet.
    """

    def __init__(
        self,
        waiting: SpanQueue,
        patience: float,
        exporting: Callable[[], bool],
        hurry: Callable[[], None],
    ) -> None:
        self._waiting = waiting
        self._patience = patience
        self._exporting = exporting
        self._hurry = hurry
        # Bare locks: a signal handler that ends a span may interrupt a thread anywhere in here.
        self._gates: deque[threading.Lock] = deque()
        self._is_stuck = False

    def __call__(self, size: int) -> bool:
        """Waits for room for so many bytes; whether there may be some now."""
        if self._is_stuck or self._exporting():
            return False
        deadline = time.monotonic() + self._patience
        while True:
            gate = threading.Lock()
            gate.acquire()
            self._gates.append(gate)
            if self._has_room(size):  # only now: from here on, no making of room is missed
                self._forget(gate)
                return True
            self._hurry()
            if not gate.acquire(timeout=max(deadline - time.monotonic(), 0)):
                self._forget(gate)
                self._is_stuck = True
                return False

    def _has_room(self, size: int) -> bool:
        waiting = self._waiting
        has_room = waiting.waiting < waiting.max_spans and size <= waiting.max_bytes - waiting.nbytes
        return has_room or waiting.closed

    def _forget(self, gate: threading.Lock) -> None:
        with suppress(ValueError):  # it was opened just now
            self._gates.remove(gate)

    def made_room(self) -> None:
        """Lets all look who wait."""
        self._is_stuck = False
        with suppress(IndexError):
            while True:
                self._gates.popleft().release()
