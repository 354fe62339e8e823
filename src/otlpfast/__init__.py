"""OpenTelemetry tracing for Python at native speed.

Swap the span processor and the exporter, and nothing else::

    from opentelemetry.sdk.trace import TracerProvider
    import otlpfast

    provider = TracerProvider()
    provider.add_span_processor(otlpfast.BatchSpanProcessor(otlpfast.OTLPSpanExporter()))
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from ._impl import IMPLEMENTATION, encode_spans
from ._signals import SignalFlush, flush_on_signal
from .batch import ExportOutcome, SpanBatch
from .export import OTLPSpanExporter
from .pool import SpanPool, SpanWrapper
from .processor import BatchSpanProcessor, SimpleSpanProcessor
from .trace import Span, Tracer, TracerProvider

try:
    __version__ = version("otlpfast")
except PackageNotFoundError:  # a source tree on the path, not installed
    __version__ = "0+unknown"

__all__ = [
    "IMPLEMENTATION",
    "BatchSpanProcessor",
    "ExportOutcome",
    "OTLPSpanExporter",
    "SignalFlush",
    "SimpleSpanProcessor",
    "Span",
    "SpanBatch",
    "SpanPool",
    "SpanWrapper",
    "Tracer",
    "TracerProvider",
    "__version__",
    "encode_spans",
    "flush_on_signal",
]
