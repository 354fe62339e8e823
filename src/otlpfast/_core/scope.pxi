# A span that is current for the length of a `with`.

ctypedef object (*vectorcall)(PyObject *, PyObject **, size_t, PyObject *)


@cython.final
@cython.no_gc_clear
cdef class _SpanScope:
    """What ``start_as_current_span()`` returns: starts a span, makes it current, ends it."""

    cdef object __weakref__
    cdef object name, context, kind, attributes, links, start_time
    cdef _NativeTracer tracer
    # While the span is current, NULL otherwise: the token to detach with, the context around and the one made
    # for it, and the span that is current around this one, if it is one of otlpfast's own.
    cdef PyObject *span
    cdef PyObject *token
    cdef PyObject *base
    cdef PyObject *attached
    cdef PyObject *above
    cdef bint records_exceptions, sets_status, ends
    cdef vectorcall call  # see bound.pxi
    cdef bint asked_to_enter, asked_to_leave

    def __cinit__(self):
        self.call = call_scope

    def __dealloc__(self):
        # Entered and forgotten: what a generator in its place would do when it dies.
        if self.token != NULL:
            self.leave(None)
        self.forget()

    def __enter__(self):
        return self.enter()

    cdef object enter(self):
        cdef Asked asked
        cdef object attached = None
        cdef PyObject *spare = NULL
        if self.token != NULL:
            raise RuntimeError("this span is current already: call start_as_current_span() for each `with`")
        base = current_context()
        if is_changed(self.tracer):  # perhaps a start_span() of somebody's own
            span = self.tracer.start_span(
                self.name, self.context, self.kind, self.attributes, self.links, self.start_time,
                self.records_exceptions, self.sets_status
            )
            return self.attach(current_context(), span, None, NULL)
        asked = Asked(
            <PyObject *> self.name, <PyObject *> self.context, <PyObject *> self.kind,
            <PyObject *> self.attributes, <PyObject *> self.links, <PyObject *> self.start_time,
            self.records_exceptions, self.sets_status, <PyObject *> base, NULL, NULL,
        )
        if self.tracer.calls_others():
            span = self.tracer.begin(&asked)
            base = current_context()  # who was called may have attached one
        else:
            asked.spare = &spare if self.context is None else NULL
            try:
                span = self.tracer.begin(&asked)
            finally:
                attached = moved(&spare)
        return self.attach(base, span, attached, NULL if self.context is not None else asked.above)

    cdef inline object attach(self, object base, object span, object attached, PyObject *above):
        # With the Context that the span is in, if it is in one.
        cdef object token
        self.forget()  # the last `with` of this one may have ended badly
        if above != NULL:
            keep(above)
            self.above = above
        if attached is None:
            attached = spare_context(<PyObject *> base, span, above)
        if _context_var is not None:
            token = PyContextVar_Set(_context_var, attached)
        else:
            token = opentelemetry.context.attach(attached)
        keep(<PyObject *> base)
        keep(<PyObject *> attached)
        keep(<PyObject *> span)
        keep(<PyObject *> token)
        self.base, self.attached = <PyObject *> base, <PyObject *> attached
        self.span, self.token = <PyObject *> span, <PyObject *> token
        if type(span) is _NativeSpan:
            (<_NativeSpan> span).active = <PyObject *> attached
        return span

    def __exit__(self, kind, error, trace):
        return self.exit(kind, error)

    cdef inline object exit(self, object kind, object error):
        if kind is not None and error is None:
            error = kind()
        if self.token != NULL:
            self.leave(error)
        return False

    cdef int leave(self, object error) except -1:
        # Whoever comes here meanwhile finds the scope left.
        cdef object token = moved(&self.token)
        cdef object span = moved(&self.span)
        cdef object base = moved(&self.base)
        cdef object attached = moved(&self.attached)
        cdef object above = moved(&self.above)
        detach(token)
        token = None
        if type(span) is _NativeSpan:
            (<_NativeSpan> span).active = NULL
            if (<_NativeSpan> span).spare.context != NULL:
                drop_spare(&(<_NativeSpan> span).spare)
        if error is not None and isinstance(error, Exception):
            note_error(span, error, self.records_exceptions, self.sets_status, False)
        if self.ends:
            if type(span) is _NativeSpan:
                (<_NativeSpan> span).end_as_seen()
            elif type(span) is not _NativeNonRecordingSpan:
                span.end()
        return give_back_context(
            <PyObject *> base, attached, span, NULL if above is None else <PyObject *> above
        )

    cdef inline void forget(self) noexcept:
        if self.above != NULL or self.span != NULL:
            self.forget_all()

    cdef void forget_all(self) noexcept:
        cdef PyObject *span = self.span
        cdef PyObject *base = self.base
        cdef PyObject *attached = self.attached
        cdef PyObject *above = self.above
        self.span = self.base = self.attached = self.above = NULL
        drop(span)
        drop(base)
        drop(attached)
        drop(above)

    def _recreate_cm(self):
        return self.tracer.start_as_current_span(
            self.name, self.context, self.kind, self.attributes, self.links, self.start_time,
            self.records_exceptions, self.sets_status, self.ends
        )

    def __call__(self, func):
        """Decorates a function or coroutine function: each call has a span of its own."""
        return decorated(self._recreate_cm, func)


cdef traverseproc _traverse_scope


cdef int traverse_scope(PyObject *self, visitproc visit, void *arg) noexcept:
    cdef _SpanScope scope = <_SpanScope> self
    cdef int outcome = _traverse_scope(self, visit, arg)
    if outcome == 0 and scope.token != NULL:
        outcome = visit(scope.token, arg)
    if outcome == 0 and scope.span != NULL:
        outcome = visit(scope.span, arg) or visit(scope.base, arg) or visit(scope.attached, arg)
    if outcome == 0 and scope.above != NULL:
        outcome = visit(scope.above, arg)
    return outcome

_traverse_scope = traverse_by(<PyTypeObject *> _SpanScope, traverse_scope)

cdef Idle _idle_scopes


cdef void retire_scope(PyObject *self) noexcept:
    if (<_SpanScope> self).token != NULL or (
        (<_SpanScope> self).span != NULL or (<_SpanScope> self).above != NULL
    ):
        free_idle(&_idle_scopes, self)  # entered and forgotten
        return
    part(self)
    (<_SpanScope> self).tracer = None
    (<_SpanScope> self).name = None
    # The usual ones stay, for the next scope has them too.
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
    (<_SpanScope> self).asked_to_enter = (<_SpanScope> self).asked_to_leave = False
    retire(&_idle_scopes, self)


recycle(&_idle_scopes, <PyTypeObject *> _SpanScope, retire_scope)


cdef inline _SpanScope fresh_scope(_NativeTracer tracer, PyObject *name):
    # As of start_as_current_span() with nothing but a name.
    cdef _SpanScope scope = <_SpanScope> take(&_idle_scopes)
    scope.tracer = tracer
    scope.name = <object> name
    if scope.kind is not _internal:
        scope.kind = _internal
    if scope.links is not _no_arguments:
        scope.links = _no_arguments
    scope.records_exceptions = scope.sets_status = scope.ends = True
    return scope


cdef object given_scope(_NativeTracer tracer, PyObject **given):
    # Of the arguments of start_as_current_span(), in their order.
    cdef _SpanScope scope = fresh_scope(tracer, given[A_NAME])
    scope.context, scope.kind = <object> given[A_CONTEXT], <object> given[A_KIND]
    scope.attributes, scope.links = <object> given[A_ATTRIBUTES], <object> given[A_LINKS]
    scope.start_time = <object> given[A_START_TIME]
    scope.records_exceptions = given[A_RECORD] == py_true
    scope.sets_status = given[A_STATUS] == py_true
    scope.ends = given[A_END] == py_true
    return scope
