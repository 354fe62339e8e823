# The links that a span is given when it starts.

cdef object _link_attributes_name = sys.intern("_attributes")


cdef int give_links(_NativeSpan span, links) except -1:
    cdef Rows rows
    cdef tuple given
    if type(links) in (list, tuple) and span.origin.max_links != 0:
        given = tuple(links)
        if are_plain_links(given):
            memset(&rows, 0, sizeof(Rows))
            try:
                if collect_links(&rows, given, span.origin):
                    span.links = rows
                    memset(&rows, 0, sizeof(Rows))
                    return 0
            finally:
                empty_rows(&rows)
    return give_links_as_objects(span, given_links(links))


cdef int give_links_as_objects(_NativeSpan span, links) except -1:
    # Of what rows can't hold: the SDK's way.
    if links:
        try:
            made = _SDKSpan._new_links(span, links)
        except Exception:
            made = _SDKSpan._new_links(span, safe_links(links))
        made._lock = RLock()
        span.links_object = made
    return 0


cdef bint are_plain_links(tuple links) except -1:
    # Looked at before the first value is made clean: that can warn, and is not to be done twice.
    cdef PyObject *link
    cdef PyObject *context
    cdef Py_ssize_t i
    cdef bint is_plain
    for i in range(tuple_length(<PyObject *> links)):
        link = tuple_item(<PyObject *> links, i)
        if link == py_none:
            continue
        if type_of(link) != _link_type:
            return False
        context = field(link, F_CONTEXT)
        is_plain = context != NULL and (context == py_none or type_of(context) == _span_context_type)
        drop(context)
        if not is_plain or not has_plain_keys(attributes_of_link(link)):
            return False
    return True


cdef object attributes_of_link(PyObject *link):
    # A dict or None; _odd for what is neither.
    cdef PyObject *pairs
    cdef PyObject *found = otlpfast_attribute(link, <PyObject *> _link_attributes_name)
    if found == NULL:
        return _odd
    attributes = <object> found
    drop(found)
    if type(attributes) is BoundedAttributes:  # a span of the SDK's has had it
        pairs = field(<PyObject *> attributes, F_DICT)
        attributes = _odd if pairs == NULL else <object> pairs
        drop(pairs)
    return attributes if attributes is None or is_exact_dict(<PyObject *> attributes) else _odd


cdef bint has_plain_keys(object attributes) noexcept:
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t at = 0
    if attributes is None:
        return True
    if attributes is _odd:
        return False
    while dict_next(<PyObject *> attributes, &at, &key, &value):
        if type_of(key) != py_str_type or text_length(key) == 0:
            return False
    return True


cdef bint collect_links(Rows *rows, tuple links, _Origin origin) except -1:
    # False where cleaning a value has changed another link.
    cdef PyObject *link
    cdef PyObject *context
    cdef Py_ssize_t i
    for i in range(tuple_length(<PyObject *> links)):
        link = tuple_item(<PyObject *> links, i)
        if link == py_none:
            continue
        context = field(link, F_CONTEXT)
        if context == NULL:
            return False
        held = <object> context
        drop(context)
        if held is not None and not collect_link(rows, held, attributes_of_link(link), origin):
            return False
    return True


cdef bint collect_link(Rows *rows, object context, object attributes, _Origin origin) except -1:
    cdef Row row
    if type_of(<PyObject *> context) != _span_context_type or attributes is _odd:
        return False
    if not is_worth_a_link(<PyObject *> context, attributes):
        return True
    memset(&row, 0, sizeof(Row))
    if attributes is not None and not collect_bounded(
        &row.attributes, attributes, origin.max_link_attributes, origin.max_length
    ):
        return False
    keep(<PyObject *> context)
    row.subject = <PyObject *> context
    if not place_row(rows, &row, origin.max_links):
        release_row(&row)
        raise MemoryError
    return True


cdef bint is_worth_a_link(PyObject *context, object attributes) except -1:
    # One with an invalid context, no attributes and no trace state says nothing.
    cdef PyObject *state = tuple_item(context, 4)
    if tuple_item(context, 5) == py_true or attributes is not None and attributes:
        return True
    return state != _default_trace_state and bool(<object> state)
