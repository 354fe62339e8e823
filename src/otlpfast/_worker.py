"""The thread that takes batches from a queue and has them delivered."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator

from ._account import LOSSES
from ._delivery import Delivery, Export
from ._impl import BatchBuilder, SpanQueue
from ._life import is_forking
from ._log import RateLimitedLog, log_aside
from ._threads import start_outside

_logger = logging.getLogger(__name__)

_LOG_PATIENCE = 0.1  # seconds
_ROOM_PATIENCE = 0.1  # the same, for traces that wait for room: it may be this flush that they wait for
_GLANCE = 0.05  # seconds, between two looks whether it is of any use to wait


class _Flush:
    """One caller's wait for the worker.

    It waits on a bare lock. An Event has a lock in Python: a signal handler that flushes while its thread is
    about to wait would wait for the worker, and the worker for that lock.
    """

    __slots__ = ("_pending", "deadline", "delivered", "thread", "told")

    def __init__(self, deadline: float, told: int) -> None:
        self.deadline = deadline
        self.told = told
        self.thread = threading.get_ident()
        self.delivered = False
        self._pending = threading.Lock()
        self._pending.acquire()

    def end(self) -> None:
        """Lets the caller go on; called once."""
        self._pending.release()

    def wait(self, timeout: float) -> bool:
        """Waits for the end, so many seconds; whether it came."""
        return self._pending.acquire(timeout=timeout)


class Worker:
    """Exports what waits: full batches at once, the rest every ``delay`` seconds, all on ``flush()``.

    The thread starts with the first span, so that a process that forks before has no thread to lose.

    Messages come through a SimpleQueue, whose ``put`` may be interrupted by itself: a signal handler, a
    finaliser or a log handler that ends a span or flushes can't deadlock. False means "a batch is ready",
    True "export also what is no full batch".

    Args:
        waiting: where the spans wait.
        delivery: who exports them.
        delay: seconds of the monotonic clock.
        export_timeout: seconds that one export may take.
        made_room: called, by the thread that exports, each time that something has left the queue.
    """

    def __init__(
        self,
        waiting: SpanQueue,
        delivery: Delivery,
        delay: float,
        export_timeout: float,
        made_room: Callable[[], None] = lambda: None,
    ) -> None:
        self._waiting = waiting
        self._delivery = delivery
        self._delay = delay
        self._export_timeout = export_timeout
        self._made_room = made_room
        self._inbox: queue.SimpleQueue[_Flush | bool] = queue.SimpleQueue()
        self._start_lock = threading.Lock()
        # Re-entrant: a signal handler may flush while its thread is between taking it and noting that it has.
        self._export_lock = threading.RLock()
        self._exporting_in = 0
        self._thread: threading.Thread | None = None
        self._woken = False
        self._stopping = False
        self._pid = os.getpid()
        self._has_ended = False
        self._at_end: Callable[[], None] = lambda: None
        self._next: _Flush | bool | None = None  # a message that was taken out of the inbox before its turn
        self._told = 0  # how many lost spans a flush has already told of by returning False
        self._log = RateLimitedLog(_logger)
        self._loggers: list[threading.Thread] = []
        waiting.attended = False

    def wake(self, batch_ready: bool) -> None:
        """Starts the thread if need be, and tells it of a full batch."""
        if not self._waiting.attended:
            self._start()
        if batch_ready and not self._woken:
            self._woken = True
            self._tell(False)

    def hurry(self) -> None:
        """Has all that waits exported soon, full batch or not."""
        self._start()
        self._tell(True)

    def _tell(self, message: _Flush | bool) -> None:
        self._inbox.put(message)
        self._waiting.interrupt()

    @property
    def is_exporting(self) -> bool:
        """Whether an export is under way."""
        return bool(self._exporting_in)

    def exports_here(self) -> bool:
        """Whether the present thread is in the middle of an export."""
        return self._exporting_in == threading.get_ident()

    def _start(self) -> bool:
        # Whoever finds the lock taken leaves the start to its holder: waiting here could be waiting for
        # oneself.
        if self._thread is None and not self._stopping and self._start_lock.acquire(blocking=False):
            try:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name="otlpfast-export", daemon=True)
                    start_outside(thread)
                    self._thread = thread
                    self._waiting.attended = True
            # The interpreter is on its way out: flush() and stop() export in their caller's thread.
            except RuntimeError:
                pass
            finally:
                self._start_lock.release()
        return self._thread is not None

    def _run(self) -> None:
        log_aside(self._loggers)
        due = time.monotonic() + self._delay
        while not self._stopping:
            try:
                due = self._turn(due)
                if self._is_inherited():
                    return
                if time.monotonic() >= self._delivery.next_replay():
                    self.replay()
                if self._waiting.next_decision() <= 0:
                    self._decide()
            # An exporter that raises SystemExit ends its export, not the worker.
            except BaseException as error:
                if self._is_inherited():
                    raise
                text = "the export thread goes on after %s: %s"
                self._log.warning("raised", text, type(error).__name__, error)
        self._dismiss()
        self._has_ended = True
        self._at_end()

    def _is_inherited(self) -> bool:
        """Whether an exporter has forked, and this is the child, which has nothing to export."""
        return self._pid != os.getpid()

    def _dismiss(self) -> None:
        # Whoever still waits for a flush need not wait until its deadline.
        with contextlib.suppress(queue.Empty):
            message, self._next = self._next, None
            while True:
                if isinstance(message, _Flush):
                    message.end()
                message = self._inbox.get_nowait()

    def _turn(self, due: float) -> float:
        """Waits for a message, or until ``due``, a replay or a decision; serves it; when an export is due."""
        until = min(due, self._delivery.next_replay(), self._next_decision())
        try:
            message, self._next = self._next, None
            if message is None:
                message = self._inbox.get(timeout=max(until - time.monotonic(), 0))
        except queue.Empty:
            if until < due:
                return due
            self._woken = False
            self._drain(partial=True)
            return time.monotonic() + self._delay
        if isinstance(message, _Flush):
            self._serve(message)
            return time.monotonic() + self._delay
        self._woken = False
        if message:
            self._drain(partial=True)
        else:
            self._send_full(min(due, self._next_decision()))
        return due

    def _decide(self) -> None:
        """On traces that have waited for long enough."""
        while self._waiting.decide() and self._drain(partial=True):
            if self._next is not None or not self._inbox.empty():
                return  # there may always be more of them

    def _next_decision(self) -> float:
        return time.monotonic() + self._waiting.next_decision()

    def _send_full(self, until: float) -> None:
        """Exports what is full, and what gets full as long as there is nothing else to be done."""
        while not self._stopping:
            with self._alone(math.inf) as may_export:
                if not may_export:
                    return
                timeout = self._export_timeout
                self._delivery.send_full(self._waiting, timeout, until, self._is_idle, self._finish)
                taken = self._waiting.take(partial=False)
                if taken is None:
                    return
                self._made_room()
                self._export(taken[0], taken[1], taken[2], timeout)
            if not self._is_idle():
                self._inbox.put(False)  # after what has come
                return

    def _is_idle(self) -> bool:
        """Whether there is nothing to be done but to export full batches."""
        while self._next is None:
            try:
                self._next = self._inbox.get_nowait()
            except queue.Empty:
                return not self._stopping
            if self._next is False:
                self._woken = False
                self._next = None
        return False

    def _finish(self, batch: BatchBuilder, count: int, nbytes: int, export: Export) -> None:
        self._export(batch, count, nbytes, self._export_timeout, export)

    def _serve(self, flush: _Flush) -> None:
        drained = False
        try:
            if time.monotonic() < flush.deadline:
                drained = self._drain_all(flush.deadline)
                drained = drained and self._delivery.settle(flush.deadline, flush.thread)
        finally:
            lost = self._lost()
            flush.delivered = drained and lost == flush.told
            self._told = lost
            flush.end()

    def _drain_all(self, deadline: float) -> bool:
        """Also what it is yet to be decided on: as far at a time as there is room."""
        begun = time.monotonic()
        drained = self._drain(partial=True, deadline=deadline)
        may_be_more = self._waiting.undecided > 0
        while drained and may_be_more:
            may_be_more = self._waiting.decide(time.monotonic() - begun)
            drained = self._drain(partial=True, deadline=deadline)
        end = time.monotonic() + _ROOM_PATIENCE
        while drained and self._waiting.moving and time.monotonic() < end:
            time.sleep(0.001)
            drained = self._drain(partial=True, deadline=deadline)
        return drained and not self._waiting.moving

    def _lost(self) -> int:
        counts = self._waiting.counters.snapshot()
        return counts["rejected"] + sum(counts[reason] for reason in LOSSES)

    @contextlib.contextmanager
    def _alone(self, deadline: float) -> Iterator[bool]:
        """Whether this thread may export now: exporters are never called twice at once.

        Specification: trace/sdk.md, "Export(batch)".
        """
        patience = -1 if deadline == math.inf else max(deadline - time.monotonic(), 0)
        if self.exports_here() or not self._export_lock.acquire(timeout=patience):
            yield False
            return
        try:
            self._exporting_in = threading.get_ident()
            yield True
        finally:
            self._exporting_in = 0
            self._export_lock.release()

    def _drain(self, partial: bool, deadline: float = math.inf) -> bool:
        """Exports what waits now, until the deadline; True where all of it was taken and exported in time."""
        with self._alone(deadline) as may_export:
            if not may_export:
                return False
            # Only shutdown() and a flush in its caller's thread cut an export short, which loses its spans.
            cut = self._waiting.closed or threading.current_thread() is not self._thread
            left = self._waiting.waiting  # what ends while this runs is the next round's
            while left > 0:
                now = time.monotonic()
                if now >= deadline or self._stopping or self._is_inherited():
                    return False
                taken = self._waiting.take(partial)
                if taken is None:
                    return True
                self._made_room()
                left -= taken[1]
                timeout = min(self._export_timeout, deadline - now) if cut else self._export_timeout
                self._export(taken[0], taken[1], taken[2], timeout)
            return time.monotonic() <= deadline

    def replay(self, deadline: float = math.inf) -> bool:
        """Sends the oldest spooled record, if it is time for one; whether one was delivered.

        With a deadline: one of the last, before the end of the process. Not for a signal handler that has
        interrupted the use of the spool.
        """
        if self._delivery.is_spilling_here():
            return False
        with self._alone(deadline) as may_export:
            timeout = min(self._export_timeout, deadline - time.monotonic())
            return may_export and timeout > 0 and self._delivery.replay(timeout, deadline < math.inf)

    def _export(
        self, batch: object, count: int, nbytes: int, timeout: float, export: Export | None = None
    ) -> None:
        try:
            self._delivery.deliver(batch, count, timeout, export)  # type: ignore[arg-type]
        finally:
            if not self._is_inherited():
                self._waiting.done(count, nbytes)
                self._made_room()

    def flush(self, deadline: float) -> bool:
        """Has all that waits exported.

        False if the deadline passes first, or if a span that ended since the last flush was not delivered.
        """
        if self._stopping or self.exports_here() or is_forking():
            return False
        flush = _Flush(deadline, self._told)
        thread = self._thread if self._start() else None
        if thread is None or thread is threading.current_thread() or not thread.is_alive():
            self._serve(flush)
            return flush.delivered
        self._tell(flush)
        if self._stopping:  # the thread may have ended before this came
            return False
        ended = self._wait(flush.wait, deadline)
        self._let_log(deadline)
        return ended and flush.delivered

    def _wait(self, wait: Callable[[float], bool], deadline: float) -> bool:
        """Waits until the deadline for the export thread, but not where that waits for the present one."""
        thread = self._thread
        while True:
            left = max(deadline - time.monotonic(), 0)
            seconds = min(left, _GLANCE) if self._delivery.is_spilling_here() else left
            if wait(seconds):
                return True
            if seconds == left or (thread and self._delivery.is_held_up(thread.ident)):
                return False

    def _let_log(self, deadline: float) -> None:
        # So that what there was to log is there when a call returns. Not for long: it may be its caller that
        # they wait for.
        end = min(time.monotonic() + _LOG_PATIENCE, deadline)
        for thread in list(self._loggers):
            if thread is not threading.current_thread():
                thread.join(max(end - time.monotonic(), 0))

    def stop(self, deadline: float) -> None:
        """Exports what waits and ends the thread, until the deadline.

        A KeyboardInterrupt ends the waiting, and the thread once it has exported what is under way.
        """
        flush = _Flush(deadline, self._told)
        thread = self._thread
        try:
            if thread is None or not thread.is_alive():
                self._serve(flush)
            elif thread is not threading.current_thread():
                self._tell(flush)
                self._wait(flush.wait, deadline)
        finally:
            self._stopping = True
            self._tell(False)
        self.join(deadline)

    def join(self, deadline: float) -> None:
        """Waits for the thread, which was told to stop, until the deadline."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._wait(lambda seconds: _has_ended(thread, seconds), deadline)
        self._let_log(deadline)

    def end_with(self, end: Callable[[], None]) -> None:
        """Calls it once the thread has ended, which was told to stop: now, or in that thread."""
        self._at_end = end
        is_over = self._has_ended or self._thread is None or not self._thread.is_alive()
        if is_over and not self.exports_here():
            end()


def _has_ended(thread: threading.Thread, timeout: float) -> bool:
    thread.join(timeout)
    return not thread.is_alive()
