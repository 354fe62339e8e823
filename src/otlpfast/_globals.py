"""What otlpfast puts in the place of the API's own when it is configured: propagators, runtime context."""

from __future__ import annotations

from opentelemetry import propagate
from opentelemetry.baggage import propagation as baggage
from opentelemetry.propagators import composite
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace.propagation import tracecontext

from .propagation import CompositePropagator, TraceContextTextMapPropagator, W3CBaggagePropagator


def take_over() -> None:
    """Replaces the API's own classes, and nothing that anybody else has put there."""
    present = propagate.get_global_textmap()
    own = _own(present)
    if own is not present:
        propagate.set_global_textmap(own)


def _own(propagator: TextMapPropagator) -> TextMapPropagator:
    """The propagator with otlpfast's in the place of the API's; itself where there are none of those."""
    kind = type(propagator)
    if kind is tracecontext.TraceContextTextMapPropagator:
        return TraceContextTextMapPropagator()
    if kind is baggage.W3CBaggagePropagator:
        return W3CBaggagePropagator()
    if kind is composite.CompositePropagator:
        parts = list(propagator._propagators)  # type: ignore[attr-defined]
        own = [_own(part) for part in parts]
        if any(one is not other for one, other in zip(parts, own, strict=True)):
            return CompositePropagator(own)
    return propagator
