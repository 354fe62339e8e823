"""The thread that moves batches from a queue that fills up to the spool, and keeps the disk in step."""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import threading
import time
from collections.abc import Callable

from ._log import RateLimitedLog
from ._spooling import Spooling
from ._threads import start_outside

_logger = logging.getLogger(__name__)

_SYNC_INTERVAL = 0.5  # seconds of records that a loss of power may cost; the death of the process costs none


class Spiller:
    """Empties a queue that fills up while an export waits for a collector, which can take seconds.

    The thread starts with the first message, of which a SimpleQueue takes one from anywhere.

    Args:
        spooling: where batches go.
        spill: moves one batch from the queue; False where there is no need.
    """

    def __init__(self, spooling: Spooling, spill: Callable[[], bool]) -> None:
        self._spooling = spooling
        self._spill = spill
        self._inbox: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._woken = self._stopping = False
        self._sync_at = math.inf
        self._log = RateLimitedLog(_logger)
        spooling.appended = self.wake

    def wake(self) -> None:
        """Has the thread look at the queue, and at the disk a moment later."""
        if self._thread is None:
            self._start()
        if not self._woken:
            self._woken = True
            self._inbox.put(None)

    def _start(self) -> None:
        if self._stopping or not self._start_lock.acquire(blocking=False):
            return
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="otlpfast-spool", daemon=True)
                with contextlib.suppress(RuntimeError):  # the interpreter is on its way out
                    start_outside(thread)
                    self._thread = thread
        finally:
            self._start_lock.release()

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._turn()
            except Exception as error:
                text = "the spool's thread goes on after %s: %s"
                self._log.warning("raised", text, type(error).__name__, error)

    def _turn(self) -> None:
        left = self._sync_at - time.monotonic()
        with contextlib.suppress(queue.Empty):
            self._inbox.get(timeout=None if left == math.inf else max(left, 0))
            self._woken = False
            self._sync_at = min(self._sync_at, time.monotonic() + _SYNC_INTERVAL)
            while self._spill():
                pass
        if time.monotonic() >= self._sync_at:
            self._sync_at = math.inf
            self._spooling.spool.sync()

    def stop(self) -> None:
        """Ends the thread soon; nothing waits for it."""
        self._stopping = True
        self._inbox.put(None)
