# Starting spans: who is the parent, whether to sample, what it is given.

cdef struct Asked:  # the arguments of start_span(), borrowed
    PyObject *name
    PyObject *context
    PyObject *kind
    PyObject *attributes
    PyObject *links
    PyObject *start_time
    bint records_exceptions
    bint sets_status
    PyObject *current  # the current context, where it is known
    PyObject *above  # the answer: the parent, borrowed from its context, if it is one of our own spans
    PyObject **spare  # where to put the Context that the span is in already, if it is in one


@cython.final
cdef class _NativeTracer:
    """Makes spans for one instrumentation scope; ``otlpfast.Tracer`` is what it says it is."""

    cdef object __weakref__
    cdef dict __dict__
    cdef _Origin origin
    cdef object generator, config, metrics
    cdef bint has_own_ids, has_metrics, is_disabled, needs_help, asks
    cdef Rule rules[5]
    cdef list tables  # which those of rules are, to keep them

    def __init__(self, stock):
        # All that one of the SDK's tracers has.
        cdef _Origin origin = _Origin.__new__(_Origin)
        origin.resource, origin.scope = stock.resource, stock._instrumentation_scope
        origin.info, origin.sampler = stock.instrumentation_info, stock.sampler
        origin.set_limits(stock._span_limits)
        origin.set_processors(stock.span_processor)
        self.origin = origin
        self.sampler = stock.sampler
        self.id_generator = stock.id_generator
        self._tracer_config = stock._tracer_config
        self._tracer_metrics = stock._tracer_metrics
        open_dict(self)

    @property
    def __class__(self):
        return _tracer_face

    def __copy__(self):
        cdef _NativeTracer twin = _NativeTracer(self)
        PyObject_GenericGetDict(twin, NULL).update(PyObject_GenericGetDict(self, NULL))
        return twin

    def __dir__(self):
        return sorted({*object.__dir__(self), *vars(_NativeTracer)})

    cdef int renew(self) except -1:
        self.origin = self.origin.copy()
        return 0

    cdef inline bint calls_others(self) noexcept:
        # Whether starting a span can run code that is not otlpfast's.
        return self.needs_help or self.origin.route is None or self.asks or bool(self.origin.route.starting)

    cdef void note_needs(self) noexcept:
        self.needs_help = self.is_disabled or self.has_metrics or not self.has_own_ids

    def start_span(
        self, name, context=None, kind=_internal, attributes=None, links=(), start_time=None,
        bint record_exception=True, bint set_status_on_exception=True,
    ):
        """Starts a span; see ``opentelemetry.trace.Tracer.start_span()``."""
        cdef Asked asked = Asked(
            <PyObject *> name, <PyObject *> context, <PyObject *> kind, <PyObject *> attributes,
            <PyObject *> links, <PyObject *> start_time, record_exception, set_status_on_exception,
            NULL, NULL, NULL,
        )
        return self.begin(&asked)

    def start_as_current_span(
        self, name, context=None, kind=_internal, attributes=None, links=(), start_time=None,
        record_exception=True, set_status_on_exception=True, end_on_exit=True,
    ):
        """For a ``with``, or to decorate a function or coroutine function: a span that is current in it.

        See ``opentelemetry.trace.Tracer.start_as_current_span()``.
        """
        cdef PyObject *given[CURRENT_ARGUMENTS]
        record_exception, set_status_on_exception = bool(record_exception), bool(set_status_on_exception)
        end_on_exit = bool(end_on_exit)
        given[A_NAME], given[A_CONTEXT] = <PyObject *> name, <PyObject *> context
        given[A_KIND], given[A_ATTRIBUTES] = <PyObject *> kind, <PyObject *> attributes
        given[A_LINKS], given[A_START_TIME] = <PyObject *> links, <PyObject *> start_time
        given[A_RECORD] = <PyObject *> record_exception
        given[A_STATUS], given[A_END] = <PyObject *> set_status_on_exception, <PyObject *> end_on_exit
        return given_scope(self, given)

    cdef object begin(self, Asked *asked):
        # Nothing here raises but for lack of memory: what is not built in is asked elsewhere.
        cdef Context ids, parent
        cdef Rule *rule
        cdef Rule found
        cdef Generator *source
        cdef bint is_sampled
        cdef object above = find_parent(
            <object> (asked.current if asked.context == py_none and asked.current else asked.context), &parent
        )
        cdef bint has_parent = above is not None
        asked.above = <PyObject *> above if type(above) is _NativeSpan else NULL
        rule = &self.rules[which_rule(has_parent, &parent)]
        if rule.kind == BY_RULES:
            found = chosen(rule, asked.name, asked.kind, asked.attributes)
            rule = &found
        if rule.kind == ASK or self.needs_help:
            if self.is_disabled:
                return self.disabled_span(asked, above, &parent)
            return self.begin_with_help(asked, above, &parent, rule)
        source = generator()
        if has_parent:
            ids = parent
            ids.remote = False
            ids.flags &= 2
        else:
            new_trace_id(source, &ids)
        ids.span = new_span_id(source)
        is_sampled = rule.kind == KEEP or rule.kind != DROP and decides(rule, &ids)
        ids.flags |= is_sampled
        if not is_sampled:
            return non_recording_span(&ids)
        return self.recorded_span(asked, &ids, above, &parent)

    cdef inline _NativeSpan recorded_span(self, Asked *asked, Context *ids, object above, Context *parent):
        cdef _NativeSpan span = self.new_span(asked, ids, above, parent)
        span.begin(<object> asked.start_time)
        announce(span, <object> asked.context)
        return span

    cdef inline _NativeSpan new_span(self, Asked *asked, Context *ids, object above, Context *parent):
        cdef Spare *place = NULL
        cdef _NativeSpan span
        if asked.spare != NULL:
            place = place_of_spare(asked.current, asked.above)
        if place == NULL or place.context == NULL or place.span == NULL:
            span = fresh_span()
        else:
            asked.spare[0], place.context = place.context, NULL
            PyObject_GC_Track(place.span)
            span = begun_span(<_NativeSpan> place.span)
        span.origin = self.origin
        span.span_name = <object> asked.name
        if <PyObject *> span.span_kind != asked.kind:
            span.span_kind = <object> asked.kind
        if span.span_status is not _unset:
            span.span_status = _unset
        if <PyObject *> span.trace_state != ids.trace_state:
            span.trace_state = <object> ids.trace_state
        span.ids = ids[0]
        if above is not None:
            span.has_parent = True
            span.parent_ids = parent[0]
            span.parent_context = made_context(above)
        span.records_exceptions, span.sets_status = asked.records_exceptions, asked.sets_status
        if asked.attributes != py_none:
            self.give_attributes(span, <object> asked.attributes)
        if asked.links != <PyObject *> _no_arguments:
            give_links(span, <object> asked.links)
        return span

    cdef int give_attributes(self, _NativeSpan span, attributes) except -1:
        cdef Slots slots
        memset(&slots, 0, sizeof(Slots))
        if type(attributes) is MappingProxyType:
            attributes = dict(attributes)  # as samplers answer
        if is_exact_dict(<PyObject *> attributes) and collect_bounded(
            &slots, attributes, self.origin.max_attributes, self.origin.max_span_length
        ):
            span.slots = slots
        else:
            span.attributes_object = filled_attributes(given_attributes(attributes), self.origin)
        return 0

    cdef object disabled_span(self, Asked *asked, object above, Context *parent):
        # Nothing but the parent's context, also where that is invalid.
        cdef _NativeNonRecordingSpan span
        if above is not None:
            span = non_recording_span(parent)
            span.own_context = made_context(above)
            return span
        context = current_context() if asked.context == py_none else <object> asked.context
        if not is_plain_context(<PyObject *> context) or _span_key in context:
            return NonRecordingSpan(given_parent(context) or INVALID_SPAN_CONTEXT)
        memset(parent, 0, sizeof(Context))
        parent.trace_state = _default_trace_state
        span = non_recording_span(parent)
        span.own_context = INVALID_SPAN_CONTEXT
        return span

    cdef object begin_with_help(self, Asked *asked, object above, Context *parent, Rule *rule):
        # Where a sampler, id generator or meter of others has a say.
        cdef Context ids
        cdef _NativeSpan span
        context = <object> asked.context
        attributes, links = given_attributes(<object> asked.attributes), given_links(<object> asked.links)
        try:
            records, own_context, attributes, end_metrics = self.consult(
                asked, above, parent, rule, attributes, links
            )
        except Exception as error:
            text = "start_span(%r) raised %s: %s"
            ignored("start", text, <object> asked.name, type(error).__name__, error)
            return NonRecordingSpan(given_parent(context) or INVALID_SPAN_CONTEXT)
        if not records:
            return NonRecordingSpan(own_context)
        memset(&ids, 0, sizeof(Context))
        ids.trace_state = _default_trace_state
        asked.attributes, asked.links = <PyObject *> attributes, <PyObject *> links
        span = self.new_span(asked, &ids, above, parent)
        span._context = own_context
        span.end_metrics = end_metrics
        if above is not None and span.parent_context is None:
            span.parent_context = above.get_span_context()  # its trace state need not be the span's
        span.begin(<object> asked.start_time)
        announce(span, context)
        return span

    cdef tuple consult(
        self, Asked *asked, object above, Context *parent, Rule *rule, object attributes, object links
    ):
        # Whether to record, the span's SpanContext, its attributes, and what to call at its end.
        cdef Context ids
        cdef bint has_parent = above is not None
        cdef object state = <object> parent.trace_state if has_parent else None
        cdef object trace_id
        if has_parent:
            trace_id = otlpfast_int128(parent.trace_high, parent.trace_low)
        elif self.has_own_ids:
            new_trace_id(generator(), &ids)
            trace_id = otlpfast_int128(ids.trace_high, ids.trace_low)
        else:
            trace_id = self.generator.generate_trace_id()
        if rule.kind >= ASK:
            result = self.origin.sampler.should_sample(
                <object> asked.context, trace_id, <object> asked.name, <object> asked.kind, attributes, links
            )
            decision, attributes, state = result.decision, result.attributes, result.trace_state
        elif rule.kind == KEEP or rule.kind == BY_RATIO and trace_id & 0xFFFFFFFFFFFFFFFF < rule.bound:
            decision = Decision.RECORD_AND_SAMPLE
        else:
            decision = Decision.DROP
        flags = decision.is_sampled() | (parent.flags & 2 if has_parent else self.root_flags())
        span_id = new_span_id(generator()) if self.has_own_ids else self.generator.generate_span_id()
        own_context = SpanContext(trace_id, span_id, False, TraceFlags(flags), state)
        end_metrics = None
        if self.has_metrics:
            end_metrics = self.metrics.start_span(parent_object(above), decision)
        return decision.is_recording(), own_context, attributes, end_metrics

    cdef uint8_t root_flags(self) except? 255:
        if self.has_own_ids:
            return 2
        is_random = getattr(self.generator, "is_trace_id_random", None)
        return 2 if is_random is not None and is_random() else 0

    # --- what the SDK's Tracer has

    _set_tracer_config = _SDKTracer._set_tracer_config
    _set_resource = _SDKTracer._set_resource
    _is_enabled = _SDKTracer._is_enabled

    @property
    def sampler(self):
        """Decides which spans are recorded."""
        return self.origin.sampler

    @sampler.setter
    def sampler(self, value):
        cdef Rule rules[5]
        cdef list tables = []
        cdef int i
        for i in range(5):
            rules[i] = rule_of(value, i, tables)
        self.renew()
        self.origin.sampler = value
        self.asks = False
        for i in range(5):
            self.rules[i] = rules[i]
            self.asks = self.asks or asks(&rules[i])
        self.tables = tables

    @property
    def id_generator(self):
        """Makes trace and span ids."""
        return self.generator

    @id_generator.setter
    def id_generator(self, value):
        self.generator = value
        self.has_own_ids = type(value) is RandomIdGenerator
        self.note_needs()

    @property
    def resource(self):
        """Who makes the spans."""
        return self.origin.resource

    @resource.setter
    def resource(self, value):
        self.renew()
        self.origin.resource = value

    @property
    def span_processor(self):
        """Who calls the span processors."""
        return self.origin.processors

    @span_processor.setter
    def span_processor(self, value):
        self.renew()
        self.origin.set_processors(value)

    @property
    def instrumentation_info(self):
        """Deprecated: name, version and schema URL of the scope."""
        return self.origin.info

    @instrumentation_info.setter
    def instrumentation_info(self, value):
        self.renew()
        self.origin.info = value

    @property
    def _instrumentation_scope(self):
        return self.origin.scope

    @_instrumentation_scope.setter
    def _instrumentation_scope(self, value):
        self.renew()
        self.origin.scope = value

    @property
    def _span_limits(self):
        return self.origin.limits

    @_span_limits.setter
    def _span_limits(self, value):
        self.renew()
        self.origin.set_limits(value)

    @property
    def _tracer_config(self):
        return self.config

    @_tracer_config.setter
    def _tracer_config(self, value):
        self.config = value
        self.is_disabled = not value.is_enabled
        self.note_needs()

    @property
    def _tracer_metrics(self):
        return self.metrics

    @_tracer_metrics.setter
    def _tracer_metrics(self, value):
        self.metrics = value
        self.has_metrics = type(value) is not NoOpTracerMetrics
        self.note_needs()


cdef inline Generator *generator() except NULL:
    cdef Generator *found = seeded()
    if found == NULL:
        found = seed(urandom(32))
    return found


cdef inline void new_trace_id(Generator *source, Context *ids) noexcept nogil:
    memset(ids, 0, sizeof(Context))
    while not (ids.trace_high or ids.trace_low):
        ids.trace_high, ids.trace_low = random_bits(source), random_bits(source)
    ids.trace_state = _default_trace_state
    ids.flags = 2  # random, by the W3C's definition


cdef inline uint64_t new_span_id(Generator *source) noexcept nogil:
    cdef uint64_t found = 0
    while not found:
        found = random_bits(source)
    return found


cdef object made_context(object above):
    # The SpanContext of find_parent()'s answer, if it has been made.
    if type(above) is _NativeSpan:
        return (<_NativeSpan> above).own_context
    if type(above) is _NativeNonRecordingSpan:
        return (<_NativeNonRecordingSpan> above).own_context
    return above


cdef object parent_object(object above):
    return above if above is None or isinstance(above, SpanContext) else above.get_span_context()


cdef _NativeNonRecordingSpan non_recording_span(Context *ids):
    cdef _NativeNonRecordingSpan span = <_NativeNonRecordingSpan> take(&_idle_unrecorded)
    open_dict(span)
    span.ids = ids[0]
    if <PyObject *> span.trace_state != ids.trace_state:
        span.trace_state = <object> ids.trace_state
    return span
