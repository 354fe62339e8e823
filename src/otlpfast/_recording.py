"""Brings what was measured to counters and histograms, in a thread of its own.

The metrics SDK takes tens of microseconds a measurement, and locks that are not re-entrant: a signal handler
or a finaliser that ends a span may have interrupted their holder. So whoever ends a span only leaves a note.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.metrics import Counter, Histogram
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

from ._log import RateLimitedLog, log_aside
from ._threads import start_outside

_logger = logging.getLogger(__name__)

_DELAY = 1.0  # seconds for which what is no full batch may wait
_BATCH = 1024
_MOST = 65_536  # measurements that wait; more are dropped, and counted
_BREATH = 16  # measurements after which other threads get their turn
_PATIENCE = 2.0  # seconds that a collection waits for a batch that is being recorded


class Series:
    """One set of attributes. The resource is kept because its identity tells the series apart."""

    __slots__ = ("attributes", "resource")

    def __init__(self, attributes: Mapping[str, Any], resource: object) -> None:
        self.attributes = attributes
        self.resource = resource


class Recorder:
    """Counts calls and records durations of series.

    Args:
        calls, duration: the instruments.

    Attributes:
        dropped: how many measurements came too fast.
    """

    def __init__(self, calls: Counter, duration: Histogram) -> None:
        self._calls = calls
        self._duration = duration
        self._start_anew()

    def _start_anew(self) -> None:
        # In a forked child as well: the parent's thread and locks are the parent's.
        self._pid = os.getpid()
        self.dropped = 0
        self._pending: deque[tuple[Series, float, SpanContext | None]] = deque()
        self._inbox: queue.SimpleQueue[threading.Lock | None] = queue.SimpleQueue()
        self._recording = threading.Lock()
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._woken = self._is_full = self._stopping = False
        self._log = RateLimitedLog(_logger)

    def put(self, series: Series, duration: float, context: SpanContext | None) -> None:
        """Notes a measurement. Never blocks."""
        if self._pid != os.getpid():
            self._start_anew()
        waiting = len(self._pending)
        if waiting >= _MOST:
            self.dropped += 1
            return
        self._pending.append((series, duration, context))
        if not self._woken:
            self._woken = True
            self._wake()
        elif waiting >= _BATCH and not self._is_full:
            self._is_full = True
            self._inbox.put(None)

    def _wake(self) -> None:
        self._start()
        self._inbox.put(None)

    def _start(self) -> bool:
        # Whoever finds the lock taken leaves the start to its holder, whom it may have interrupted.
        if self._thread is None and not self._stopping and self._start_lock.acquire(blocking=False):
            try:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name="otlpfast-span-metrics", daemon=True)
                    start_outside(thread)
                    self._thread = thread
            except RuntimeError:
                pass  # the interpreter is on its way out
            finally:
                self._start_lock.release()
        return self._thread is not None

    def _run(self) -> None:
        log_aside([])
        while not self._stopping:
            asked = self._inbox.get()
            if asked is None:
                with contextlib.suppress(queue.Empty):
                    asked = self._inbox.get(timeout=_DELAY)
            self._woken = self._is_full = False
            try:
                with self._recording:
                    self._record()
            except Exception as error:
                text = "spans were not measured: %s: %s"
                self._log.warning("raised", text, type(error).__name__, error)
            finally:
                if asked is not None:
                    asked.release()

    def _record(self) -> None:
        """Records what waits. Whoever calls holds the lock."""
        calls: dict[Series, int] = {}
        pending = self._pending
        try:
            for number in range(len(pending)):
                series, duration, context = pending.popleft()
                calls[series] = calls.get(series, 0) + 1
                where = None
                if context is not None and context.trace_flags & 1:
                    where = set_span_in_context(NonRecordingSpan(context), Context())
                self._duration.record(duration, series.attributes, where)
                if not number % _BREATH:
                    time.sleep(0)
        finally:
            for series, count in calls.items():
                self._calls.add(count, series.attributes)

    def before_collection(self) -> None:
        """Records what waits, in the thread that collects: it holds none of the locks that this takes."""
        if self._pid == os.getpid() and self._recording.acquire(timeout=_PATIENCE):
            try:
                self._record()
            finally:
                self._recording.release()

    def flush(self, timeout: float) -> bool:
        """Has what waits recorded; False where that takes more than so many seconds."""
        if self._pid != os.getpid():
            self._start_anew()
        if not self._pending and not self._recording.locked():
            return True
        if self._stopping or not self._start():
            return self._record_here(timeout)
        # In the thread, for whoever calls may have interrupted itself in the midst of the metrics SDK.
        done = threading.Lock()
        done.acquire()
        self._inbox.put(done)
        if self._stopping:  # the thread may have ended before this came
            return self._record_here(timeout)
        return done.acquire(timeout=min(timeout, threading.TIMEOUT_MAX))

    def _record_here(self, timeout: float) -> bool:
        if not self._recording.acquire(timeout=min(timeout, threading.TIMEOUT_MAX)):
            return False
        try:
            self._record()
        finally:
            self._recording.release()
        return True

    def stop(self, timeout: float) -> None:
        """The same, and ends the thread."""
        self.flush(timeout)
        self._stopping = True
        self._inbox.put(None)
