# A span that is current for the length of a `with`.

@cython.final
@cython.no_gc_clear
@cython.freelist(64)
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
