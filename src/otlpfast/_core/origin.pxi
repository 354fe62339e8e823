# What all spans of a tracer share, and the way that they go when they start and end.


cdef Py_ssize_t limit_of(value) except? -2:
    # A limit of the SDK's SpanLimits: None is none.
    return -1 if value is None else min(value, PY_SSIZE_T_MAX)


@cython.final
cdef class _Origin:
    # What all spans of a tracer share; never changed, but replaced.
    cdef object resource, scope, info, sampler, limits, processors
    cdef Route route  # None where the application brought its own holder of processors
    cdef Py_ssize_t max_attributes, max_events, max_links, max_event_attributes, max_link_attributes
    cdef Py_ssize_t max_span_length, max_length

    cdef _Origin copy(self):
        cdef _Origin twin = _Origin.__new__(_Origin)
        twin.resource, twin.scope, twin.info = self.resource, self.scope, self.info
        twin.sampler, twin.processors, twin.route = self.sampler, self.processors, self.route
        twin.set_limits(self.limits)
        return twin

    cdef int set_limits(self, limits) except -1:
        self.limits = limits
        self.max_attributes = limit_of(limits.max_span_attributes)
        self.max_events = limit_of(limits.max_events)
        self.max_links = limit_of(limits.max_links)
        self.max_event_attributes = limit_of(limits.max_event_attributes)
        self.max_link_attributes = limit_of(limits.max_link_attributes)
        self.max_span_length = limit_of(limits.max_span_attribute_length)
        self.max_length = limit_of(limits.max_attribute_length)
        return 0

    cdef int set_processors(self, processors) except -1:
        self.processors = processors
        route = getattr(processors, "route", None)
        self.route = route if type(route) is Route else None
        return 0


@cython.final
cdef class Route:
    """Which processors a span passes: others first, then otlpfast's own.

    Attributes:
        starting, ending, ended: others with an ``on_start``, ``_on_ending``, ``on_end`` of their own;
            the first also has queues with a tail sampler.
        own: otlpfast's.
        queues: for each of those, the queue that takes its spans, or None where it wants objects.
    """

    cdef readonly tuple starting, ending, ended, own, queues
    cdef SpanQueue only_queue  # where nothing but this queue wants to know of an end

    def __cinit__(self):
        self.starting = self.ending = self.ended = self.own = self.queues = ()

    def assign(self, tuple starting, tuple ending, tuple ended, tuple own, tuple queues):
        """Replaces all of them."""
        self.starting, self.ending, self.ended = starting, ending, ended
        self.own, self.queues = own, queues
        self.only_queue = queues[0] if len(queues) == 1 and not ending and not ended else None
