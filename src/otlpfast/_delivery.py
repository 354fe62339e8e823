"""Hands batches to an exporter and accounts for what became of every span."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from . import _tap
from ._impl import BatchBuilder, PaddedCounters, SpanQueue
from ._log import RateLimitedLog
from ._redacted import RedactedCopies
from .batch import ExportOutcome, SpanBatch

if TYPE_CHECKING:
    from ._impl import Redactor
    from ._spooling import Spooling

_logger = logging.getLogger(__name__)

_REMEMBERED = 512  # exports, for how long they took
_SPILL_PATIENCE = 1.0  # seconds; writing a batch takes a fraction of a millisecond


class BatchExporter(Protocol):
    """The seam for exporters that take encoded batches."""

    def export_batch(self, batch: SpanBatch, timeout: float | None = None) -> ExportOutcome:
        """Sends a batch within ``timeout`` seconds (None: the exporter's own); what became of its spans."""


Export = Callable[[SpanBatch, float | None], ExportOutcome]
Finish = Callable[[BatchBuilder, int, int, Export], None]


def takes_batches(exporter: SpanExporter) -> bool:
    """Whether the exporter wants encoded batches rather than spans."""
    # Asked of its class: a mock has any attribute that it is asked for.
    return callable(getattr(type(exporter), "export_batch", None))


def _is_own(exporter: SpanExporter) -> bool:
    """Whether its batches may go past ``export_batch``: not where that was replaced."""
    return type(exporter).__module__.startswith("otlpfast.") and (
        hasattr(type(exporter), "send_full") and "export_batch" not in vars(exporter)
    )


class Delivery:
    """An exporter, the counters of the account, and the calls from one to the other.

    Args:
        exporter: gets encoded batches if it has ``export_batch``, spans otherwise.
        counters: those of ``_account.ACCOUNT``.
        spooling: takes what could not be delivered.
        redactor: of spans that were not encoded as they ended.

    Attributes:
        exports: how many calls of the exporter have ended.
        failures: how many of them delivered nothing.
        durations: seconds that each of the last took.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        counters: PaddedCounters,
        spooling: Spooling | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self.exporter = exporter
        self.counters = counters
        self.spooling = spooling
        self.redactor = redactor
        self._copies = RedactedCopies(redactor) if redactor is not None else None
        self.exports = self.failures = 0
        self.durations: deque[float] = deque(maxlen=_REMEMBERED)
        self.log = RateLimitedLog(_logger)
        self._export_batch = exporter.export_batch if takes_batches(exporter) else None  # type: ignore[attr-defined]
        self._send_full = exporter.send_full if _is_own(exporter) else None  # type: ignore[attr-defined]
        self._spill_lock = threading.Lock()
        self._spilling_in = 0

    def send_full(
        self, waiting: SpanQueue, timeout: float, until: float, wanted: Callable[[], bool], finish: Finish
    ) -> None:
        """Has batches sent as they get full, without Python, where that is possible: ``SpanQueue.send_full``.

        Not where there is a spool, or somebody waits for room or looks at batches: none would hear of what
        happens. Who begins to look while it runs sees nothing before ``until``.

        Args:
            finish: gets a batch that is left, and what exports it.
        """
        is_alone = waiting.relief is None and self.spooling is None and not _tap.is_attached()
        if self._send_full and waiting.can_send and is_alone:
            with _Suppressed():
                self._send_full(waiting, timeout=timeout, until=until, wanted=wanted, finish=finish)

    def deliver(
        self,
        taken: BatchBuilder | Sequence[ReadableSpan],
        count: int,
        timeout: float | None,
        export: Export | None = None,
    ) -> None:
        """Exports ``count`` spans, encoded or as they are, and accounts for them.

        What the exporter raises is logged, not raised; only what is no Exception goes on to the caller, after
        it was accounted for. ``export`` takes the place of the exporter's ``export_batch``.
        """
        outcome, unencodable, kept, pid = ExportOutcome(), 0, 0, os.getpid()
        error: BaseException | None = None
        try:
            with _Suppressed():
                if self._export_batch is None:
                    assert not isinstance(taken, BatchBuilder)
                    spans = taken if self._copies is None else self._copies.of(taken)
                    unencodable = count - len(spans)
                    outcome = self._export(spans)
                else:
                    with _batch(taken, self.redactor) as batch:
                        unencodable = count - batch.count
                        outcome, kept, error = self._hand_over(batch, timeout, export)
        finally:
            if pid == os.getpid():  # else the exporter has forked: in the child they are the parent's spans
                self._count(outcome)
                self.counters.add("spooled", kept)
                self.counters.add("encode_error", unencodable)
                self.counters.add("export_failed", count - _settled(outcome) - kept - unencodable)
        if self.spooling:
            self.spooling.tell()
        if error is not None:
            raise error

    def _count(self, outcome: ExportOutcome) -> None:
        self.counters.add("exported", outcome.exported)
        self.counters.add("rejected", outcome.rejected)
        self.counters.add("too_large", outcome.too_large)

    def _export(self, spans: Sequence[ReadableSpan]) -> ExportOutcome:
        count = len(spans)
        if not count:
            return ExportOutcome()
        _tap.show_spans(spans)
        begun = time.monotonic()
        try:
            failed = self.exporter.export(spans) is SpanExportResult.FAILURE
        except Exception as error:
            self._note(begun, True)
            return self._raised(error, count)
        self._note(begun, failed)
        return ExportOutcome(failed=count) if failed else ExportOutcome(exported=count)

    def _note(self, begun: float, failed: bool) -> None:
        self.exports += 1
        self.failures += failed
        self.durations.append(time.monotonic() - begun)

    def _raised(self, error: Exception, count: int) -> ExportOutcome:
        name = type(self.exporter).__name__
        self.log.warning("raised", "the exporter %s raised %s: %s", name, type(error).__name__, error)
        return ExportOutcome(failed=count)

    def _send(self, batch: SpanBatch, timeout: float | None, export: Export | None = None) -> ExportOutcome:
        count = batch.count
        if not count:
            return ExportOutcome()
        begun = time.monotonic()
        try:
            outcome = (export or self._export_batch)(batch, timeout)  # type: ignore[misc]
        except Exception as error:
            self._note(begun, True)
            return self._raised(error, count)
        self._note(begun, getattr(outcome, "failed", count) == count)
        if _is_sound(outcome, count):
            return _mended(outcome, count)
        name = type(self.exporter).__name__
        self.log.warning("nonsense", "the exporter %s answered %d spans with %r", name, count, outcome)
        return ExportOutcome(failed=count)

    # --- with a spool

    def _hand_over(
        self, batch: SpanBatch, timeout: float | None, export: Export | None
    ) -> tuple[ExportOutcome, int, BaseException | None]:
        """What became of a batch, how many of its failed spans the spool took, and what is to be raised."""
        spooling = self.spooling
        if spooling is None or not batch.count:
            return self._send(batch, timeout, export), 0, None
        outcome, error, pid = ExportOutcome(failed=batch.count), None, os.getpid()
        if spooling.shall_try():
            try:
                outcome = self._send(batch, timeout)
            except BaseException as raised:  # as undelivered as after any other failure
                error = raised
            if pid != os.getpid():
                return outcome, 0, error
            spooling.learn(outcome)
        if not outcome.failed:
            return outcome, 0, error
        return outcome, spooling.keep((batch,) if outcome.failed == batch.count else outcome.remains), error

    def spill(self, waiting: SpanQueue) -> bool:
        """Moves the oldest batch that waits to the spool; False where there is none, or no way to now.

        Any thread may call it; only the writing of the disk is waited for.
        """
        # A signal handler that ends a span may interrupt its thread in here.
        if self._spilling_in == threading.get_ident() or not self._spill_lock.acquire(
            timeout=_SPILL_PATIENCE
        ):
            return False
        try:
            self._spilling_in = threading.get_ident()
            taken = waiting.take()
            if taken is None:
                return False
            try:
                self._store(taken[0], taken[1])
            finally:
                waiting.done(taken[1], taken[2])
        finally:
            self._spilling_in = 0
            self._spill_lock.release()
        if self.spooling:
            self.spooling.tell()
        return True

    def _store(self, taken: BatchBuilder | Sequence[ReadableSpan], count: int) -> None:
        kept = unencodable = 0
        try:
            with _batch(taken, self.redactor) as batch:
                unencodable = count - batch.count
                kept = self.spooling.keep((batch,)) if self.spooling and batch.count else 0
        finally:
            self.counters.add("spooled", kept)
            self.counters.add("encode_error", unencodable)
            self.counters.add("queue_full", count - kept - unencodable)

    def settle(self, deadline: float, thread: int) -> bool:
        """Waits for a batch that is on its way to the spool; whether it is there by the deadline.

        Not for one that waits itself for the ``thread`` that asks: a signal handler has interrupted it.
        """
        if self._spilling_in == thread:
            return False
        settled = self._spill_lock.acquire(timeout=max(deadline - time.monotonic(), 0))
        if settled:
            self._spill_lock.release()
        return settled

    def is_spilling_here(self) -> bool:
        """Whether the present thread is spilling: it is a signal handler that asks."""
        return self._spilling_in == threading.get_ident()

    def is_held_up(self, thread: int | None) -> bool:
        """Whether a thread waits for the present one, which is spilling, to be done with the spool."""
        spooling = self.spooling
        return spooling is not None and self.is_spilling_here() and thread in spooling.spool.lined_up

    def next_replay(self) -> float:
        """When ``replay()`` is due, by the monotonic clock."""
        return self.spooling.next_replay() if self.spooling else math.inf

    def replay(self, timeout: float, last: bool) -> bool:
        """Sends the oldest spooled record, if it is time; whether one was delivered."""
        if self.spooling is None:
            return False
        with _Suppressed():
            return self.spooling.replay(lambda batch: self._send(batch, timeout), last)

    def hurry(self) -> None:
        """Tells an exporter of batches, if it wants to know, that ``shutdown()`` is near."""
        hurry = getattr(type(self.exporter), "hurry", None)
        if self._export_batch is not None and callable(hurry):
            with suppress(Exception):
                hurry(self.exporter)

    def shutdown(self, deadline: float) -> None:
        """Shuts the exporter down, telling it how long it has if it wants to know."""
        shutdown: Any = self.exporter.shutdown
        try:
            try:
                shutdown(timeout_millis=max(deadline - time.monotonic(), 0) * 1e3)
            except TypeError:  # most exporters take no time-out
                shutdown()
        except Exception as error:
            name = type(self.exporter).__name__
            text = "the exporter %s raised %s in shutdown(): %s"
            self.log.warning("shutdown raised", text, name, type(error).__name__, error)


def _is_sound(outcome: ExportOutcome, count: int) -> bool:
    if not isinstance(outcome, ExportOutcome):
        return False
    numbers = (outcome.exported, outcome.rejected, outcome.too_large)
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        return False
    return _settled(outcome) <= count


def _mended(outcome: ExportOutcome, count: int) -> ExportOutcome:
    """Numbers that add up; no remains where they are not just what failed, no wish that is no number."""
    failed = count - _settled(outcome)
    remains, wish = outcome.remains, outcome.retry_after
    if (
        not isinstance(remains, tuple)
        or not all(isinstance(piece, SpanBatch) for piece in remains)
        or sum(piece.count for piece in remains) != failed
    ):
        remains = ()
    if not isinstance(wish, (int, float)):
        wish = 0.0
    if (outcome.failed, outcome.remains, outcome.retry_after) == (failed, remains, wish):
        return outcome
    return replace(outcome, failed=failed, remains=remains, retry_after=wish)


def _settled(outcome: ExportOutcome) -> int:
    """Spans for which there is nothing left to try."""
    return outcome.exported + outcome.rejected + outcome.too_large


class _Suppressed:
    """Nothing that an exporter does is traced."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))

    def __exit__(self, *error: object) -> None:
        detach(self._token)


@contextmanager
def _batch(taken: BatchBuilder | Sequence[ReadableSpan], redactor: Redactor | None) -> Iterator[SpanBatch]:
    """What was taken from the queue, encoded, and its memory given back at the end."""
    if isinstance(taken, BatchBuilder):
        builder = taken
    else:
        builder = BatchBuilder(redactor)
        for span in taken:
            builder.add(span)
    batch = SpanBatch(builder.finish())
    try:
        _tap.show(batch)
        yield batch
    finally:
        batch.release()
