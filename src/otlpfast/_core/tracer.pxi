# Starting spans: who is the parent, whether to sample, what the processors get.

@cython.final
cdef class Route:
    """Which processors a span passes: others first, then otlpfast's own.

    Attributes:
        starting, ending, ended: others with an ``on_start``, ``_on_ending``, ``on_end`` of their own.
        own: otlpfast's.
        queues: for each of those, the queue that takes its spans, or None where it wants objects.
    """

    cdef readonly tuple starting, ending, ended, own, queues

    def __cinit__(self):
        self.starting = self.ending = self.ended = self.own = self.queues = ()

    def assign(self, tuple starting, tuple ending, tuple ended, tuple own, tuple queues):
        """Replaces all of them."""
        self.starting, self.ending, self.ended = starting, ending, ended
        self.own, self.queues = own, queues


cdef int announce(_NativeSpan span, object parent_context) except -1:
    cdef Route route = span.origin.route
    if route is None:
        guarded(span.origin.processors.on_start, span, parent_context=parent_context)
        return 0
    if route.starting:
        for processor in route.starting:
            guarded(processor.on_start, span, parent_context=parent_context)
    return 0


cdef int deliver(_NativeSpan span) except -1:
    # Of a span that has ended. Others may change what they get, so that otlpfast's own come after them.
    cdef Route route = span.origin.route
    cdef tuple own, queues
    cdef Py_ssize_t i
    cdef object readable = None
    if span.end_metrics is not None:
        guarded(span.end_metrics)
    if route is None:
        guarded(span.origin.processors._on_ending, span)
        guarded(span.origin.processors.on_end, span._readable_span())
        return 0
    if route.ending:
        for processor in route.ending:
            guarded(processor._on_ending, span)
    if route.ended:
        readable = span._readable_span()
        for processor in route.ended:
            guarded(processor.on_end, readable)
    own, queues = route.own, route.queues
    for i in range(len(own)):
        if queues[i] is None:
            if readable is None:
                readable = span._readable_span()
            guarded(own[i].take, readable)
        else:
            enqueue(own[i], queues[i], span if readable is None else readable)
    return 0


cdef int enqueue(object processor, SpanQueue queue, object span) except -1:
    cdef int outcome = queue.put_own(<_NativeSpan> span) if type(span) is _NativeSpan else queue.put(span)
    if outcome or not queue.attended:
        processor._react(outcome)
    return 0


# --- sampling

cdef enum:
    DROP, KEEP, BY_RATIO, ASK  # ask the sampler itself

cdef struct Rule:
    int kind
    uint64_t bound


cdef Rule rule_of(object sampler):
    # What one of the SDK's samplers would say; ASK for any other, and for subclasses.
    cdef Rule rule = Rule(ASK, 0)
    kind = type(sampler)
    if kind in _static_samplers:
        if sampler._decision is Decision.DROP:
            rule.kind = DROP
        elif sampler._decision is Decision.RECORD_AND_SAMPLE:
            rule.kind = KEEP
    elif kind is TraceIdRatioBased:
        bound = sampler.bound
        if bound >= 1 << 64:
            rule.kind = KEEP
        elif bound >= 0:
            rule.kind = BY_RATIO
            rule.bound = bound
    return rule

_static_samplers = (StaticSampler, sampling._AlwaysOn, sampling._AlwaysOff)
_parent_samplers = (
    ParentBased, ParentBasedTraceIdRatio, sampling._ParentBasedAlwaysOn, sampling._ParentBasedAlwaysOff
)

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
    PyObject *above  # the answer: whose child it is, borrowed from there

cdef enum:  # which rule of a parent-based sampler
    ROOT, REMOTE_SAMPLED, REMOTE_NOT_SAMPLED, LOCAL_SAMPLED, LOCAL_NOT_SAMPLED


# --- the tracer

@cython.final
cdef class _NativeTracer:
    """Makes spans for one instrumentation scope; ``otlpfast.Tracer`` is what it says it is."""

    cdef object __weakref__
    cdef dict __dict__
    cdef Origin origin
    cdef object generator, config, metrics
    cdef bint has_own_ids, has_metrics, is_disabled, needs_help, asks
    cdef Rule rules[5]

    def __init__(self, stock):
        # All that one of the SDK's tracers has.
        cdef Origin origin = Origin.__new__(Origin)
        origin.resource, origin.scope = stock.resource, stock._instrumentation_scope
        origin.info, origin.sampler = stock.instrumentation_info, stock.sampler
        origin.set_limits(stock._span_limits)
        origin.set_processors(stock.span_processor)
        self.origin = origin
        self.sampler = stock.sampler
        self.id_generator = stock.id_generator
        self._tracer_config = stock._tracer_config
        self._tracer_metrics = stock._tracer_metrics

    @property
    def __class__(self):
        return _tracer_face

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
            <PyObject *> links, <PyObject *> start_time, record_exception, set_status_on_exception, NULL, NULL,
        )
        return self.begin(&asked)

    def start_as_current_span(
        self, name, context=None, kind=_internal, attributes=None, links=(), start_time=None,
        bint record_exception=True, bint set_status_on_exception=True, bint end_on_exit=True,
    ):
        """For a ``with``, or to decorate a function or coroutine function: a span that is current in it.

        See ``opentelemetry.trace.Tracer.start_as_current_span()``.
        """
        cdef _SpanScope scope = _SpanScope.__new__(_SpanScope)
        scope.tracer, scope.name, scope.context, scope.kind = self, name, context, kind
        scope.attributes, scope.links, scope.start_time = attributes, links, start_time
        scope.records_exceptions, scope.sets_status = record_exception, set_status_on_exception
        scope.ends = end_on_exit
        return scope

    cdef object begin(self, Asked *asked):
        # Nothing here raises but for lack of memory: what is not built in is asked elsewhere.
        cdef Context ids, parent
        cdef Rule *rule
        cdef Generator *source
        cdef bint is_sampled
        cdef object above = find_parent(
            <object> (asked.current if asked.context == py_none and asked.current else asked.context), &parent
        )
        cdef bint has_parent = above is not None
        asked.above = <PyObject *> above
        rule = &self.rules[which_rule(has_parent, &parent)]
        if rule.kind == ASK or self.needs_help:
            return self.begin_with_help(asked, above, &parent, rule)
        source = generator()
        if has_parent:
            ids = parent
            ids.remote = False
            ids.flags &= 2
        else:
            new_trace_id(source, &ids)
        ids.span = new_span_id(source)
        is_sampled = rule.kind == KEEP or rule.kind == BY_RATIO and ids.trace_low < rule.bound
        ids.flags |= is_sampled
        if not is_sampled:
            return non_recording_span(&ids)
        return self.recorded_span(asked, &ids, above, &parent)

    cdef _NativeSpan recorded_span(self, Asked *asked, Context *ids, object above, Context *parent):
        cdef _NativeSpan span = self.new_span(asked, ids, above, parent)
        span.begin(<object> asked.start_time)
        announce(span, <object> asked.context)
        return span

    cdef _NativeSpan new_span(self, Asked *asked, Context *ids, object above, Context *parent):
        cdef _NativeSpan span = _NativeSpan.__new__(_NativeSpan)
        span.origin = self.origin
        span.span_name, span.span_kind, span.span_status = <object> asked.name, <object> asked.kind, _unset
        span.ids = ids[0]
        span.trace_state = <object> ids.trace_state
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
        if not is_exact_dict(<PyObject *> attributes):
            attributes = given_attributes(attributes)
        collect_bounded(&slots, attributes, self.origin.max_attributes, self.origin.max_span_length)
        span.slots = slots
        return 0

    cdef object begin_with_help(self, Asked *asked, object above, Context *parent, Rule *rule):
        # Where tracing is disabled here, or a sampler, id generator or meter of others has a say.
        cdef Context ids
        cdef _NativeSpan span
        context = <object> asked.context
        if self.is_disabled:
            return NonRecordingSpan(given_parent(context) or INVALID_SPAN_CONTEXT)
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
        if rule.kind == ASK:
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
        cdef int i
        self.renew()
        self.origin.sampler = value
        if type(value) in _parent_samplers:
            parts = (
                value._root, value._remote_parent_sampled, value._remote_parent_not_sampled,
                value._local_parent_sampled, value._local_parent_not_sampled,
            )
        else:
            parts = (value,) * 5
        self.asks = False
        for i in range(5):
            self.rules[i] = rule_of(parts[i])
            self.asks = self.asks or self.rules[i].kind == ASK

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


cdef inline int which_rule(bint has_parent, Context *parent) noexcept nogil:
    if not has_parent:
        return ROOT
    if parent.remote:
        return REMOTE_SAMPLED if parent.flags & 1 else REMOTE_NOT_SAMPLED
    return LOCAL_SAMPLED if parent.flags & 1 else LOCAL_NOT_SAMPLED


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


cdef int give_links(_NativeSpan span, links) except -1:
    links = given_links(links)
    if links:
        try:
            made = _SDKSpan._new_links(span, links)
        except Exception:
            made = _SDKSpan._new_links(span, safe_links(links))
        made._lock = RLock()
        span.links_object = made
    return 0


cdef _NativeNonRecordingSpan non_recording_span(Context *ids):
    cdef _NativeNonRecordingSpan span = _NativeNonRecordingSpan.__new__(_NativeNonRecordingSpan)
    span.ids = ids[0]
    span.trace_state = <object> ids.trace_state
    return span


@cython.final
@cython.no_gc_clear
@cython.freelist(64)
cdef class _SpanScope:
    """What ``start_as_current_span()`` returns: starts the span on entry, makes it current, ends it on exit."""

    cdef object __weakref__
    cdef object name, context, kind, attributes, links, start_time
    cdef _NativeTracer tracer
    cdef object span, token, base, attached
    cdef object above  # the span that is current around this one, if it is one of otlpfast's own
    cdef bint records_exceptions, sets_status, ends

    def __dealloc__(self):
        # Entered and forgotten: what a generator in its place would do when it dies.
        if self.token is not None:
            self.leave(None)

    def __enter__(self):
        cdef Asked asked
        if self.token is not None:
            raise RuntimeError("this span is current already: call start_as_current_span() for each `with`")
        self.base = current_context()
        if PyObject_GenericGetDict(self.tracer, NULL):  # perhaps a start_span() of somebody's own
            self.span = self.tracer.start_span(
                self.name, self.context, self.kind, self.attributes, self.links, self.start_time,
                self.records_exceptions, self.sets_status
            )
            return self.attach(NULL)
        asked = Asked(
            <PyObject *> self.name, <PyObject *> self.context, <PyObject *> self.kind,
            <PyObject *> self.attributes, <PyObject *> self.links, <PyObject *> self.start_time,
            self.records_exceptions, self.sets_status, <PyObject *> self.base, NULL,
        )
        self.span = self.tracer.begin(&asked)
        if self.context is not None:
            return self.attach(NULL)
        if asked.above != NULL and type_of(asked.above) == _own_span:
            self.above = <object> asked.above
        return self.attach(asked.above)

    cdef object attach(self, PyObject *above):
        if self.tracer.calls_others():
            self.base = current_context()  # who was called may have attached one
        self.attached = spare_context(self.base, self.span, above)
        if type(self.span) is _NativeSpan:
            (<_NativeSpan> self.span).active = <PyObject *> self.attached
        if _context_var is not None:
            self.token = PyContextVar_Set(_context_var, self.attached)
        else:
            self.token = opentelemetry.context.attach(self.attached)
        return self.span

    def __exit__(self, kind, error, trace):
        if kind is not None and error is None:
            error = kind()
        self.leave(error)
        return False

    cdef int leave(self, object error) except -1:
        cdef object span = self.span
        cdef object base, attached
        detach(self.token)
        self.token = self.span = None
        base, attached, self.base, self.attached = self.base, self.attached, None, None
        if type(span) is _NativeSpan:
            (<_NativeSpan> span).active = NULL
            (<_NativeSpan> span).spare = None
        if reference_count(<PyObject *> attached) == 1:
            give_back_context(base, attached, <PyObject *> self.above)
        self.above = None
        if error is not None and isinstance(error, Exception):
            note_error(span, error, self.records_exceptions, self.sets_status, False)
        if self.ends:
            if type(span) is _NativeSpan:
                (<_NativeSpan> span).end_as_seen()
            elif type(span) is not _NativeNonRecordingSpan:
                span.end()
        return 0

    def _recreate_cm(self):
        return self.tracer.start_as_current_span(
            self.name, self.context, self.kind, self.attributes, self.links, self.start_time,
            self.records_exceptions, self.sets_status, self.ends
        )

    def __call__(self, function):
        """Decorates a function or coroutine function: each call has a span of its own."""
        return decorated(self._recreate_cm, function)


# --- the classes that isinstance() and users see
#
# Their methods are looked up on the native types; those that are here serve whoever calls one unbound, with an
# object of his own too.

class Tracer(_SDKTracer):
    """Makes spans for one instrumentation scope. Made by ``TracerProvider.get_tracer()``."""

    def __new__(cls, *args, **options):
        if cls is not Tracer:
            return super().__new__(cls)
        return _NativeTracer(_SDKTracer(*args, **options))

    @staticmethod
    def adopt(stock):
        """A Tracer with all that the SDK's has."""
        return _NativeTracer(stock)

    start_span = either(_NativeTracer, _NativeTracer.start_span, _SDKTracer.start_span)
    start_as_current_span = either(
        _NativeTracer, _NativeTracer.start_as_current_span, _SDKTracer.start_as_current_span
    )


class Span(_SDKSpan):
    """A span that is recorded. Made by a Tracer."""

    def __new__(cls, *args, **options):
        raise TypeError("Span must be instantiated via a tracer.")

for _name, _member in list(vars(_NativeSpan).items()):
    if callable(_member) and hasattr(_SDKSpan, _name) and (
        not _name.startswith("__") or _name in ("__enter__", "__exit__", "__repr__")
    ):
        setattr(Span, _name, either(_NativeSpan, _member, getattr(_SDKSpan, _name)))

cdef object _span_face = Span
cdef object _tracer_face = Tracer
