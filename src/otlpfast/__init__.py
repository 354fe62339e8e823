"""OpenTelemetry tracing for Python at native speed.

One line switches it on, with all that ``OTEL_*`` variables say::

    import otlpfast

    otlpfast.configure()

Or swap the provider, the processor and the exporter, and nothing else::

    from opentelemetry import trace
    from otlpfast import BatchSpanProcessor, OTLPSpanExporter, TracerProvider

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
"""

from __future__ import annotations

# The SDK's provider uses a thread pool in its fork hook: see processor.py. Later may be too late.
import concurrent.futures.thread  # noqa: F401
import importlib
from typing import TYPE_CHECKING

from . import _choice

if TYPE_CHECKING:
    from ._impl import IMPLEMENTATION, encode_spans
    from ._signals import SignalFlush, flush_on_signal
    from .autoconfigure import configure
    from .batch import ExportOutcome, SpanBatch
    from .export import OTLPSpanExporter
    from .pool import SpanPool, SpanWrapper
    from .processor import BatchSpanProcessor, SimpleSpanProcessor
    from .trace import Span, Tracer, TracerProvider

    __version__: str

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
    "configure",
    "encode_spans",
    "flush_on_signal",
]

# Where each name is loaded from when it is first used.
_HOMES = {
    "_impl": ("IMPLEMENTATION", "encode_spans"),
    "_signals": ("SignalFlush", "flush_on_signal"),
    "_version": ("__version__",),
    "autoconfigure": ("configure",),
    "batch": ("ExportOutcome", "SpanBatch"),
    "export": ("OTLPSpanExporter",),
    "pool": ("SpanPool", "SpanWrapper"),
    "processor": ("BatchSpanProcessor", "SimpleSpanProcessor"),
    "trace": ("Span", "Tracer", "TracerProvider"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
if _choice.DISABLED:
    _HOME.update(dict.fromkeys(("OTLPSpanExporter", *_HOMES["processor"], *_HOMES["trace"]), "_stock"))


def _load(name: str) -> object:
    if name in _HOMES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


if not TYPE_CHECKING:
    __getattr__ = _load  # by another name, lest type checkers believe that every name is there


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
