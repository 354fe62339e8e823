"""The plain-Python core, for platforms without the compiled one: the same names, bytes and errors.

Clear rather than clever: every span goes through ``plain_span`` and is then written out field by field.
"""

from __future__ import annotations

from .buffers import BufferPool, SpanBuffer, WireWriter
from .counters import PaddedCounters
from .pools import AttributeArray, AttributePool, EventArray, EventPool
from .queue import BatchBuilder, SpanQueue, encode_spans
from .queue import _buffer_pool as _buffer_pool
from .trace import Route, Span, Tracer

IMPLEMENTATION = "py"

__all__ = [
    "IMPLEMENTATION",
    "AttributeArray",
    "AttributePool",
    "BatchBuilder",
    "BufferPool",
    "EventArray",
    "EventPool",
    "PaddedCounters",
    "Route",
    "Span",
    "SpanBuffer",
    "SpanQueue",
    "Tracer",
    "WireWriter",
    "encode_spans",
]
