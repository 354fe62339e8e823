"""Where spans go that are exported nowhere but are to be seen on the page."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ..batch import ExportOutcome, SpanBatch


class PageExporter(SpanExporter):
    """Takes everything and keeps nothing: the page looks at batches on their way here."""

    schedule_delay_millis = 250
    """What a batch processor in front of it should wait, if nobody says otherwise."""
    destination = "this page alone"

    def export_batch(self, batch: SpanBatch, timeout: float | None = None) -> ExportOutcome:
        """All of it is delivered."""
        return ExportOutcome(exported=batch.count)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """The same."""
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing to be done."""
