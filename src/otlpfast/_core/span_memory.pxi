# What spans hold, for the garbage collector; and spans that wait to be used again.

# --- garbage collection

cdef traverseproc _traverse_fields


cdef int traverse_slots(Slots *slots, visitproc visit, void *arg) noexcept:
    cdef Py_ssize_t i
    cdef int outcome = 0
    for i in range(slots.count):
        if slots.at[i].kind == IN_OBJECT and outcome == 0:
            outcome = visit(slots.at[i].held.object, arg)
    return outcome


cdef int traverse_rows(Rows *rows, visitproc visit, void *arg) noexcept:
    cdef Row *row
    cdef Py_ssize_t i
    cdef int outcome = 0
    for i in range(rows.count):
        row = &rows.at[i]
        if outcome == 0:
            outcome = visit(row.subject, arg)
        if outcome == 0 and row.timestamp != NULL:
            outcome = visit(row.timestamp, arg)
        if outcome == 0:
            outcome = traverse_slots(&row.attributes, visit, arg)
    return outcome


cdef int traverse_span(PyObject *self, visitproc visit, void *arg) noexcept:
    cdef _NativeSpan span = <_NativeSpan> self
    cdef int outcome = _traverse_fields(self, visit, arg)
    if outcome == 0 and span.own != NULL:
        outcome = visit(span.own, arg)
    if outcome == 0 and span.spare.context != NULL:
        outcome = visit(span.spare.context, arg)
    if outcome == 0:
        outcome = traverse_slots(&span.slots, visit, arg)
    if outcome == 0:
        outcome = traverse_rows(&span.events, visit, arg)
    return traverse_rows(&span.links, visit, arg) if outcome == 0 else outcome


cdef _NativeSpan _probe = _NativeSpan.__new__(_NativeSpan)
_traverse_fields = open_type(
    <PyTypeObject *> _NativeSpan, <char *> &_probe.own - <char *> <PyObject *> _probe, traverse_span
)
_probe = None


# --- spans that wait to be used again

cdef Idle _idle_spans


cdef void retire_span(PyObject *self) noexcept:
    part(self)
    reset_span(self)
    retire(&_idle_spans, self)


cdef void reset_span(PyObject *self) noexcept:
    # Nobody knows it any more: what dies with a field finds it nowhere.
    close_dict(self)
    if (<_NativeSpan> self).slots.at != NULL:
        empty_slots(&(<_NativeSpan> self).slots)
    if (<_NativeSpan> self).events.at != NULL:
        empty_rows(&(<_NativeSpan> self).events)
    if (<_NativeSpan> self).links.at != NULL:
        empty_rows(&(<_NativeSpan> self).links)
    (<_NativeSpan> self).slots.dropped = 0
    (<_NativeSpan> self).events.dropped = (<_NativeSpan> self).links.dropped = 0
    (<_NativeSpan> self).origin = None
    (<_NativeSpan> self).span_name = None
    # The usual ones stay, for the next span has them too.
    if (<_NativeSpan> self).span_kind is not _internal:
        (<_NativeSpan> self).span_kind = None
    if (<_NativeSpan> self).span_status is not _unset:
        (<_NativeSpan> self).span_status = None
    if <PyObject *> (<_NativeSpan> self).trace_state != _default_trace_state:
        (<_NativeSpan> self).trace_state = None
    if (<_NativeSpan> self).own_context is not None:
        (<_NativeSpan> self).own_context = None
    if (<_NativeSpan> self).parent_context is not None:
        (<_NativeSpan> self).parent_context = None
    if (<_NativeSpan> self).begun_object is not None:
        (<_NativeSpan> self).begun_object = None
    if (<_NativeSpan> self).ended_object is not None:
        (<_NativeSpan> self).ended_object = None
    if (<_NativeSpan> self).attributes_object is not None:
        (<_NativeSpan> self).attributes_object = None
    if (<_NativeSpan> self).events_object is not None:
        (<_NativeSpan> self).events_object = None
    if (<_NativeSpan> self).links_object is not None:
        (<_NativeSpan> self).links_object = None
    if (<_NativeSpan> self).end_metrics is not None:
        (<_NativeSpan> self).end_metrics = None
    if (<_NativeSpan> self).spare.context != NULL:
        drop_spare(&(<_NativeSpan> self).spare)


recycle(&_idle_spans, <PyTypeObject *> _NativeSpan, retire_span)


cdef void drop_spare(Spare *spare) noexcept:
    cdef PyObject *context = spare.context
    spare.context = NULL
    drop(context)


cdef inline _NativeSpan fresh_span():
    # Its plain fields are the caller's to set.
    return begun_span(<_NativeSpan> take(&_idle_spans))


cdef inline _NativeSpan begun_span(_NativeSpan span):
    open_dict(span)
    span.active = NULL
    span.has_begun = span.has_ended = span.has_parent = span.is_odd = span.has_odd_context = False
    return span
