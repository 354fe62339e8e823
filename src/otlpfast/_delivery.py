"""Hands batches to an exporter and accounts for what became of every span."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ._impl import BatchBuilder, PaddedCounters, SpanQueue
from ._log import RateLimitedLog
from .batch import ExportOutcome, SpanBatch

if TYPE_CHECKING:
    from ._spooling import Spooling

_logger = logging.getLogger(__name__)

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
    """

    def __init__(
        self, exporter: SpanExporter, counters: PaddedCounters, spooling: Spooling | None = None
    ) -> None:
        self.exporter = exporter
        self.counters = counters
        self.spooling = spooling
        self.log = RateLimitedLog(_logger)
        self._export_batch = exporter.export_batch if takes_batches(exporter) else None  # type: ignore[attr-defined]
        self._send_full = exporter.send_full if _is_own(exporter) else None  # type: ignore[attr-defined]
        self._spill_lock = threading.Lock()
        self._spilling_in = 0

    def send_full(
        self, waiting: SpanQueue, timeout: float, until: float, wanted: Callable[[], bool], finish: Finish
    ) -> None:
        """Has batches sent as they get full, without Python, where that is possible: ``SpanQueue.send_full``.

        Not where there is a spool or somebody waits for room: neither would hear of what happens.

        Args:
            finish: gets a batch that is left, and what exports it.
        """
        if self._send_full and waiting.can_send and waiting.relief is None and self.spooling is None:
            with _suppressed():
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
        outcome, unencodable, kept = ExportOutcome(), 0, 0
        try:
            with _suppressed():
                if self._export_batch is None:
                    outcome = self._export(taken, count)
                else:
                    with _batch(taken) as batch:
                        unencodable = count - batch.count
                        outcome, kept = self._hand_over(batch, timeout, export)
        finally:
            self.counters.add("exported", outcome.exported)
            self.counters.add("rejected", outcome.rejected)
            self.counters.add("too_large", outcome.too_large)
            self.counters.add("spooled", kept)
            self.counters.add("encode_error", unencodable)
            self.counters.add("export_failed", count - _settled(outcome) - kept - unencodable)
        if self.spooling:
            self.spooling.tell()

    def _export(self, taken: BatchBuilder | Sequence[ReadableSpan], count: int) -> ExportOutcome:
        assert not isinstance(taken, BatchBuilder)
        try:
            failed = self.exporter.export(taken) is SpanExportResult.FAILURE
        except Exception as error:
            return self._raised(error, count)
        return ExportOutcome(failed=count) if failed else ExportOutcome(exported=count)

    def _raised(self, error: Exception, count: int) -> ExportOutcome:
        name = type(self.exporter).__name__
        self.log.warning("raised", "the exporter %s raised %s: %s", name, type(error).__name__, error)
        return ExportOutcome(failed=count)

    def _send(self, batch: SpanBatch, timeout: float | None, export: Export | None = None) -> ExportOutcome:
        count = batch.count
        try:
            outcome = (export or self._export_batch)(batch, timeout) if count else ExportOutcome()  # type: ignore[misc]
        except Exception as error:
            return self._raised(error, count)
        if _is_sound(outcome, count):
            return _mended(outcome, count)
        name = type(self.exporter).__name__
        self.log.warning("nonsense", "the exporter %s answered %d spans with %r", name, count, outcome)
        return ExportOutcome(failed=count)

    # --- with a spool

    def _hand_over(
        self, batch: SpanBatch, timeout: float | None, export: Export | None
    ) -> tuple[ExportOutcome, int]:
        """What became of a batch, and how many of its failed spans the spool took."""
        spooling = self.spooling
        if spooling is None or not batch.count:
            return self._send(batch, timeout, export), 0
        if spooling.shall_try():
            outcome = self._send(batch, timeout)
            spooling.learn(outcome)
        else:
            outcome = ExportOutcome(failed=batch.count)
        if not outcome.failed:
            return outcome, 0
        return outcome, spooling.keep((batch,) if outcome.failed == batch.count else outcome.remains)

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
            with _batch(taken) as batch:
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

    def next_replay(self) -> float:
        """When ``replay()`` is due, by the monotonic clock."""
        return self.spooling.next_replay() if self.spooling else math.inf

    def replay(self, timeout: float, last: bool) -> bool:
        """Sends the oldest spooled record, if it is time; whether one was delivered."""
        if self.spooling is None:
            return False
        with _suppressed():
            return self.spooling.replay(lambda batch: self._send(batch, timeout), last)

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
    return replace(
        outcome, failed=failed, remains=remains, retry_after=wish if isinstance(wish, (int, float)) else 0.0
    )


def _settled(outcome: ExportOutcome) -> int:
    """Spans for which there is nothing left to try."""
    return outcome.exported + outcome.rejected + outcome.too_large


@contextmanager
def _suppressed() -> Iterator[None]:
    """Nothing that an exporter does is traced."""
    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        yield
    finally:
        detach(token)


@contextmanager
def _batch(taken: BatchBuilder | Sequence[ReadableSpan]) -> Iterator[SpanBatch]:
    """What was taken from the queue, encoded, and its memory given back at the end."""
    if isinstance(taken, BatchBuilder):
        builder = taken
    else:
        builder = BatchBuilder()
        for span in taken:
            builder.add(span)
    batch = SpanBatch(builder.finish())
    try:
        yield batch
    finally:
        batch.release()
