# A span as the bytes of an opentelemetry.proto.trace.v1.Span.
#
# Nothing here runs Python code or makes an object: a span is encoded straight into the open buffer, and the
# buffer's end is moved only when all of it is there. What can't be read that way answers BAIL before anything
# is kept; the caller then has plain_span() make a copy of plain values, and encodes that.

# The names of the instance attributes that are read, interned, so that a look-up compares pointers.
cdef object _attribute_names = [
    sys.intern(name)
    for name in (
        "_name _context _kind _parent _start_time _end_time _attributes _events _links _status "
        "_resource _instrumentation_scope _dict dropped _dq _timestamp _status_code _description"
    ).split()
]
cdef enum:
    F_NAME, F_CONTEXT, F_KIND, F_PARENT, F_START_TIME, F_END_TIME, F_ATTRIBUTES, F_EVENTS, F_LINKS, F_STATUS
    F_RESOURCE, F_SCOPE, F_DICT, F_DROPPED, F_DEQUE, F_TIMESTAMP, F_STATUS_CODE, F_DESCRIPTION
    SPAN_FIELDS = 10

cdef int _i
cdef PyObject *_names[18]
for _i in range(18):
    _names[_i] = <PyObject *> _attribute_names[_i]

cdef PyObject *_readable_span = <PyObject *> ReadableSpan
cdef PyObject *_live_span = <PyObject *> _Span
cdef PyObject *_own_span = <PyObject *> _NativeSpan
cdef PyObject *_bounded_attributes = <PyObject *> BoundedAttributes
cdef PyObject *_bounded_list = <PyObject *> BoundedList
cdef PyObject *_deque_type = <PyObject *> deque
cdef PyObject *_event_type = <PyObject *> Event
cdef PyObject *_link_type = <PyObject *> Link
cdef PyObject *_status_type = <PyObject *> Status
cdef PyObject *_trace_state_type = <PyObject *> TraceState
cdef object _kind_members = [
    SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER
]
cdef PyObject *_kinds[5]
for _i in range(5):
    _kinds[_i] = <PyObject *> _kind_members[_i]
cdef object _unset = ReadableSpan("", resource=Resource.get_empty())._status  # what all spans start with
cdef PyObject *_no_status = <PyObject *> _unset
cdef PyObject *_default_trace_state = <PyObject *> DEFAULT_TRACE_STATE
cdef PyObject *_status_unset = <PyObject *> StatusCode.UNSET
cdef PyObject *_status_ok = <PyObject *> StatusCode.OK
cdef PyObject *_status_error = <PyObject *> StatusCode.ERROR


cdef inline PyObject *field(PyObject *owner, int name) noexcept:
    return otlpfast_attribute(owner, _names[name])


cdef inline bint is_own_span(PyObject *span) noexcept:
    return type_of(span) == _own_span


cdef inline bint is_known_span(PyObject *span) noexcept:
    # Of a class that can be read without running Python code.
    return is_own_span(span) or type_of(span) == _readable_span or type_of(span) == _live_span


cdef int put_attributes(
    Encoding *e, uint8_t tag, uint8_t dropped_tag, PyObject *attributes, int depth
) noexcept:
    # The attributes of a span, event or link (None, dict or the SDK's BoundedAttributes), then how many were
    # dropped.
    cdef PyObject *pairs
    cdef PyObject *dropped
    cdef int outcome
    e.left_out = 0
    if attributes == NULL or attributes == py_none:
        return OK
    if is_exact_dict(attributes):
        outcome = put_pairs(e, tag, attributes, depth)
        return outcome if outcome != OK else put_dropped(e.out, dropped_tag, e.left_out)
    if type_of(attributes) != _bounded_attributes:
        return BAIL
    pairs = field(attributes, F_DICT)
    dropped = field(attributes, F_DROPPED)
    outcome = BAIL if pairs == NULL or not is_exact_dict(pairs) else put_pairs(e, tag, pairs, depth)
    if outcome == OK:
        outcome = put_count(e.out, dropped_tag, dropped, e.left_out)
    drop(pairs)
    drop(dropped)
    return outcome


cdef int put_count(Writer *w, uint8_t tag, PyObject *count, Py_ssize_t more) noexcept:
    # The sum as a uint32 field, left out where it is zero.
    cdef uint64_t number
    if count == NULL or not is_int(count) or not otlpfast_uint64(count, &number) or number > 0xFFFFFFFF:
        return BAIL
    number = min(number + <uint64_t> more, <uint64_t> 0xFFFFFFFF)
    if number:
        if not room(w, 16):
            return NO_MEMORY
        put_byte(w, tag)
        put_varint(w, number)
    return OK


cdef int put_time(Writer *w, uint8_t tag, PyObject *nanoseconds) noexcept:
    # A fixed64 field, left out where it is zero.
    cdef uint64_t number
    if nanoseconds == NULL or not is_int(nanoseconds) or not otlpfast_uint64(nanoseconds, &number):
        return BAIL
    if number:
        if not room(w, 16):
            return NO_MEMORY
        put_byte(w, tag)
        put_fixed64(w, number)
    return OK


cdef int put_name(Writer *w, uint8_t tag, PyObject *name) noexcept:
    # A string field, left out where it is empty or None.
    if name == NULL or name == py_none:
        return OK
    if not is_str(name) or not otlpfast_ready(name):
        return BAIL
    if text_length(name) == 0:
        return OK
    return OK if put_text(w, tag, name) else NO_MEMORY


cdef int put_trace_state(Writer *w, uint8_t tag, PyObject *trace_state) noexcept:
    # The W3C header form, "key=value,key=value".
    cdef PyObject *entries
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t at = 0
    cdef size_t start
    if trace_state == py_none:
        return OK
    if type_of(trace_state) != _trace_state_type:
        return BAIL
    entries = field(trace_state, F_DICT)
    if entries == NULL or not is_exact_dict(entries):
        drop(entries)
        return BAIL
    drop(entries)  # the TraceState holds it
    if dict_length(entries) == 0:
        return OK
    if not room(w, 16):
        return NO_MEMORY
    put_byte(w, tag)
    start = begin(w, 1)
    while dict_next(entries, &at, &key, &value):
        if not is_str(key) or not is_str(value):
            return BAIL
        if not put_characters(w, key) or not put_characters(w, value):
            return NO_MEMORY
        w.data[w.pos - 1] = c","
    w.pos -= 1
    return OK if end(w, start, 1) else NO_MEMORY


cdef bint put_characters(Writer *w, PyObject *text) noexcept:
    # The text's UTF-8 and an equals sign.
    if not otlpfast_ready(text) or not room(w, text_length(text) * 4 + 2):
        return False
    w.pos += otlpfast_utf8(text, w.data + w.pos)
    put_byte(w, c"=")
    return True


cdef struct Context:
    uint64_t trace_high
    uint64_t trace_low
    uint64_t span
    bint remote
    uint32_t flags
    PyObject *trace_state  # borrowed from the tuple


cdef int read_context(PyObject *context, Context *found) noexcept:
    # SpanContext is a tuple: trace_id, span_id, is_remote, trace_flags, trace_state, is_valid.
    cdef uint64_t flags
    cdef PyObject *remote
    if context == NULL or not is_tuple(context) or tuple_length(context) != 6:
        return BAIL
    if not is_int(tuple_item(context, 0)) or not is_int(tuple_item(context, 1)):
        return BAIL
    if not is_int(tuple_item(context, 3)):
        return BAIL
    if otlpfast_negative(tuple_item(context, 0)):
        return BAIL
    if not otlpfast_magnitude(tuple_item(context, 0), &found.trace_high, &found.trace_low):
        return BAIL
    if not otlpfast_uint64(tuple_item(context, 1), &found.span):
        return BAIL
    if not otlpfast_uint64(tuple_item(context, 3), &flags):
        return BAIL
    remote = tuple_item(context, 2)
    if not is_bool(remote):
        return BAIL
    found.remote = remote == py_true
    found.flags = flags & 0xFF
    found.trace_state = tuple_item(context, 4)
    return OK


cdef inline void put_ids(Writer *w, Context *context) noexcept nogil:
    put_byte(w, 0x0A)
    put_byte(w, 16)
    put_big_endian(w, context.trace_high)
    put_big_endian(w, context.trace_low)
    put_byte(w, 0x12)
    put_byte(w, 8)
    put_big_endian(w, context.span)


cdef int put_event(Encoding *e, PyObject *event) noexcept:
    cdef Writer *w = e.out
    cdef PyObject *name
    cdef PyObject *timestamp
    cdef PyObject *attributes
    cdef PyObject *outer
    cdef size_t start
    cdef int outcome
    if type_of(event) != _event_type:
        return BAIL
    if not room(w, 16):
        return NO_MEMORY
    put_byte(w, 0x5A)
    start = begin(w, 1)
    name, timestamp, attributes = field(event, F_NAME), field(event, F_TIMESTAMP), field(event, F_ATTRIBUTES)
    outcome = put_time(w, 0x09, timestamp)
    outer = enter(e, OF_EVENT, name)
    if outcome == OK:
        outcome = put_label(e, OF_EVENT, 0x12, name)
    if outcome == OK:
        outcome = put_attributes(e, 0x1A, 0x20, attributes, 1)
    e.redactor = outer
    drop(name)
    drop(timestamp)
    drop(attributes)
    if outcome == OK and not end(w, start, 1):
        return NO_MEMORY
    return outcome


cdef int put_link(Encoding *e, PyObject *link) noexcept:
    cdef Writer *w = e.out
    cdef PyObject *link_context
    cdef PyObject *attributes
    cdef PyObject *outer = enter(e, OF_LINK, NULL)
    cdef Context context
    cdef size_t start
    cdef int outcome
    if type_of(link) != _link_type:
        return BAIL
    if not room(w, 64):
        return NO_MEMORY
    put_byte(w, 0x6A)
    start = begin(w, 1)
    link_context, attributes = field(link, F_CONTEXT), field(link, F_ATTRIBUTES)
    outcome = read_context(link_context, &context)
    if outcome == OK:
        put_ids(w, &context)
        outcome = put_trace_state(w, 0x1A, context.trace_state)
    if outcome == OK:
        outcome = put_attributes(e, 0x22, 0x28, attributes, 1)
    e.redactor = outer
    drop(link_context)
    drop(attributes)
    if outcome != OK:
        return outcome
    return OK if put_link_flags(w, &context) and end(w, start, 1) else NO_MEMORY


cdef int put_items(Encoding *e, PyObject *items, bint links) noexcept:
    # Rows or links: a tuple, a list, or the SDK's BoundedList around a deque; then how many were dropped.
    cdef PyObject *holder = NULL
    cdef PyObject *dropped = NULL
    cdef PyObject *item
    cdef Py_ssize_t i, n
    cdef int outcome = OK
    if items == NULL or items == py_none:
        return OK
    if type_of(items) == _bounded_list:
        dropped = field(items, F_DROPPED)
        holder = items = field(items, F_DEQUE)
        if items == NULL or type_of(items) != _deque_type:
            outcome = BAIL
    elif not is_exact_tuple(items) and not is_exact_list(items):
        return BAIL
    n = sequence_length(items) if outcome == OK else 0
    e.items -= n
    if e.items < 0:
        outcome = BAIL
    for i in range(n):
        if outcome != OK:
            break
        item = sequence_item(items, i)
        outcome = put_link(e, item) if links else put_event(e, item)
        drop(item)
    if outcome == OK and holder != NULL:
        outcome = put_count(e.out, 0x70 if links else 0x60, dropped, 0)
    drop(holder)
    drop(dropped)
    return outcome


cdef int put_status(Encoding *e, PyObject *status) noexcept:
    cdef Writer *w = e.out
    cdef PyObject *code
    cdef PyObject *description
    cdef size_t start
    cdef int outcome = OK
    if status == NULL or status == py_none:
        return OK
    if not room(w, 16):
        return NO_MEMORY
    put_byte(w, 0x7A)
    if status == _no_status:
        put_byte(w, 0)
        return OK
    if type_of(status) != _status_type:
        return BAIL
    start = begin(w, 1)
    code, description = field(status, F_STATUS_CODE), field(status, F_DESCRIPTION)
    outcome = put_label(e, OF_STATUS, 0x12, description)
    drop(description)
    drop(code)  # compared only: the enumeration holds its members
    if outcome != OK:
        return outcome
    if not room(w, 16):
        return NO_MEMORY
    if code == _status_ok or code == _status_error:
        put_byte(w, 0x18)
        put_byte(w, 1 if code == _status_ok else 2)
    elif code != _status_unset:
        return BAIL
    return OK if end(w, start, 1) else NO_MEMORY


cdef inline int put_kind(Encoding *e, PyObject *kind) noexcept:
    cdef int i
    for i in range(5):
        if kind == _kinds[i]:
            put_byte(e.out, 0x30)
            put_byte(e.out, i + 1)
            return OK
    return OK if e.plain else BAIL  # no kind at all: SPAN_KIND_UNSPECIFIED


cdef int put_fields(Encoding *e, PyObject **fields) noexcept:
    # The body of a Span, fields in the order of their numbers.
    cdef Writer *w = e.out
    cdef Context context, parent
    cdef bint has_parent = fields[F_PARENT] != NULL and fields[F_PARENT] != py_none
    cdef int outcome
    if read_context(fields[F_CONTEXT], &context) != OK:
        return BAIL
    if has_parent and read_context(fields[F_PARENT], &parent) != OK:
        return BAIL
    put_ids(w, &context)
    outcome = put_trace_state(w, 0x1A, context.trace_state)
    if outcome != OK:
        return outcome
    if not room(w, 64):
        return NO_MEMORY
    if has_parent:
        put_byte(w, 0x22)
        put_byte(w, 8)
        put_big_endian(w, parent.span)
    outcome = put_label(e, OF_SPAN, 0x2A, fields[F_NAME])
    if outcome == OK and not room(w, 64):
        return NO_MEMORY
    if outcome == OK:
        outcome = put_kind(e, fields[F_KIND])
    if outcome == OK:
        outcome = put_time(w, 0x39, fields[F_START_TIME])
    if outcome == OK:
        outcome = put_time(w, 0x41, fields[F_END_TIME])
    if outcome == OK:
        outcome = put_attributes(e, 0x4A, 0x50, fields[F_ATTRIBUTES], 0)
    if outcome == OK:
        outcome = put_items(e, fields[F_EVENTS], False)
    if outcome == OK:
        outcome = put_items(e, fields[F_LINKS], True)
    if outcome == OK:
        outcome = put_status(e, fields[F_STATUS])
    if outcome != OK:
        return outcome
    if not room(w, 16):
        return NO_MEMORY
    put_byte(w, 0x85)
    put_byte(w, 0x01)
    put_fixed32(w, context.flags | 0x100 | (0x200 if has_parent and parent.remote else 0))
    return OK


cdef int put_stock(Encoding *e, PyObject *span) noexcept:
    # The body of the Span that one of the SDK's objects is.
    cdef PyObject *fields[SPAN_FIELDS]
    cdef int i
    cdef int outcome
    for i in range(SPAN_FIELDS):
        fields[i] = field(span, i)
    outcome = put_fields(e, fields)
    for i in range(SPAN_FIELDS):
        drop(fields[i])
    return outcome


cdef inline uint8_t *ids_at(uint8_t *p, Context *context) noexcept nogil:
    p = two_at(p, 0x0A, 16)
    p = big_endian_at(p, context.trace_high)
    p = big_endian_at(p, context.trace_low)
    p = two_at(p, 0x12, 8)
    return big_endian_at(p, context.span)


cdef int put_own(Encoding *e, _NativeSpan span) noexcept:
    # The body of the Span that one of otlpfast's own is; the caller has asked for 128 bytes.
    cdef Writer *w = e.out
    cdef uint8_t *p
    cdef PyObject *name = <PyObject *> span.span_name
    cdef uint32_t flags = span.ids.flags | 0x100
    cdef int outcome = OK
    if span.is_odd:
        return BAIL
    p = ids_at(w.data + w.pos, &span.ids)
    if span.ids.trace_state != _default_trace_state:
        w.pos = p - w.data
        outcome = put_trace_state(w, 0x1A, span.ids.trace_state)
        if outcome != OK:
            return outcome
        if not room(w, 64):
            return NO_MEMORY
        p = w.data + w.pos
    if span.has_parent:
        p = big_endian_at(two_at(p, 0x22, 8), span.parent_ids.span)
        if span.parent_ids.remote:
            flags |= 0x200
    w.pos = p - w.data
    if e.redactor == NULL and type_of(name) == py_str_type and is_short_ascii(name) and text_length(name):
        if not room(w, text_length(name) + 32):
            return NO_MEMORY
        w.pos = text_at(w.data + w.pos, 0x2A, ascii_data(name), text_length(name)) - w.data
    else:
        outcome = put_label(e, OF_SPAN, 0x2A, name)
        if outcome != OK:
            return outcome
        if not room(w, 32):
            return NO_MEMORY
    outcome = put_kind(e, <PyObject *> span.span_kind)
    if outcome != OK:
        return outcome
    p = w.data + w.pos
    if span.begun_at:
        p = fixed64_at(byte_at(p, 0x39), span.begun_at)
    if span.ended_at:
        p = fixed64_at(byte_at(p, 0x41), span.ended_at)
    w.pos = p - w.data
    outcome = put_contents(e, span)
    if outcome != OK:
        return outcome
    if not room(w, 16):
        return NO_MEMORY
    if <PyObject *> span.span_status == _no_status:
        put_fixed64(w, 0x0185007A | <uint64_t> flags << 32)  # an empty status, then the flags
        return OK
    outcome = put_status(e, <PyObject *> span.span_status)
    if outcome == OK and not room(w, 16):
        return NO_MEMORY
    put_byte(w, 0x85)
    put_byte(w, 0x01)
    put_fixed32(w, flags)
    return outcome


cdef inline void put_nanoseconds(Writer *w, uint8_t tag, int64_t nanoseconds) noexcept nogil:
    if nanoseconds:
        put_byte(w, tag)
        put_fixed64(w, nanoseconds)


cdef inline int put_contents(Encoding *e, _NativeSpan span) noexcept:
    # Attributes, events and links, each from C memory unless somebody had objects made of it.
    cdef int outcome = OK
    if span.attributes_object is not None:
        outcome = put_attributes(e, 0x4A, 0x50, <PyObject *> span.attributes_object, 0)
    elif span.slots.count or span.slots.dropped:
        outcome = put_slots(e, 0x4A, 0x50, &span.slots, 0)
    if outcome == OK:
        if span.events_object is not None:
            outcome = put_items(e, <PyObject *> span.events_object, False)
        elif span.events.count or span.events.dropped:
            outcome = put_events(e, &span.events)
    if outcome == OK:
        if span.links_object is not None:
            outcome = put_items(e, <PyObject *> span.links_object, True)
        elif span.links.count or span.links.dropped:
            outcome = put_links(e, &span.links)
    return outcome


cdef int put_events(Encoding *e, Rows *events) noexcept:
    cdef Writer *w = e.out
    cdef Row *row
    cdef PyObject *outer
    cdef Py_ssize_t i
    cdef size_t start
    cdef int outcome
    e.items -= events.count
    if e.items < 0:
        return BAIL
    for i in range(events.count):
        row = &events.at[i]
        if not room(w, 32):
            return NO_MEMORY
        put_byte(w, 0x5A)
        start = begin(w, 1)
        if row.timestamp == NULL:
            put_nanoseconds(w, 0x09, row.nanoseconds)
            outcome = OK
        else:
            outcome = put_time(w, 0x09, row.timestamp)
        outer = enter(e, OF_EVENT, row.subject)
        if outcome == OK:
            outcome = put_label(e, OF_EVENT, 0x12, row.subject)
        if outcome == OK:
            outcome = put_slots(e, 0x1A, 0x20, &row.attributes, 1)
        e.redactor = outer
        if outcome != OK:
            return outcome
        if not end(w, start, 1):
            return NO_MEMORY
    return put_dropped(w, 0x60, events.dropped)


cdef int put_dropped(Writer *w, uint8_t tag, Py_ssize_t dropped) noexcept:
    if dropped > 0xFFFFFFFF:
        return BAIL
    if dropped:
        if not room(w, 16):
            return NO_MEMORY
        put_byte(w, tag)
        put_varint(w, dropped)
    return OK


cdef int put_links(Encoding *e, Rows *links) noexcept:
    cdef Context context
    cdef PyObject *outer
    cdef Py_ssize_t i
    cdef size_t start
    cdef int outcome
    e.items -= links.count
    if e.items < 0:
        return BAIL
    outer = enter(e, OF_LINK, NULL)
    for i in range(links.count):
        if not room(e.out, 64):
            return NO_MEMORY
        put_byte(e.out, 0x6A)
        start = begin(e.out, 1)
        outcome = read_context(links.at[i].subject, &context)
        if outcome == OK:
            put_ids(e.out, &context)
            outcome = put_trace_state(e.out, 0x1A, context.trace_state)
        if outcome == OK:
            outcome = put_slots(e, 0x22, 0x28, &links.at[i].attributes, 1)
        if outcome != OK:
            return outcome
        if not put_link_flags(e.out, &context) or not end(e.out, start, 1):
            return NO_MEMORY
    e.redactor = outer
    return put_dropped(e.out, 0x70, links.dropped)


cdef bint put_link_flags(Writer *w, Context *context) noexcept:
    if not room(w, 16):
        return False
    put_byte(w, 0x35)
    put_fixed32(w, context.flags | 0x100 | (0x200 if context.remote else 0))
    return True


cdef inline bint is_small(_NativeSpan span) noexcept:
    # Whether it probably takes less than 128 bytes.
    cdef PyObject *name = <PyObject *> span.span_name
    return (
        span.slots.count == 0 and span.events.count == 0 and span.attributes_object is None
        and is_str(name) and text_length(name) < 48
    )


cdef int put_span(Writer *w, PyObject *span, bint plain, PyObject *redactor) noexcept:
    # A ScopeSpans.spans entry: tag, length, Span. On anything but OK the writer's position is where it was.
    # redactor: a Redactor, or NULL.
    cdef Encoding encoding
    cdef size_t before = w.pos
    cdef size_t start
    cdef int outcome
    cdef int width = 2
    if not is_known_span(span):
        return BAIL
    if not room(w, 128):
        w.failed = False
        return NO_MEMORY
    encoding.out, encoding.plain, encoding.items, encoding.redactor = w, plain, _max_items, redactor
    if redactor != NULL:
        encoding.verdict = (<Redactor> redactor).otherwise
    put_byte(w, 0x12)
    if is_own_span(span):
        width = 1 if is_small(<_NativeSpan> span) else 2
        start = begin(w, width)
        outcome = put_own(&encoding, <_NativeSpan> span)
    else:
        start = begin(w, width)
        outcome = put_stock(&encoding, span)
    if outcome == OK and not end(w, start, width):
        outcome = NO_MEMORY
    if outcome != OK:
        w.pos = before
        w.failed = False  # what fails is this span; the next one may fit
    return outcome


cdef int sampled(PyObject *span) noexcept:
    # 1 or 0; -1 where it takes Python code to tell.
    cdef PyObject *span_context
    cdef Context context
    cdef int outcome
    if is_own_span(span) and not (<_NativeSpan> span).has_odd_context:
        return (<_NativeSpan> span).ids.flags & 1
    if not is_known_span(span):
        return -1
    span_context = field(span, F_CONTEXT)
    if span_context == py_none:
        drop(span_context)
        return 0
    outcome = read_context(span_context, &context)
    drop(span_context)
    return -1 if outcome != OK else context.flags & 1


cdef tuple encode_entity(
    object attributes, uint8_t tag, uint8_t dropped_tag, list strings, object schema_url, Redactor redactor
):
    # A Resource or InstrumentationScope as field 1 of what holds it, and its schema URL as field 3.
    cdef Writer w = Writer(NULL, 0, 0, False)
    cdef Encoding e = Encoding(&w, True, _max_items, redactor_pointer(redactor), VERDICT_SCAN, 0)
    cdef size_t start
    cdef uint8_t string_tag = 0x0A
    cdef int outcome = OK
    dropped = min(max(int(getattr(attributes, "dropped", 0)), 0), 0xFFFFFFFF) if dropped_tag else 0
    pairs = plain_attributes(attributes)
    tail = b""
    try:
        if not room(&w, 128):
            raise MemoryError
        put_byte(&w, 0x0A)
        start = begin(&w, 1)
        for text in strings:
            if outcome == OK:
                outcome = put_name(&w, string_tag, <PyObject *> text)
            string_tag += 8
        if outcome == OK:
            outcome = put_pairs(&e, tag, <PyObject *> pairs, 1)
        if outcome == OK and dropped_tag:
            outcome = put_count(&w, dropped_tag, <PyObject *> dropped, 0)
        if outcome != OK or not end(&w, start, 1):
            raise MemoryError
        head = PyBytes_FromStringAndSize(<char *> w.data, w.pos)
        w.pos = 0
        if put_name(&w, 0x1A, <PyObject *> schema_url) != OK:
            raise MemoryError
        return head, PyBytes_FromStringAndSize(<char *> w.data, w.pos)
    finally:
        free(w.data)


def encode_resource(resource, Redactor redactor=None):
    """A Resource as the (head, tail) of a ResourceSpans: field 1, and field 3 with the schema URL.

    None is an empty one.
    """
    schema_url = plain_text(getattr(resource, "schema_url", None) or "")
    return encode_entity(getattr(resource, "attributes", None), 0x0A, 0, [], schema_url, redactor)


def encode_scope(scope, Redactor redactor=None):
    """An InstrumentationScope as the (head, tail) of a ScopeSpans: field 1, and field 3 with the schema URL.

    None is an empty one.
    """
    schema_url = plain_text(getattr(scope, "schema_url", None) or "")
    strings = [plain_text(getattr(scope, name, None) or "") for name in ("name", "version")]
    return encode_entity(getattr(scope, "attributes", None), 0x1A, 0x20, strings, schema_url, redactor)
