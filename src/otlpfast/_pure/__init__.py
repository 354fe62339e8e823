"""The plain-Python core, for platforms without the compiled one: the same names, bytes and errors.

Clear rather than clever: every span goes through ``plain_span`` and is then written out field by field.
"""

from __future__ import annotations

from typing import Any

from .buffers import BufferPool, SpanBuffer, WireWriter
from .counters import PaddedCounters
from .pools import AttributeArray, AttributePool, EventArray, EventPool, _Pool
from .propagation import CompositePropagator, TraceContextTextMapPropagator, W3CBaggagePropagator
from .queue import BatchBuilder, SpanQueue, _buffer_pool, encode_spans
from .redaction import Redactor
from .sampling import NATIVE_SAMPLERS, RateLimiter
from .trace import Route, Span, Tracer, span_layouts

IMPLEMENTATION = "py"
POOLS: dict[str, _Pool[Any]] = {"span buffers": _buffer_pool}

__all__ = [
    "IMPLEMENTATION",
    "NATIVE_SAMPLERS",
    "POOLS",
    "AttributeArray",
    "AttributePool",
    "BatchBuilder",
    "BufferPool",
    "CompositePropagator",
    "EventArray",
    "EventPool",
    "PaddedCounters",
    "RateLimiter",
    "Redactor",
    "Route",
    "Span",
    "SpanBuffer",
    "SpanQueue",
    "TraceContextTextMapPropagator",
    "Tracer",
    "W3CBaggagePropagator",
    "WireWriter",
    "encode_spans",
    "span_layouts",
]
