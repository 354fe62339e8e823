# W3C baggage, in the same way as trace context.

cdef object _baggage = sys.intern("baggage")
cdef object _baggage_key = _BAGGAGE_KEY

cdef enum:
    MAX_BAGGAGE_MEMBERS = 180
    MAX_BAGGAGE_MEMBER = 4096

cdef object unquoted(object header, const uint8_t *data, const uint8_t *start, const uint8_t *end):
    # What urllib's unquote_plus() gives, without spaces around it.
    cdef char found[MAX_BAGGAGE_MEMBER]
    cdef const uint8_t *at = start
    cdef uint64_t number
    cdef Py_ssize_t n = 0
    while at < end and at[0] != c"%" and at[0] != c"+":
        at += 1
    if at == end:
        return PyUnicode_Substring(header, start - data, end - data)
    at = start
    while at < end:
        if at[0] == c"%" and end - at > 2 and read_any_hex(at + 1, &number):
            found[n] = <char> number
            at += 3
        else:
            found[n] = c" " if at[0] == c"+" else <char> at[0]
            at += 1
        n += 1
    return PyUnicode_DecodeUTF8(found, n, "replace").strip()


cdef object read_baggage(object header):
    # A dict; None where anything is wrong, too long or has properties.
    cdef const uint8_t *data
    cdef const uint8_t *at
    cdef const uint8_t *end
    cdef const uint8_t *member
    cdef const uint8_t *stop
    cdef const uint8_t *key_end
    cdef const uint8_t *value
    cdef Py_ssize_t members = 0
    cdef dict pairs = {}
    if not is_ascii(<PyObject *> header) or text_length(<PyObject *> header) > MAX_HEADER:
        return None
    data = at = <const uint8_t *> ascii_data(<PyObject *> header)
    end = data + text_length(<PyObject *> header)
    while at <= end:
        member, stop = at, end_of_member(at, end)
        at = stop + 1
        if stop - member > MAX_BAGGAGE_MEMBER:
            return None
        trim(&member, &stop)
        if member == stop:
            continue
        key_end = member + length_of(member, stop, BAGGAGE_KEY)
        value = key_end
        while value < stop and is_blank(value[0]):
            value += 1
        if key_end == member or value == stop or value[0] != c"=" or members == MAX_BAGGAGE_MEMBERS:
            return None
        value += 1
        trim(&value, &stop)
        if value + length_of(value, stop, BAGGAGE_VALUE) != stop:
            return None
        members += 1
        name = unquoted(header, data, member, key_end)
        PyDict_SetItem(pairs, name, unquoted(header, data, value, stop))
    return pairs if members or at > data + 1 and data[0] == c"," else None


cdef object written_baggage(PyObject *pairs):
    # The header; None where it can't be written here.
    cdef uint8_t header[MAX_HEADER + 1]
    cdef uint8_t *out = header
    cdef uint8_t *member
    cdef uint8_t *end = header + MAX_HEADER
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t at = 0
    if dict_length(pairs) > MAX_BAGGAGE_MEMBERS:
        return None
    while dict_next(pairs, &at, &key, &value):
        if type_of(key) != py_str_type or type_of(value) != py_str_type:
            return None
        if not otlpfast_ready(key) or not otlpfast_ready(value):
            return None
        if out != header:
            out = byte_at(out, c",")
        member = out
        out = quote(key, out, end - out)
        if out == NULL or out >= end:
            return None
        out = quote(value, byte_at(out, c"="), end - out - 1)
        if out == NULL or out - member > MAX_BAGGAGE_MEMBER:
            return None
    text = blank_text(out - header)
    memcpy(<void *> ascii_data(<PyObject *> text), header, out - header)
    return text


cdef object with_baggage(object context, dict pairs):
    present = context.get(_baggage_key)
    if isinstance(present, dict):
        present = present.copy()
        present.update(pairs)
        pairs = present
    return with_value(context, _baggage_key, pairs)


cdef object extract_baggage(object carrier, object context, object getter):
    if context is None:
        context = current_context()
    try:
        header = plain_header(carrier, getter, _baggage)
        if header is None:
            return context
        pairs = None if header is _odd else read_baggage(header)
        if pairs is not None:
            return with_baggage(context, pairs) if pairs else context
    except Exception:
        pass  # as in extract_trace_context()
    return api_extract_baggage(carrier, context, getter)


cdef int inject_baggage(object carrier, object context, object setter) except -1:
    cdef PyObject *found
    if context is None:
        context = current_context()
    if is_plain_context(<PyObject *> context):
        found = PyDict_GetItemWithError(context, _baggage_key)
        if found == NULL:
            return 0
        pairs = <object> found
        if is_exact_dict(<PyObject *> pairs):
            header = written_baggage(<PyObject *> pairs) if dict_length(<PyObject *> pairs) else ""
            if header is not None:
                if text_length(<PyObject *> header):
                    set_header(carrier, setter, _baggage, header)
                return 0
    api_inject_baggage(carrier, context, setter)
    return 0
