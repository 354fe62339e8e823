# A span that is current for the length of a `with`.

@cython.final
@cython.no_gc_clear
cdef class _SpanScope:
    """What ``start_as_current_span()`` returns: starts a span, makes it current, ends it."""

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
        if is_changed(self.tracer):  # perhaps a start_span() of somebody's own
            self.span = self.tracer.start_span(
                self.name, self.context, self.kind, self.attributes, self.links, self.start_time,
                self.records_exceptions, self.sets_status
            )
            self.base = current_context()
            return self.attach(NULL)
        asked = Asked(
            <PyObject *> self.name, <PyObject *> self.context, <PyObject *> self.kind,
            <PyObject *> self.attributes, <PyObject *> self.links, <PyObject *> self.start_time,
            self.records_exceptions, self.sets_status, <PyObject *> self.base, NULL,
        )
        self.span = self.tracer.begin(&asked)
        if self.context is not None:
            return self.attach(NULL)
        if asked.above != NULL:
            self.above = <object> asked.above
        return self.attach(asked.above)

    cdef object attach(self, PyObject *above):
        if self.tracer.calls_others():
            self.base = current_context()  # who was called may have attached one
        self.attached = spare_context(self.base, self.span, above)
        if _context_var is not None:
            self.token = PyContextVar_Set(_context_var, self.attached)
        else:
            self.token = opentelemetry.context.attach(self.attached)
        if type(self.span) is _NativeSpan:
            (<_NativeSpan> self.span).active = <PyObject *> self.attached
        return self.span

    def __exit__(self, kind, error, trace):
        if kind is not None and error is None:
            error = kind()
        if self.token is not None:
            self.leave(error)
        return False

    cdef int leave(self, object error) except -1:
        cdef object span = self.span
        cdef object token = self.token
        cdef object base, attached
        self.token = self.span = None
        detach(token)
        token = None
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


cdef Idle _idle_scopes


cdef void retire_scope(PyObject *self) noexcept:
    if (<_SpanScope> self).token is not None:
        free_idle(&_idle_scopes, self)  # entered and forgotten
        return
    part(self)
    (<_SpanScope> self).tracer = None
    (<_SpanScope> self).name = None
    if (<_SpanScope> self).context is not None:
        (<_SpanScope> self).context = None
    if (<_SpanScope> self).kind is not _internal:
        (<_SpanScope> self).kind = None
    if (<_SpanScope> self).attributes is not None:
        (<_SpanScope> self).attributes = None
    if (<_SpanScope> self).links is not _no_arguments:
        (<_SpanScope> self).links = None
    if (<_SpanScope> self).start_time is not None:
        (<_SpanScope> self).start_time = None
    # What __enter__() puts here, if it did not get to the end.
    if (<_SpanScope> self).span is not None:
        (<_SpanScope> self).span = None
    if (<_SpanScope> self).base is not None:
        (<_SpanScope> self).base = None
    if (<_SpanScope> self).attached is not None:
        (<_SpanScope> self).attached = None
    if (<_SpanScope> self).above is not None:
        (<_SpanScope> self).above = None
    retire(&_idle_scopes, self)


recycle(&_idle_scopes, <PyTypeObject *> _SpanScope, retire_scope)


cdef inline _SpanScope fresh_scope(_NativeTracer tracer, PyObject **given):
    # Of the arguments of start_as_current_span(), in their order.
    cdef _SpanScope scope = <_SpanScope> take(&_idle_scopes)
    scope.tracer = tracer
    scope.name = <object> given[A_NAME]
    if <PyObject *> scope.context != given[A_CONTEXT]:
        scope.context = <object> given[A_CONTEXT]
    if <PyObject *> scope.kind != given[A_KIND]:
        scope.kind = <object> given[A_KIND]
    if <PyObject *> scope.attributes != given[A_ATTRIBUTES]:
        scope.attributes = <object> given[A_ATTRIBUTES]
    if <PyObject *> scope.links != given[A_LINKS]:
        scope.links = <object> given[A_LINKS]
    if <PyObject *> scope.start_time != given[A_START_TIME]:
        scope.start_time = <object> given[A_START_TIME]
    scope.records_exceptions = given[A_RECORD] == py_true
    scope.sets_status = given[A_STATUS] == py_true
    scope.ends = given[A_END] == py_true
    return scope
