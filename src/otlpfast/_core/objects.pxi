# The SDK's objects for what a span keeps in C memory, made where somebody asks for them.

cdef object context_object(Context *ids, object trace_state):
    # The SpanContext of these ids.
    cdef object trace_id = otlpfast_int128(ids.trace_high, ids.trace_low)
    cdef object span_id = ids.span
    cdef object flags = _trace_flags[ids.flags] if ids.flags < 4 else TraceFlags(ids.flags)
    return SpanContext(trace_id, span_id, bool(ids.remote), flags, trace_state)

_trace_flags = [TraceFlags(number) for number in range(4)]


cdef object empty_attributes(Py_ssize_t most, Py_ssize_t longest, bint immutable):
    made = BoundedAttributes(
        None if most < 0 else most, None, immutable, None if longest < 0 else longest
    )
    made._lock = RLock()  # a signal handler or finaliser may come here while its thread holds it
    return made


cdef object filled_attributes(attributes, _Origin origin):
    # A span's first attributes, where slots can't hold them.
    cdef object longest = origin.limits.max_span_attribute_length
    try:
        made = BoundedAttributes(origin.limits.max_span_attributes, attributes, False, longest)
    except Exception:
        made = BoundedAttributes(origin.limits.max_span_attributes, safe_mapping(attributes), False, longest)
    made._lock = RLock()
    return made


cdef object empty_list(most):
    made = BoundedList(most)
    made._lock = RLock()
    return made


cdef tuple empty_event(_Origin origin):
    attributes = empty_attributes(origin.max_event_attributes, origin.max_length, True)
    return Event("", attributes, 0), attributes, attributes._dict


cdef tuple empty_link(_Origin origin):
    attributes = empty_attributes(origin.max_link_attributes, origin.max_length, True)
    return Link(INVALID_SPAN_CONTEXT, attributes), attributes, attributes._dict


cdef object fill_shell(Row *row, tuple shell, bint is_link):
    # What the row holds, into an empty event or link; runs no Python code.
    item, attributes, pairs = shell
    if is_link:
        item._context = <object> row.subject
    else:
        item._name = <object> row.subject
        item._timestamp = row.nanoseconds if row.timestamp == NULL else <object> row.timestamp
    fill_dict(pairs, &row.attributes)
    attributes.dropped = row.attributes.dropped
    return item


cdef int fill_shells(Rows *rows, list shells, append, bint is_link) except -1:
    cdef Py_ssize_t i
    for i in range(rows.count):
        append(fill_shell(&rows.at[i], shells[i], is_link))
    return 0


cdef object event_object(Row *row, _Origin origin):
    # Of a row that is nobody else's, as in link_object().
    return fill_shell(row, empty_event(origin), False)


cdef object link_object(Row *row, _Origin origin):
    return fill_shell(row, empty_link(origin), True)


cdef object freeze(attributes):
    try:
        attributes._immutable = True
    except Exception:
        pass  # somebody put something else there
