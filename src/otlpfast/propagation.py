"""Propagators for W3C trace context and baggage, drop-ins for the API's.

``otlpfast.configure()`` and ``otlpfast run`` put them in the place of the API's, where those are in use.
Without either::

    from opentelemetry import propagate
    from otlpfast import propagation as own

    both = [own.TraceContextTextMapPropagator(), own.W3CBaggagePropagator()]
    propagate.set_global_textmap(own.CompositePropagator(both))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._choice import DISABLED

if DISABLED and not TYPE_CHECKING:
    from opentelemetry.baggage.propagation import W3CBaggagePropagator
    from opentelemetry.propagators.composite import CompositePropagator
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
else:
    from ._impl import CompositePropagator, TraceContextTextMapPropagator, W3CBaggagePropagator

__all__ = ["CompositePropagator", "TraceContextTextMapPropagator", "W3CBaggagePropagator"]
