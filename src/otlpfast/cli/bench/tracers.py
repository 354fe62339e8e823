"""Tracers to measure with, the stock SDK's and otlpfast's, whose spans are exported to nowhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor as SDKBatchSpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Tracer

import otlpfast

BATCH = 512

LARGE: dict[str, Any] = {
    "max_queue_size": 4 * BATCH,
    "schedule_delay_millis": 3_600_000,
    "max_export_batch_size": 4 * BATCH,
}
"""No export starts by itself, so that it does not run beside what is measured."""


class NullExporter(SpanExporter):
    """Takes spans, or batches of encoded ones, and does nothing with them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS

    def export_batch(self, batch: otlpfast.SpanBatch, timeout: float | None = None) -> otlpfast.ExportOutcome:
        return otlpfast.ExportOutcome(exported=batch.count)


def provider(*processors: SpanProcessor, side: str = "SDK", **options: Any) -> TracerProvider:
    """A TracerProvider of the stock SDK, or of otlpfast."""
    make = otlpfast.TracerProvider if side == "otlpfast" else TracerProvider
    resource = Resource({"service.name": "bench", "service.version": "1.0"})
    made = make(**{"sampler": ALWAYS_ON, "resource": resource, "shutdown_on_exit": False, **options})
    for processor in processors:
        made.add_span_processor(processor)
    return made


@dataclass
class Traced:
    """A tracer and the batch processor that its spans go to, if any: of ``LARGE``, so drain it in time."""

    tracer: Tracer
    processor: Any

    def drain(self) -> None:
        if self.processor:
            self.processor.force_flush()


def traced(
    side: str, exporter: SpanExporter | None = None, room: Mapping[str, Any] = LARGE, **options: Any
) -> Traced:
    """A side's provider and batch processor; ``room`` is the processor's, ``options`` are the provider's."""
    make: Any = otlpfast.BatchSpanProcessor if side == "otlpfast" else SDKBatchSpanProcessor
    processor = make(exporter or NullExporter(), **room)
    return Traced(provider(processor, side=side, **options).get_tracer("bench.tracer", "1.0"), processor)
