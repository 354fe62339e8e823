"""The thread that takes batches from a queue and has them delivered."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time

from ._delivery import Delivery
from ._impl import SpanQueue

_logger = logging.getLogger(__name__)


class _Flush:
    """One caller's wait for the worker."""

    __slots__ = ("deadline", "delivered", "done", "lost")

    def __init__(self, deadline: float, lost: int) -> None:
        self.deadline = deadline
        self.lost = lost
        self.delivered = False
        self.done = threading.Event()


class Worker:
    """Exports what waits: full batches at once, the rest every ``delay`` seconds, all of it on ``flush()`` and ``stop()``.

    The thread starts with the first span, so that a process that forks before has no thread to lose.

    Messages come through a SimpleQueue, whose ``put`` may be interrupted by itself: a signal handler, a finaliser or a log handler
    that ends a span or flushes can't deadlock. None means "a batch is ready".

    Args:
        waiting: where the spans wait.
        delivery: who exports them.
        delay: seconds of the monotonic clock.
        export_timeout: seconds that one export may take.
    """

    def __init__(self, waiting: SpanQueue, delivery: Delivery, delay: float, export_timeout: float) -> None:
        self._waiting = waiting
        self._delivery = delivery
        self._delay = delay
        self._export_timeout = export_timeout
        self._inbox: queue.SimpleQueue[_Flush | None] = queue.SimpleQueue()
        self._start_lock = threading.Lock()
        self._export_lock = threading.Lock()
        self._exporting_in = 0
        self._thread: threading.Thread | None = None
        self._woken = False
        self._stopping = False
        self._lost = 0
        self.idle = True

    def wake(self, batch_ready: bool) -> None:
        """Starts the thread if need be, and tells it of a full batch."""
        if self.idle:
            self._start()
        if batch_ready and not self._woken:
            self._woken = True
            self._inbox.put(None)

    def _start(self) -> bool:
        # Whoever finds the lock taken leaves the start to its holder: waiting here could be waiting for oneself.
        if self._thread is None and not self._stopping and self._start_lock.acquire(blocking=False):
            try:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name="otlpfast-export", daemon=True)
                    thread.start()
                    self._thread = thread
                    self.idle = False
            # The interpreter is on its way out: flush() and stop() export in their caller's thread.
            except RuntimeError:
                pass
            finally:
                self._start_lock.release()
        return self._thread is not None

    def _run(self) -> None:
        due = time.monotonic() + self._delay
        while not self._stopping:
            try:
                due = self._turn(due)
            # An exporter that raises SystemExit ends its export, not the worker.
            except BaseException as error:
                _logger.warning("the export thread goes on after %s: %s", type(error).__name__, error)

    def _turn(self, due: float) -> float:
        """Waits for one message or until ``due`` and does what is to be done; when the next timed export is due."""
        try:
            flush = self._inbox.get(timeout=max(due - time.monotonic(), 0))
        except queue.Empty:
            self._drain(partial=True)
            return time.monotonic() + self._delay
        if flush is not None:
            self._serve(flush)
            return time.monotonic() + self._delay
        self._woken = False
        self._drain(partial=False)
        return due

    def _serve(self, flush: _Flush) -> None:
        try:
            if time.monotonic() < flush.deadline:
                drained = self._drain(partial=True, deadline=flush.deadline)
                flush.delivered = drained and self._lost == flush.lost
        finally:
            flush.done.set()

    def _drain(self, partial: bool, deadline: float = math.inf) -> bool:
        """Exports what waits now, until the deadline; True where all of it was taken and exported in time.

        Exporters are never called twice at once (specification: trace/sdk.md, "Export(batch)").
        """
        if self._exporting_in == threading.get_ident():
            return False
        patience = -1 if deadline == math.inf else max(deadline - time.monotonic(), 0)
        if not self._export_lock.acquire(timeout=patience):
            return False
        self._exporting_in = threading.get_ident()
        try:
            left = self._waiting.waiting  # what ends while this runs is the next round's
            while left > 0:
                now = time.monotonic()
                if now >= deadline or self._stopping:
                    return False
                taken = self._waiting.take(partial)
                if taken is None:
                    return True
                left -= taken[1]
                self._export(taken[0], taken[1], taken[2], min(self._export_timeout, deadline - now))
            return time.monotonic() <= deadline
        finally:
            self._exporting_in = 0
            self._export_lock.release()

    def _export(self, batch: object, count: int, nbytes: int, timeout: float) -> None:
        undelivered = count
        try:
            undelivered = self._delivery.deliver(batch, count, timeout)  # type: ignore[arg-type]
        finally:
            self._lost += undelivered
            self._waiting.done(count, nbytes)

    def flush(self, deadline: float) -> bool:
        """Has all that waits exported; False if the deadline passes first or anything was not delivered."""
        if self._stopping or self._exporting_in == threading.get_ident():
            return False
        flush = _Flush(deadline, self._lost)
        if not self._start() or self._thread is None or not self._thread.is_alive():
            self._serve(flush)
            return flush.delivered
        self._inbox.put(flush)
        return flush.done.wait(max(deadline - time.monotonic(), 0)) and flush.delivered

    def stop(self, deadline: float) -> None:
        """Exports what waits and ends the thread, until the deadline."""
        flush = _Flush(deadline, self._lost)
        thread = self._thread
        if thread is None or not thread.is_alive():
            self._serve(flush)
        elif thread is not threading.current_thread():
            self._inbox.put(flush)
            flush.done.wait(max(deadline - time.monotonic(), 0))
        self._stopping = True
        self._inbox.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(deadline - time.monotonic(), 0))
