"""The export pipelines that the demo compares, each with its own defaults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider


@dataclass(frozen=True)
class Pipeline:
    """One way to export, or none.

    ``install(provider, endpoint)`` adds it to a provider, and returns a function that says how many spans its
    exporter saw accepted. Where ``imports_otlpfast`` is False, otlpfast is not even in the process: it would
    show in that pipeline's memory.
    """

    name: str
    title: str
    exports: bool
    imports_otlpfast: bool
    install: Callable[[TracerProvider, str], Callable[[], int]]


def _install_nothing(provider: TracerProvider, endpoint: str) -> Callable[[], int]:
    return lambda: 0


def _install_stock(provider: TracerProvider, endpoint: str) -> Callable[[], int]:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

    class CountingExporter(OTLPSpanExporter):
        """The stock exporter keeps no account: one addition a batch makes one."""

        accepted = 0

        def export(self, spans: Sequence[ReadableSpan]) -> Any:
            result = super().export(spans)
            if result is SpanExportResult.SUCCESS:
                self.accepted += len(spans)
            return result

    exporter = CountingExporter(endpoint=endpoint)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return lambda: exporter.accepted


def _install_otlpfast(provider: TracerProvider, endpoint: str) -> Callable[[], int]:
    import otlpfast

    processor = otlpfast.BatchSpanProcessor(otlpfast.OTLPSpanExporter(endpoint=endpoint))
    provider.add_span_processor(processor)
    return lambda: processor.stats()["exported"]


BASELINE = Pipeline("baseline", "no export", False, False, _install_nothing)
STOCK = Pipeline("stock", "stock SDK", True, False, _install_stock)
OTLPFAST = Pipeline("otlpfast", "otlpfast", True, True, _install_otlpfast)

PIPELINES = [BASELINE, STOCK, OTLPFAST]
"""In the order in which they run and stand in the table."""
