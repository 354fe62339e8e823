"""The W3C propagators without the compiled core: the API's own."""

from __future__ import annotations

from opentelemetry.baggage import propagation as baggage
from opentelemetry.context.context import Context
from opentelemetry.propagators.composite import CompositePropagator as APIComposite
from opentelemetry.propagators.textmap import CarrierT, Getter, Setter, default_getter, default_setter
from opentelemetry.trace.propagation import tracecontext

from .. import _propagators as api


class TraceContextTextMapPropagator(tracecontext.TraceContextTextMapPropagator):
    """W3C trace context: the headers ``traceparent`` and ``tracestate``."""

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        """A copy of the context with a span of the carrier's ``traceparent`` and ``tracestate`` in it.

        The context as it is where there are none, or wrong ones. Without one: an empty context.
        """
        return api.extract_trace_context(carrier, context, getter)

    def inject(
        self, carrier: CarrierT, context: Context | None = None, setter: Setter[CarrierT] = default_setter
    ) -> None:
        """Sets ``traceparent`` and ``tracestate`` of the context's span in the carrier."""
        api.inject_trace_context(carrier, context, setter)


class W3CBaggagePropagator(baggage.W3CBaggagePropagator):
    """W3C baggage: the header ``baggage``."""

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        """A copy of the context with the entries of the carrier's ``baggage`` added to its own.

        The context as it is where there are none. Without one: the current one.
        """
        return api.extract_baggage(carrier, context, getter)

    def inject(
        self, carrier: CarrierT, context: Context | None = None, setter: Setter[CarrierT] = default_setter
    ) -> None:
        """Sets ``baggage`` of the context's entries in the carrier."""
        api.inject_baggage(carrier, context, setter)


class CompositePropagator(APIComposite):
    """Several propagators as one."""


__all__ = ["CompositePropagator", "TraceContextTextMapPropagator", "W3CBaggagePropagator"]
