# The encoder's side of redaction: what becomes of an attribute by its key, and of a text just written.
#
# As the rest of the encoder it runs no Python code. A text is written as ever, and then cleaned where it
# stands; only where that has changed it are the lengths in front of it written anew.


cdef enum:  # beside the encoder's outcomes
    NO_TEXT = -5
    LEFT_OUT = -6

cdef enum:  # parts of a span, which the rules may leave alone
    OF_SPAN, OF_EVENT, OF_LINK, OF_STATUS


cdef inline bint covers(PyObject *redactor, int part, PyObject *name) noexcept:
    # Whether the rules are for that part; name: of an event.
    if part == OF_EVENT:
        return (<Redactor> redactor).exceptions if is_exception(name) else (<Redactor> redactor).events
    if part == OF_LINK:
        return (<Redactor> redactor).links
    return (<Redactor> redactor).statuses if part == OF_STATUS else (<Redactor> redactor).span_names


cdef inline bint is_exception(PyObject *name) noexcept:
    # Whether an event of that name is one; specification: trace/exceptions.md.
    return name != NULL and is_str(name) and is_ascii(name) and text_length(name) == 9 and (
        memcmp(text_data(name), b"exception", 9) == 0
    )


cdef inline PyObject *enter(Encoding *e, int part, PyObject *name) noexcept:
    # Has that part redacted, or not; what is to be put back after it.
    cdef PyObject *outer = e.redactor
    if outer != NULL and not covers(outer, part, name):
        e.redactor = NULL
    return outer


cdef inline PyObject *redactor_pointer(Redactor redactor) noexcept:
    # As an Encoding has it; somebody has to hold it meanwhile.
    return NULL if redactor is None else <PyObject *> redactor


cdef int put_redacted_slots(Encoding *e, uint8_t tag, Slots *slots, int depth) noexcept:
    cdef Py_ssize_t i, left_out = 0
    cdef int outcome
    for i in range(slots.count):
        outcome = put_redacted_slot(e, tag, &slots.at[i], depth)
        if outcome == LEFT_OUT:
            left_out += 1
        elif outcome != OK:
            return outcome
    e.left_out = left_out  # now: what is nested has counted, too
    return OK


cdef int put_redacted_pairs(Encoding *e, uint8_t tag, PyObject *pairs, int depth) noexcept:
    cdef Py_ssize_t at = 0, left_out = 0
    cdef PyObject *value
    cdef Slot slot
    cdef int outcome
    while dict_next(pairs, &at, &slot.key, &value):
        borrow(&slot, value)
        if type_of(slot.key) != py_str_type:  # looking for another may run Python code
            return BAIL
        outcome = put_redacted_slot(e, tag, &slot, depth)
        if outcome == LEFT_OUT:
            left_out += 1
        elif outcome != OK:
            return outcome
    e.left_out = left_out
    return OK


cdef inline bint holds_text(Slot *slot) noexcept:
    # Whether there may be a text in the value.
    return slot.kind == IN_OBJECT and type_of(slot.held.object) != py_bool_type


cdef int put_redacted_slot(Encoding *e, uint8_t tag, Slot *slot, int depth) noexcept:
    cdef Writer *w = e.out
    cdef size_t before = w.pos
    cdef size_t start
    cdef int outcome
    cdef int verdict = (<Redactor> e.redactor).verdict(slot.key)
    if verdict == VERDICT_OTHER:
        verdict = e.verdict
    if verdict == VERDICT_DROP:
        return LEFT_OUT
    if verdict <= VERDICT_SCAN and put_short_slot(w, tag, slot):
        if verdict == VERDICT_KEEP or not holds_text(slot):
            return OK
        outcome = (<Redactor> e.redactor).redact(w, w.pos - text_length(slot.held.object))
        if outcome != CHANGED:
            return outcome
        w.pos = before  # once more, for the lengths
    if not room(w, 16):
        return NO_MEMORY
    put_byte(w, tag)
    start = begin(w, 1)
    if not put_text(w, 0x0A, slot.key) or not room(w, 32):
        return NO_MEMORY
    put_byte(w, 0x12)
    if verdict == VERDICT_MASK:
        outcome = put_mask(e)
    elif verdict == VERDICT_HASH:
        outcome = put_hash(e, slot, depth)
    elif slot.kind == IN_OBJECT:
        outcome = put_judged(e, slot.held.object, depth, verdict)
    else:
        w.pos = number_at(w.data + w.pos, slot) - w.data
        outcome = OK
    if outcome != OK:
        return outcome
    return OK if end(w, start, 1) else NO_MEMORY


cdef int put_judged(Encoding *e, PyObject *value, int depth, int verdict) noexcept:
    cdef int outer = e.verdict
    cdef int outcome
    e.verdict = verdict
    outcome = put_any(e, value, depth) if verdict == VERDICT_KEEP else put_searched(e, value, depth)
    e.verdict = outer
    return outcome


cdef int put_searched(Encoding *e, PyObject *value, int depth) noexcept:
    # As put_any(), of a value whose texts are searched.
    if is_str(value):
        return put_scanned(e, value)
    if is_bytes(value):
        return put_scanned_bytes(e, value)
    if is_exact_tuple(value) or is_exact_list(value):
        return put_each(e, value, depth, False)
    return put_any(e, value, depth)


cdef int put_scanned(Encoding *e, PyObject *text) noexcept:
    # A text as an AnyValue with its length.
    cdef Writer *w = e.out
    cdef size_t start
    cdef int outcome
    if not room(w, 16):
        return NO_MEMORY
    start = begin(w, 1)
    if not put_text(w, 0x0A, text):
        return NO_MEMORY
    outcome = clean_field(e, start)
    if outcome != OK:
        return outcome
    return OK if end(w, start, 1) else NO_MEMORY


cdef inline int put_label(Encoding *e, int part, uint8_t tag, PyObject *text) noexcept:
    # As put_name(), of a text that has no key.
    return put_name(e.out, tag, text) if e.redactor == NULL else put_redacted_label(e, part, tag, text)


cdef int put_redacted_label(Encoding *e, int part, uint8_t tag, PyObject *text) noexcept:
    cdef size_t before = e.out.pos
    cdef int outcome = put_name(e.out, tag, text)
    if outcome != OK or e.out.pos == before or not covers(e.redactor, part, text):
        return outcome
    outcome = clean_field(e, before)
    if e.out.pos == before + 2:  # nothing is left
        e.out.pos = before
    return outcome


cdef int clean_field(Encoding *e, size_t at) noexcept:
    # Of the string field that was written last, whose tag, one byte, is there: the text, and then its length.
    cdef Writer *w = e.out
    cdef size_t length = w.pos - at - 1
    cdef int width = 1
    cdef int outcome
    while varint_size(length - width) != width:
        width += 1
    outcome = (<Redactor> e.redactor).redact(w, at + 1 + width)
    if outcome != CHANGED:
        return outcome
    return OK if end(w, at + 1 + width, width) else NO_MEMORY


cdef int put_scanned_bytes(Encoding *e, PyObject *value) noexcept:
    # As put_scanned(), where they are a text; any others as they are.
    cdef Writer *w = e.out
    cdef Py_ssize_t n = bytes_length(value)
    cdef size_t start
    cdef int outcome = OK
    if not room(w, n + 24):
        return NO_MEMORY
    start = begin(w, 1)
    put_byte(w, 0x3A)
    put_varint(w, n)
    put_bytes(w, bytes_data(value), n)
    if otlpfast_is_utf8(<const uint8_t *> bytes_data(value), n):
        outcome = clean_field(e, start)
    if outcome != OK:
        return outcome
    return OK if end(w, start, 1) else NO_MEMORY


cdef int put_mask(Encoding *e) noexcept:
    cdef Writer *w = e.out
    cdef size_t any_start, start
    if not room(w, 16):
        return NO_MEMORY
    any_start = begin(w, 1)
    put_byte(w, 0x0A)
    start = begin(w, 1)
    if not (<Redactor> e.redactor).put_mask(w):
        return NO_MEMORY
    return OK if end(w, start, 1) and end(w, any_start, 1) else NO_MEMORY


cdef int put_hash(Encoding *e, Slot *slot, int depth) noexcept:
    # The value's text as its hash: of a sequence each item's. What has no text is masked.
    cdef Writer *w = e.out
    cdef size_t any_start, start
    cdef int outcome
    if slot.kind == IN_OBJECT and (
        is_exact_tuple(slot.held.object) or is_exact_list(slot.held.object)
    ):
        return put_each(e, slot.held.object, depth, True)
    if not room(w, 16):
        return NO_MEMORY
    any_start = begin(w, 1)
    put_byte(w, 0x0A)
    start = begin(w, 1)
    outcome = put_slot_text(w, slot)
    if outcome == NO_TEXT and not e.plain and not has_no_text(slot.held.object):
        return BAIL  # _plain knows what it is
    if outcome == OK:
        outcome = (<Redactor> e.redactor).put_hash(w, start)
    elif outcome == NO_TEXT:
        outcome = OK if (<Redactor> e.redactor).put_mask(w) else NO_MEMORY
    if outcome != OK:
        return outcome
    return OK if end(w, start, 1) and end(w, any_start, 1) else NO_MEMORY


cdef inline bint has_no_text(PyObject *value) noexcept:
    return value == py_none or is_exact_dict(value)


cdef int put_each(Encoding *e, PyObject *value, int depth, bint hashed) noexcept:
    # As put_list(), of items that are hashed, or searched.
    cdef Writer *w = e.out
    cdef bint is_list = is_exact_list(value)
    cdef Py_ssize_t i, n = list_length(value) if is_list else tuple_length(value)
    cdef PyObject *found
    cdef Slot item
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
        found = list_item(value, i) if is_list else tuple_item(value, i)
        if hashed:
            borrow(&item, found)
            outcome = put_hash(e, &item, depth + 2)
        else:
            outcome = put_searched(e, found, depth + 2)
        if outcome != OK:
            return outcome
    return OK if end(w, start, 1) and end(w, any_start, 1) else NO_MEMORY


cdef inline void borrow(Slot *slot, PyObject *value) noexcept:
    # As hold(), without a reference.
    slot.kind = IN_OBJECT
    if is_int(value) and not is_bool(value) and otlpfast_int64(value, &slot.held.number):
        slot.kind = IN_INT
    elif is_float(value):
        slot.held.real = float_value(value)
        slot.kind = IN_FLOAT
    else:
        slot.held.object = value


cdef int put_slot_text(Writer *w, Slot *slot) noexcept:
    # Texts and bytes as they are, numbers as Python writes them; no length.
    cdef PyObject *value = slot.held.object
    cdef char *digits
    if slot.kind == IN_INT:
        if not room(w, 24):
            return NO_MEMORY
        w.pos += snprintf(<char *> w.data + w.pos, 24, b"%lld", <long long> slot.held.number)
    elif slot.kind == IN_FLOAT:
        digits = PyOS_double_to_string(slot.held.real, c"r", 0, Py_DTSF_ADD_DOT_0, NULL)
        if digits == NULL or not room(w, strlen(digits)):
            PyErr_Clear()
            PyMem_Free(digits)
            return NO_MEMORY
        put_bytes(w, digits, strlen(digits))
        PyMem_Free(digits)
    elif is_str(value):
        if not otlpfast_ready(value) or not room(w, text_length(value) * 4):
            return NO_MEMORY
        w.pos += otlpfast_utf8(value, w.data + w.pos)
    elif is_bytes(value):
        if not room(w, bytes_length(value)):
            return NO_MEMORY
        put_bytes(w, bytes_data(value), bytes_length(value))
    elif is_bool(value):
        if not room(w, 8):
            return NO_MEMORY
        put_bytes(w, b"true" if value == py_true else b"false", 4 if value == py_true else 5)
    else:
        return BAIL if is_int(value) else NO_TEXT
    return OK
