"""The only place that loads the compiled core or the plain-Python one; ``_choice`` says which.

Only a core that is not there falls back: one that is there and broken raises, whatever the variable says.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ._choice import choose, refuse_subinterpreters

refuse_subinterpreters()

if TYPE_CHECKING:
    from . import _pure as core
else:
    core = importlib.import_module(f".{choose()}", __package__)

# Every name that an implementation must supply.
IMPLEMENTATION = core.IMPLEMENTATION
NATIVE_SAMPLERS = core.NATIVE_SAMPLERS
POOLS = core.POOLS
AttributePool = core.AttributePool
BatchBuilder = core.BatchBuilder
BufferPool = core.BufferPool
CompositePropagator = core.CompositePropagator
EventPool = core.EventPool
PaddedCounters = core.PaddedCounters
RateLimiter = core.RateLimiter
Redactor = core.Redactor
Route = core.Route
Span = core.Span
SpanBuffer = core.SpanBuffer
SpanQueue = core.SpanQueue
TraceContextTextMapPropagator = core.TraceContextTextMapPropagator
Tracer = core.Tracer
W3CBaggagePropagator = core.W3CBaggagePropagator
WireWriter = core.WireWriter
encode_spans = core.encode_spans
span_layouts = core.span_layouts
