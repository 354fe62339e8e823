"""What the tests of otlpfast's own provider share: providers, and what is current."""

from __future__ import annotations

import logging
from typing import Any

from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import get_current_span

from otlpfast import BatchSpanProcessor, TracerProvider

from .pipeline import NEVER_MILLIS


def native(
    *processors: SpanProcessor, kind: type[sdk.TracerProvider] = TracerProvider, **options: Any
) -> sdk.TracerProvider:
    """A provider of otlpfast, or of the kind given, that leaves nothing at exit."""
    settings: dict[str, Any] = {"sampler": ALWAYS_ON, "resource": Resource({"service.name": "test"})}
    made = kind(shutdown_on_exit=False, **{**settings, **options})
    for processor in processors:
        made.add_span_processor(processor)
    return made


def roomy(exporter: SpanExporter, **settings: Any) -> BatchSpanProcessor:
    """A batch processor that drops nothing and whose timer never fires."""
    defaults = {"max_queue_size": 10_000_000, "schedule_delay_millis": NEVER_MILLIS, "max_queue_bytes": 2**32}
    return BatchSpanProcessor(exporter, **{**defaults, **settings})


def current() -> int:
    """The id of the span that is current here, 0 where none is."""
    return get_current_span().get_span_context().span_id


class Records(logging.Handler):
    """Keeps what OpenTelemetry and otlpfast log: logger, level, first words, type of the exception."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        self.found.append((record.name, record.levelname, record.getMessage()[:60], error))

    def __enter__(self) -> Records:
        for name in ("opentelemetry", "otlpfast"):
            logging.getLogger(name).addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("opentelemetry", "otlpfast"):
            logging.getLogger(name).removeHandler(self)
