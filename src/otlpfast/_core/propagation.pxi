# The propagators that applications see.

cdef class _TraceContext:
    def extract(self, carrier, context=None, getter=default_getter):
        """A copy of the context with a span of the carrier's ``traceparent`` and ``tracestate`` in it.

        The context as it is where there are none, or wrong ones. Without one: an empty context.
        """
        return extract_trace_context(carrier, context, getter)

    def inject(self, carrier, context=None, setter=default_setter):
        """Sets ``traceparent`` and ``tracestate`` of the context's span in the carrier."""
        inject_trace_context(carrier, context, setter)


cdef class _Baggage:
    def extract(self, carrier, context=None, getter=default_getter):
        """A copy of the context with the entries of the carrier's ``baggage`` added to its own.

        The context as it is where there are none. Without one: the current one.
        """
        return extract_baggage(carrier, context, getter)

    def inject(self, carrier, context=None, setter=default_setter):
        """Sets ``baggage`` of the context's entries in the carrier."""
        inject_baggage(carrier, context, setter)


cdef class _Composite:
    def extract(self, carrier, context=None, getter=default_getter):
        """The context after all propagators have extracted theirs, one after the other."""
        for propagator in self._propagators:
            if type(propagator) is TraceContextTextMapPropagator:
                context = extract_trace_context(carrier, context, getter)
            elif type(propagator) is W3CBaggagePropagator:
                context = extract_baggage(carrier, context, getter)
            else:
                context = propagator.extract(carrier, context, getter=getter)
        return context

    def inject(self, carrier, context=None, setter=default_setter):
        """Has all propagators inject theirs, one after the other."""
        for propagator in self._propagators:
            if type(propagator) is TraceContextTextMapPropagator:
                inject_trace_context(carrier, context, setter)
            elif type(propagator) is W3CBaggagePropagator:
                inject_baggage(carrier, context, setter)
            else:
                propagator.inject(carrier, context, setter=setter)


class TraceContextTextMapPropagator(_TraceContext, _APITraceContext):
    """W3C trace context: the headers ``traceparent`` and ``tracestate``."""


class W3CBaggagePropagator(_Baggage, _APIBaggage):
    """W3C baggage: the header ``baggage``."""


class CompositePropagator(_Composite, _APIComposite):
    """Several propagators as one; the API's, without a call of Python code for each of otlpfast's."""
