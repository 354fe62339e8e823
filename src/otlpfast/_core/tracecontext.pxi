# W3C trace context. What is plainly right is read and written here; all else, right or wrong, goes to
# _propagators, which asks the API's own propagator.

cdef object _traceparent = sys.intern("traceparent")
cdef object _tracestate = sys.intern("tracestate")
cdef PyTypeObject *_state_class = <PyTypeObject *> TraceState

cdef enum:
    MAX_STATE_MEMBERS = 32

cdef bint read_traceparent(PyObject *header, Context *ids) noexcept:
    # Of version 00 and without spaces around it. False for any other, right or wrong.
    cdef const uint8_t *at
    cdef uint64_t flags
    if not is_ascii(header) or text_length(header) != 55:
        return False
    at = <const uint8_t *> ascii_data(header)
    if at[0] != c"0" or at[1] != c"0" or at[2] != c"-" or at[35] != c"-" or at[52] != c"-":
        return False
    if not read_hex(at + 3, 16, &ids.trace_high) or not read_hex(at + 19, 16, &ids.trace_low):
        return False
    if not read_hex(at + 36, 16, &ids.span) or not read_hex(at + 53, 2, &flags):
        return False
    ids.flags = <uint32_t> flags
    ids.remote = True
    return ids.span != 0 and (ids.trace_high != 0 or ids.trace_low != 0)


cdef object written_traceparent(Context *ids):
    cdef object header = blank_text(55)
    cdef uint8_t *at = <uint8_t *> ascii_data(<PyObject *> header)
    memcpy(at, b"00-", 3)
    at = put_hex(put_hex(at + 3, 16, ids.trace_high), 16, ids.trace_low)
    at[0] = c"-"
    at = put_hex(at + 1, 16, ids.span)
    at[0] = c"-"
    put_hex(at + 1, 2, ids.flags)
    return header


cdef Py_ssize_t state_key_length(const uint8_t *at, const uint8_t *end) noexcept:
    # Of a tracestate member's key: "vendor" or "tenant@vendor"; 0 where it is wrong.
    cdef Py_ssize_t first, second
    first = length_of(at, end, STATE_KEY)
    if first == 0 or at[0] in (c"_", c"-", c"*", c"/"):
        return 0
    if at + first == end or at[first] != c"@":
        return first if c"a" <= at[0] <= c"z" and first <= 256 else 0
    second = length_of(at + first + 1, end, STATE_KEY)
    if first > 241 or not 0 < second <= 14 or not c"a" <= at[first + 1] <= c"z":
        return 0
    return first + 1 + second


cdef object read_trace_state(object header):
    # A TraceState; None where a member is wrong or there twice, or there is too much of them.
    cdef const uint8_t *data
    cdef const uint8_t *at
    cdef const uint8_t *end
    cdef const uint8_t *member
    cdef const uint8_t *stop
    cdef Py_ssize_t key, value, start, members = 0
    cdef dict pairs = {}
    if not is_ascii(<PyObject *> header) or text_length(<PyObject *> header) > MAX_HEADER:
        return None
    data = at = <const uint8_t *> ascii_data(<PyObject *> header)
    end = data + text_length(<PyObject *> header)
    while at <= end:
        member, stop = at, end_of_member(at, end)
        at = stop + 1
        trim(&member, &stop)
        if member == stop:
            continue
        key = state_key_length(member, stop)
        if key == 0 or member + key == stop or member[key] != c"=":
            return None
        value = length_of(member + key + 1, stop, STATE_VALUE)
        if not 0 < value <= 256 or member + key + 1 + value != stop:
            return None
        start = member - data
        name = PyUnicode_Substring(header, start, start + key)
        PyDict_SetItem(pairs, name, PyUnicode_Substring(header, start + key + 1, start + key + 1 + value))
        members += 1
        if members > MAX_STATE_MEMBERS or dict_length(<PyObject *> pairs) < members:
            return None
    return trace_state_of(pairs)


cdef object trace_state_of(dict pairs):
    cdef PyObject *made
    if not dict_length(<PyObject *> pairs):
        return <object> _default_trace_state
    made = _state_class.tp_new(_state_class, <PyObject *> _no_arguments, NULL)
    state = <object> made
    drop(made)
    state._dict = pairs
    return state


cdef object written_trace_state(PyObject *state):
    # The header; "" where there is nothing to be sent, None where it can't be written here.
    cdef PyObject *pairs
    if state == _default_trace_state:
        return ""
    if type_of(state) != _trace_state_type:
        return None
    pairs = field(state, F_DICT)
    if pairs == NULL:
        return None
    entries = <object> pairs
    drop(pairs)
    return joined_pairs(<PyObject *> entries) if is_exact_dict(<PyObject *> entries) else None


cdef object joined_pairs(PyObject *pairs):
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t at = 0, size = 0
    cdef uint8_t *out
    while dict_next(pairs, &at, &key, &value):
        if type_of(key) != py_str_type or type_of(value) != py_str_type:
            return None
        if not is_ascii(key) or not is_ascii(value):
            return None
        size += text_length(key) + text_length(value) + 2
    if not size:
        return ""
    header = blank_text(size - 1)
    out = <uint8_t *> ascii_data(<PyObject *> header)
    at = 0
    while dict_next(pairs, &at, &key, &value):
        if out != <uint8_t *> ascii_data(<PyObject *> header):
            out = byte_at(out, c",")
        memcpy(out, ascii_data(key), text_length(key))
        out = byte_at(out + text_length(key), c"=")
        memcpy(out, ascii_data(value), text_length(value))
        out += text_length(value)
    return header


cdef object extract_trace_context(object carrier, object context, object getter):
    cdef Context ids
    if context is None:
        context = empty_context()
    try:
        parent = plain_header(carrier, getter, _traceparent)
        if parent is None:
            return context
        if parent is not _odd and read_traceparent(<PyObject *> parent, &ids):
            header = plain_header(carrier, getter, _tracestate)
            if header is None:
                state = <object> _default_trace_state
            else:
                state = None if header is _odd else read_trace_state(header)
            if state is not None:
                ids.trace_state = <PyObject *> state
                return with_value(context, _span_key, non_recording_span(&ids))
    except Exception:
        pass  # who raised does it again there, where it is told
    return api_extract_trace_context(carrier, context, getter)


cdef object context_of_span(PyObject *span, Context *ids):
    # Who holds the trace state of these ids; None where they can't be read here.
    cdef PyObject *kind = type_of(span)
    cdef PyObject *span_context = NULL
    if kind == _own_span and not (<_NativeSpan> span).has_odd_context:
        ids[0] = (<_NativeSpan> span).ids
        return <object> span
    if kind == _own_non_recording:
        ids[0] = (<_NativeNonRecordingSpan> span).ids
        return <object> span
    if (kind == _api_non_recording or kind == _live_span) and remote_context(span, &span_context, ids):
        held = <object> span_context
        drop(span_context)
        return held
    return None


cdef int inject_trace_context(object carrier, object context, object setter) except -1:
    cdef Context ids
    cdef PyObject *found
    if context is None:
        context = current_context()
    if is_plain_context(<PyObject *> context):
        if not dict_length(<PyObject *> context):
            return 0
        found = PyDict_GetItemWithError(context, _span_key)
        if found == NULL:
            return 0
        holder = context_of_span(found, &ids)
        if holder is not None and ids.span and (ids.trace_high or ids.trace_low):
            state = written_trace_state(ids.trace_state)
            if state is not None:
                set_header(carrier, setter, _traceparent, written_traceparent(&ids))
                if text_length(<PyObject *> state):
                    set_header(carrier, setter, _tracestate, state)
                return 0
    api_inject_trace_context(carrier, context, setter)
    return 0
