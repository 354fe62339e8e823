# Attribute values as opentelemetry.proto.common.v1.AnyValue, and dicts of them as KeyValue.
#
# Nothing here runs Python code or makes an object. What cannot be read that way answers BAIL; the caller then
# comes back with a copy that _plain made.

cdef enum:
    OK = 0
    BAIL = -1
    NO_MEMORY = -2
    MAX_VALUE_DEPTH = 94  # _plain.MAX_DEPTH

cdef struct Encoding:
    Writer *out
    bint plain  # what is encoded comes from _plain: views are numeric and alive
    Py_ssize_t items  # how many more entries may come
    PyObject *redactor  # a Redactor, or NULL
    int verdict  # its, on the value that is being encoded; in between, on keys that no rule names
    Py_ssize_t left_out  # attributes, of the last that were encoded

cdef Py_ssize_t _max_items = MAX_ITEMS


cdef bint put_text(Writer *w, uint64_t tag, PyObject *text) noexcept:
    # A string field; one pass over the characters. False where there is no memory.
    cdef Py_ssize_t n
    cdef size_t start, written
    cdef int width
    if not otlpfast_ready(text):
        return False
    n = text_length(text)
    if is_ascii(text):
        if not room(w, n + 16):
            return False
        put_varint(w, tag)
        put_varint(w, n)
        put_bytes(w, text_data(text), n)
        return True
    if not room(w, n * otlpfast_widest(text) + 16):
        return False
    put_varint(w, tag)
    width = varint_size(n * otlpfast_widest(text))
    start = begin(w, width)
    written = otlpfast_utf8(text, w.data + w.pos)
    w.pos += written
    # A guess that was too wide leaves a gap, which the text moves back over.
    if varint_size(written) != width:
        memmove(w.data + start - width + varint_size(written), w.data + start, written)
    w.pos = start - width
    put_varint(w, written)
    w.pos += written
    return True


cdef int put_list(Encoding *e, PyObject *value, int depth) noexcept:
    cdef Writer *w = e.out
    cdef bint is_list = is_exact_list(value)
    cdef Py_ssize_t i, n = list_length(value) if is_list else tuple_length(value)
    cdef size_t any_start, start
    cdef int outcome
    e.items -= n
    if depth + 2 > MAX_VALUE_DEPTH or e.items < 0:
        return BAIL
    if not room(w, 16):
        return NO_MEMORY
    any_start = begin(w, 1)
    put_byte(w, 0x2A)
    start = begin(w, 1)
    for i in range(n):
        if not room(w, 16):
            return NO_MEMORY
        put_byte(w, 0x0A)
        outcome = put_any(e, list_item(value, i) if is_list else tuple_item(value, i), depth + 2)
        if outcome != OK:
            return outcome
    return OK if end(w, start, 1) and end(w, any_start, 1) else NO_MEMORY


cdef int put_dict(Encoding *e, PyObject *value, int depth) noexcept:
    cdef Writer *w = e.out
    cdef size_t any_start, start
    cdef int outcome
    if depth + 3 > MAX_VALUE_DEPTH:
        return BAIL
    if not room(w, 16):
        return NO_MEMORY
    any_start = begin(w, 1)
    put_byte(w, 0x32)
    start = begin(w, 1)
    outcome = put_pairs(e, 0x0A, value, depth + 3)
    if outcome != OK:
        return outcome
    return OK if end(w, start, 1) and end(w, any_start, 1) else NO_MEMORY


cdef inline bint put_number(Writer *w, const char *at, char code, Py_ssize_t size) noexcept nogil:
    # One element of a numeric buffer as an AnyValue with its length; unsigned beyond int64 becomes text, as
    # any such int.
    cdef int64_t number = 0
    cdef uint16_t two
    cdef uint32_t four
    cdef float single
    cdef double value
    cdef char digits[24]
    cdef int n = 0
    cdef uint64_t rest
    if not room(w, 32):
        return False
    if code == c"?":
        put_byte(w, 2)
        put_byte(w, 0x10)
        put_byte(w, at[0] != 0)
        return True
    if code == c"f" or code == c"d" or code == c"e":
        if code == c"f":
            memcpy(&single, at, 4)
            value = single
        elif code == c"d":
            memcpy(&value, at, 8)
        else:
            value = otlpfast_half(at)
        put_byte(w, 9)
        put_byte(w, 0x21)
        put_double(w, value)
        return True
    if size == 1:
        number = (<const uint8_t *> at)[0]
        if code == c"b":
            number = <int8_t> number
    elif size == 2:
        memcpy(&two, at, 2)
        number = two
        if code == c"h":
            number = <int16_t> number
    elif size == 4:
        memcpy(&four, at, 4)
        number = four
        if code == c"i" or code == c"l" or code == c"n":
            number = <int32_t> number
    else:
        memcpy(&number, at, 8)
        if number < 0 and (code == c"Q" or code == c"L" or code == c"N"):
            rest = <uint64_t> number
            while rest:
                digits[n] = <char> (c"0" + rest % 10)
                rest //= 10
                n += 1
            put_byte(w, n + 2)
            put_byte(w, 0x0A)
            put_byte(w, n)
            while n:
                n -= 1
                put_byte(w, digits[n])
            return True
    put_byte(w, 1 + varint_size(<uint64_t> number))
    put_byte(w, 0x18)
    put_varint(w, <uint64_t> number)
    return True


cdef int put_view(Encoding *e, PyObject *value) noexcept:
    # A one-dimensional view of numbers, checked by _plain, straight from its memory.
    cdef Writer *w = e.out
    cdef Py_buffer *view = memoryview_buffer(value)
    cdef const char *code = view.format
    cdef const char *at = <const char *> view.buf
    cdef Py_ssize_t i, n = view.shape[0]
    cdef Py_ssize_t stride = view.strides[0] if view.strides != NULL else view.itemsize
    cdef size_t any_start, start
    if code[0] in (c"@", c"=", c"<", c">"):
        code += 1
    if not room(w, 16 + n * 4):
        return NO_MEMORY
    any_start = begin(w, 1)
    put_byte(w, 0x2A)
    start = begin(w, 1)
    for i in range(n):
        if not room(w, 1):
            return NO_MEMORY
        put_byte(w, 0x0A)
        if not put_number(w, at + i * stride, code[0], view.itemsize):
            return NO_MEMORY
    return OK if end(w, start, 1) and end(w, any_start, 1) else NO_MEMORY


cdef int put_any(Encoding *e, PyObject *value, int depth) noexcept:
    # An AnyValue with its length in front; the caller has written the field's tag.
    cdef Writer *w = e.out
    cdef int64_t number
    cdef Py_ssize_t n
    cdef size_t start
    if is_str(value):
        if not otlpfast_ready(value):
            return NO_MEMORY
        if is_ascii(value):
            n = text_length(value)
            if not room(w, n + 24):
                return NO_MEMORY
            put_varint(w, n + 1 + varint_size(n))
            put_byte(w, 0x0A)
            put_varint(w, n)
            put_bytes(w, text_data(value), n)
            return OK
        if not room(w, 16):
            return NO_MEMORY
        start = begin(w, 1)
        return OK if put_text(w, 0x0A, value) and end(w, start, 1) else NO_MEMORY
    if not room(w, 16):
        return NO_MEMORY
    if is_bool(value):
        put_byte(w, 2)
        put_byte(w, 0x10)
        put_byte(w, value == py_true)
    elif is_int(value):
        if not otlpfast_int64(value, &number):
            return BAIL
        put_byte(w, 1 + varint_size(<uint64_t> number))
        put_byte(w, 0x18)
        put_varint(w, <uint64_t> number)
    elif is_float(value):
        put_byte(w, 9)
        put_byte(w, 0x21)
        put_double(w, float_value(value))
    elif value == py_none:
        put_byte(w, 0)
    elif is_bytes(value):
        n = bytes_length(value)
        if not room(w, n + 24):
            return NO_MEMORY
        put_varint(w, n + 1 + varint_size(n))
        put_byte(w, 0x3A)
        put_varint(w, n)
        put_bytes(w, bytes_data(value), n)
    elif is_exact_tuple(value) or is_exact_list(value):
        return put_list(e, value, depth)
    elif is_exact_dict(value):
        return put_dict(e, value, depth)
    elif e.plain and is_exact_memoryview(value):
        return put_view(e, value)
    else:
        return BAIL
    return OK


cdef int put_pairs(Encoding *e, uint8_t tag, PyObject *pairs, int depth) noexcept:
    # Every item of a dict as a KeyValue under the one-byte tag.
    cdef Writer *w = e.out
    cdef Py_ssize_t at = 0
    cdef PyObject *key
    cdef PyObject *value
    cdef size_t start
    cdef int outcome
    e.items -= dict_length(pairs)
    if e.items < 0:
        return BAIL
    if e.redactor != NULL:
        return put_redacted_pairs(e, tag, pairs, depth)
    while dict_next(pairs, &at, &key, &value):
        if not is_str(key):
            return BAIL
        if not room(w, 16):
            return NO_MEMORY
        put_byte(w, tag)
        start = begin(w, 1)
        if not put_text(w, 0x0A, key) or not room(w, 16):
            return NO_MEMORY
        put_byte(w, 0x12)
        outcome = put_any(e, value, depth)
        if outcome != OK:
            return outcome
        if not end(w, start, 1):
            return NO_MEMORY
    return OK
