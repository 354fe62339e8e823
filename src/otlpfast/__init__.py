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
from typing import TYPE_CHECKING

from . import _choice

if TYPE_CHECKING:
    from . import web as web
    from ._impl import IMPLEMENTATION, encode_spans
    from ._signals import SignalFlush, flush_on_signal
    from .autoconfigure import configure
    from .batch import ExportOutcome, SpanBatch
    from .context import ContextPatch, carry, carry_context
    from .export import OTLPSpanExporter
    from .pool import SpanPool, SpanWrapper
    from .processor import BatchSpanProcessor, SimpleSpanProcessor
    from .redaction import RedactionRules
    from .spanmetrics import SpanMetricsProcessor
    from .trace import Span, Tracer, TracerProvider

    __version__: str

__all__ = [
    "IMPLEMENTATION",
    "BatchSpanProcessor",
    "ContextPatch",
    "ExportOutcome",
    "OTLPSpanExporter",
    "RedactionRules",
    "SignalFlush",
    "SimpleSpanProcessor",
    "Span",
    "SpanBatch",
    "SpanMetricsProcessor",
    "SpanPool",
    "SpanWrapper",
    "Tracer",
    "TracerProvider",
    "__version__",
    "carry",
    "carry_context",
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
    "context": ("ContextPatch", "carry", "carry_context"),
    "export": ("OTLPSpanExporter",),
    "pool": ("SpanPool", "SpanWrapper"),
    "processor": ("BatchSpanProcessor", "SimpleSpanProcessor"),
    "redaction": ("RedactionRules",),
    "spanmetrics": ("SpanMetricsProcessor",),
    "trace": ("Span", "Tracer", "TracerProvider"),
    "web": (),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
if _choice.DISABLED:
    _HOME.update(dict.fromkeys(("OTLPSpanExporter", *_HOMES["processor"], *_HOMES["trace"]), "_stock"))


def _module(name: str) -> object:
    # By the statement's own way, for that of importlib is not seen by `python -X importtime`.
    return __import__(f"{__name__}.{name}", fromlist=["__name__"])


def _load(name: str) -> object:
    if name in _HOMES:
        return _module(name)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _choice.refuse_subinterpreters()  # before the SDK is loaded there
    value = getattr(_module(_HOME[name]), name)
    globals()[name] = value
    return value


if not TYPE_CHECKING:
    __getattr__ = _load  # by another name, lest type checkers believe that every name is there


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
