"""Hands batches to an exporter and accounts for what became of every span."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Protocol

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ._impl import BatchBuilder, PaddedCounters
from ._log import RateLimitedLog
from .batch import ExportOutcome, SpanBatch

_logger = logging.getLogger(__name__)


class BatchExporter(Protocol):
    """The seam for exporters that take encoded batches."""

    def export_batch(self, batch: SpanBatch, timeout: float | None = None) -> ExportOutcome:
        """Sends a batch within ``timeout`` seconds (None: the exporter's own); what became of its spans."""


class Delivery:
    """An exporter, the counters of the account, and the calls from one to the other.

    Args:
        exporter: gets encoded batches if it has ``export_batch``, spans otherwise.
        counters: those of ``_account.ACCOUNT``.
    """

    def __init__(self, exporter: SpanExporter, counters: PaddedCounters) -> None:
        self.exporter = exporter
        self.counters = counters
        self.log = RateLimitedLog(_logger)
        # Asked of its class: a mock has any attribute that it is asked for.
        takes_batches = callable(getattr(type(exporter), "export_batch", None))
        self._export_batch = exporter.export_batch if takes_batches else None  # type: ignore[attr-defined]

    @property
    def takes_batches(self) -> bool:
        """Whether the exporter wants encoded batches rather than spans."""
        return self._export_batch is not None

    def deliver(
        self, taken: BatchBuilder | Sequence[ReadableSpan], count: int, timeout: float | None
    ) -> None:
        """Exports ``count`` spans, encoded or as they are, and accounts for them.

        What the exporter raises is logged, not raised; only what is no Exception goes on to the caller, after
        it was accounted for.
        """
        outcome, unencodable = ExportOutcome(), 0
        token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        try:
            if self._export_batch is None:
                assert not isinstance(taken, BatchBuilder)
                if self.exporter.export(taken) is not SpanExportResult.FAILURE:
                    outcome = ExportOutcome(exported=count)
            else:
                builder = taken if isinstance(taken, BatchBuilder) else _encode(taken)
                unencodable = count - builder.count
                outcome = self._send(builder, timeout)
        except Exception as error:
            name = type(self.exporter).__name__
            self.log.warning("raised", "the exporter %s raised %s: %s", name, type(error).__name__, error)
        finally:
            detach(token)
            self.counters.add("exported", outcome.exported)
            self.counters.add("rejected", outcome.rejected)
            self.counters.add("too_large", outcome.too_large)
            self.counters.add("encode_error", unencodable)
            self.counters.add("export_failed", count - _settled(outcome) - unencodable)

    def _send(self, builder: BatchBuilder, timeout: float | None) -> ExportOutcome:
        batch = SpanBatch(builder.finish())
        count = batch.count
        try:
            outcome = self._export_batch(batch, timeout) if count else ExportOutcome()  # type: ignore[misc]
        finally:
            batch.release()
        if _is_sound(outcome, count):
            return outcome
        name = type(self.exporter).__name__
        self.log.warning("nonsense", "the exporter %s answered %d spans with %r", name, count, outcome)
        return ExportOutcome(failed=count)

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


def _settled(outcome: ExportOutcome) -> int:
    """Spans for which there is nothing left to try."""
    return outcome.exported + outcome.rejected + outcome.too_large


def _encode(spans: Sequence[ReadableSpan]) -> BatchBuilder:
    builder = BatchBuilder()
    for span in spans:
        builder.add(span)
    return builder
