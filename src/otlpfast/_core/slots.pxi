# Attributes of a span or event that lives: C slots in pooled memory, numbers unboxed.
#
# A change is complete before a reference is dropped: what a finaliser runs finds the slots whole.

cdef enum:
    IN_OBJECT, IN_INT, IN_FLOAT

cdef union Held:
    PyObject *object
    int64_t number
    double real

cdef struct Slot:
    PyObject *key
    Held held
    int kind
    uint32_t mark  # of the key's hash: most others are told apart without a look at them

cdef struct Slots:
    Slot *at
    Py_ssize_t count
    Py_ssize_t capacity
    Py_ssize_t dropped
    uint64_t seen[2]  # a bit for the hash of each key that is or was there


@cython.final
@cython.no_gc
cdef class _CellPool(_Pool):
    # Memory for slots or events: nothing but blocks of cells.
    def __cinit__(self, initial_capacity, max_size, size_t unit):
        self.setup(initial_capacity, max_size, unit)

cdef _CellPool _slot_pool = _CellPool(8, 1024, sizeof(Slot))


cdef inline void hold(Slot *slot, PyObject *value) noexcept:
    cdef PyObject *kind = type_of(value)
    if kind == py_int_type and otlpfast_int64(value, &slot.held.number):
        slot.kind = IN_INT
    elif kind == py_float_type:
        slot.held.real = float_value(value)
        slot.kind = IN_FLOAT
    else:
        keep(value)
        slot.held.object = value
        slot.kind = IN_OBJECT


cdef inline void let_go(Slot slot) noexcept:
    if slot.kind == IN_OBJECT:
        drop(slot.held.object)
    drop(slot.key)


cdef object boxed(Slot *slot):
    if slot.kind == IN_INT:
        return slot.held.number
    if slot.kind == IN_FLOAT:
        return slot.held.real
    return <object> slot.held.object


cdef bint grow_slots(Slots *slots) noexcept:
    cdef Block block
    cdef Slot *grown
    if slots.at == NULL:
        block = _slot_pool.take()
        slots.at = <Slot *> block.data
        slots.capacity = block.capacity if block.data != NULL else 0
        return block.data != NULL
    grown = <Slot *> realloc(slots.at, 2 * slots.capacity * sizeof(Slot))
    if grown == NULL:
        return False
    slots.at = grown
    slots.capacity *= 2
    return True


cdef inline uint32_t mark_of(PyObject *key) noexcept:
    # Of an exact str. No two keys with different marks are alike.
    cdef Py_hash_t found = text_hash(key)
    return <uint32_t> (found if found != -1 else PyObject_Hash(key))


cdef inline uint64_t *seen_of(Slots *slots, uint32_t mark) noexcept:
    # The word that has the bit of that mark.
    return &slots.seen[mark >> 6 & 1]


cdef inline uint64_t bit_of(uint32_t mark) noexcept:
    return <uint64_t> 1 << (mark & 63)


cdef Py_ssize_t find_slot(Slots *slots, PyObject *key, uint32_t mark) noexcept:
    cdef Py_ssize_t i
    for i in range(slots.count):
        if slots.at[i].mark == mark and (
            slots.at[i].key == key or otlpfast_same_text(slots.at[i].key, key)
        ):
            return i
    return -1


cdef enum:  # what becomes of an attribute that is set
    NO_ROOM = -1
    SET = 0
    EVICTED = 1


cdef int set_slot(Slots *slots, PyObject *key, PyObject *value, Py_ssize_t most) noexcept:
    # An exact str and a clean value.
    cdef Slot fresh
    keep(key)
    fresh.key, fresh.mark = key, mark_of(key)
    hold(&fresh, value)
    return place_slot(slots, fresh, most)


cdef int place_slot(Slots *slots, Slot fresh, Py_ssize_t most) noexcept:
    # Takes over what `fresh` holds. A key that is there moves to the end, as in the SDK. Negative: no limit.
    cdef Slot old
    cdef uint64_t bit = bit_of(fresh.mark)
    cdef uint64_t *seen = seen_of(slots, fresh.mark)
    cdef Py_ssize_t i = find_slot(slots, fresh.key, fresh.mark) if seen[0] & bit else -1
    cdef bint evicts = i < 0 and most >= 0 and slots.count >= most
    if evicts:
        i = 0
    elif i < 0 and slots.count == slots.capacity and not grow_slots(slots):
        let_go(fresh)
        return NO_ROOM
    old.key = NULL
    old.kind = IN_INT
    if i >= 0:
        old = slots.at[i]
        slots.count -= 1
        if i < slots.count:
            memmove(&slots.at[i], &slots.at[i + 1], (slots.count - i) * sizeof(Slot))
    slots.at[slots.count] = fresh
    slots.count += 1
    seen[0] |= bit
    slots.dropped += evicts
    let_go(old)
    return EVICTED if evicts else SET


cdef inline bint add_slot(Slots *slots, PyObject *key, PyObject *value, Py_ssize_t most) noexcept:
    # As set_slot() for a key that is not there, where there is room for it; False, and nothing, otherwise.
    cdef Slot *fresh
    cdef uint32_t mark = mark_of(key)
    cdef uint64_t bit = bit_of(mark)
    cdef uint64_t *seen = seen_of(slots, mark)
    if seen[0] & bit or most >= 0 and slots.count >= most or (
        slots.count == slots.capacity and not grow_slots(slots)
    ):
        return False
    fresh = &slots.at[slots.count]
    keep(key)
    fresh.key, fresh.mark = key, mark
    hold(fresh, value)
    seen[0] |= bit
    slots.count += 1
    return True


cdef void empty_slots(Slots *slots) noexcept:
    cdef Slots old = slots[0]
    cdef Py_ssize_t i
    slots.at = NULL
    slots.count = slots.capacity = 0
    slots.seen[0] = slots.seen[1] = 0
    for i in range(old.count):
        let_go(old.at[i])
    _slot_pool.give(old.at, old.capacity)


cdef int fill_dict(dict pairs, Slots *slots) except -1:
    # Runs no Python code: the keys are exact texts.
    cdef Py_ssize_t i
    for i in range(slots.count):
        pairs[<object> slots.at[i].key] = boxed(&slots.at[i])
    return 0


cdef inline bint is_simple(PyObject *value, Py_ssize_t longest) noexcept:
    # Whether it may be kept as it is: of an exact type that can't change, and no longer than allowed.
    cdef PyObject *kind = type_of(value)
    if kind == py_str_type:
        return longest < 0 or text_length(value) <= longest
    return (
        kind == py_int_type or kind == py_bool_type or kind == py_float_type
        or value == py_none or kind == py_bytes_type
    )


cdef object clean(object value, Py_ssize_t longest):
    # The value as it is kept; runs Python code for what is neither simple nor a sequence of simple ones.
    cdef PyObject *given = <PyObject *> value
    cdef Py_ssize_t i
    if is_simple(given, longest):
        return value
    if is_exact_list(given):
        for i in range(list_length(given)):
            if not is_simple(list_item(given, i), longest):
                break
        else:
            return PyList_AsTuple(value)
    elif is_exact_tuple(given):
        for i in range(tuple_length(given)):
            if not is_simple(tuple_item(given, i), longest):
                break
        else:
            return value
    return clean_value(value, None if longest < 0 else longest)


cdef bint collect(Slots *fresh, object attributes, Py_ssize_t longest) except -1:
    # Every attribute of a dict, cleaned, into slots that nobody else knows. First all is copied as it is,
    # then cleaned: cleaning may run code that changes the dict. False, and nothing, where keys are no exact
    # texts: those are for the SDK's own containers.
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t i, at = 0
    cdef uint32_t mark
    cdef bint clean_already = True
    if not is_exact_dict(<PyObject *> attributes):
        return False
    while dict_next(<PyObject *> attributes, &at, &key, &value):
        if type_of(key) != py_str_type or text_length(key) == 0:
            empty_slots(fresh)
            return False
        if fresh.count == fresh.capacity and not grow_slots(fresh):
            raise MemoryError
        keep(key)
        mark = mark_of(key)
        seen_of(fresh, mark)[0] |= bit_of(mark)
        fresh.at[fresh.count].key, fresh.at[fresh.count].mark = key, mark
        hold(&fresh.at[fresh.count], value)
        fresh.count += 1
        clean_already = clean_already and is_simple(value, longest)
    if not clean_already:
        for i in range(fresh.count):
            clean_slot(&fresh.at[i], longest)
    return True


cdef int clean_slot(Slot *slot, Py_ssize_t longest) except -1:
    cdef PyObject *old
    if slot.kind == IN_OBJECT and not is_simple(slot.held.object, longest):
        value = clean(<object> slot.held.object, longest)
        old = slot.held.object
        hold(slot, <PyObject *> value)
        drop(old)
    return 0


cdef bint collect_bounded(Slots *slots, object attributes, Py_ssize_t most, Py_ssize_t longest) except -1:
    # The attributes of something new, as the SDK's BoundedAttributes takes them; False as in collect().
    cdef Py_ssize_t excess
    if most == 0:
        slots.dropped = len(attributes)
        return True
    try:
        if not collect(slots, attributes, longest):
            return False
    except BaseException:
        empty_slots(slots)
        raise
    excess = slots.count - most if most >= 0 else 0
    if excess > 0:
        evict(slots, excess)
    return True


cdef int evict(Slots *slots, Py_ssize_t excess) except -1:
    cdef Py_ssize_t i
    for i in range(excess):
        let_go(slots.at[i])
    slots.count -= excess
    memmove(slots.at, slots.at + excess, slots.count * sizeof(Slot))
    slots.dropped += excess
    for i in range(excess):
        warn_full()
    return 0


cdef inline uint8_t *number_at(uint8_t *p, Slot *slot) noexcept nogil:
    # An unboxed number as an AnyValue with its length; at most 12 bytes.
    if slot.kind == IN_INT:
        p = two_at(p, 1 + varint_size(<uint64_t> slot.held.number), 0x18)
        return varint_at(p, <uint64_t> slot.held.number)
    return fixed64_at(two_at(p, 9, 0x21), double_bits(slot.held.real))


cdef inline bint put_short_slot(Writer *w, uint8_t tag, Slot *slot) noexcept:
    # A short key with a number, a bool or a short text: in one go, for its length is known before. False, and
    # nothing, for any other.
    cdef PyObject *value = slot.held.object
    cdef Py_ssize_t key_size, size
    cdef uint8_t *p
    if not is_short_ascii(slot.key):
        return False
    key_size = text_length(slot.key)
    if slot.kind != IN_OBJECT:
        size = 1 + varint_size(<uint64_t> slot.held.number) if slot.kind == IN_INT else 9
    elif type_of(value) == py_str_type and is_short_ascii(value):
        size = 2 + text_length(value)
    elif type_of(value) == py_bool_type:
        size = 2
    else:
        return False
    if not room(w, key_size + size + 16):
        return False
    p = varint_at(byte_at(w.data + w.pos, tag), key_size + size + 4)
    p = text_at(p, 0x0A, ascii_data(slot.key), key_size)
    p = byte_at(p, 0x12)
    if slot.kind != IN_OBJECT:
        p = number_at(p, slot)
    elif size == 2 and type_of(value) == py_bool_type:
        p = byte_at(two_at(p, 2, 0x10), value == py_true)
    else:
        p = text_at(byte_at(p, <uint8_t> size), 0x0A, ascii_data(value), size - 2)
    w.pos = p - w.data
    return True


cdef int put_slots(Encoding *e, uint8_t tag, uint8_t dropped_tag, Slots *slots, int depth) noexcept:
    # As put_attributes().
    cdef Writer *w = e.out
    cdef Slot *slot
    cdef size_t start
    cdef Py_ssize_t i
    cdef int outcome
    e.items -= slots.count
    if e.items < 0:
        return BAIL
    if e.redactor != NULL:
        outcome = put_redacted_slots(e, tag, slots, depth)
        return outcome if outcome != OK else put_dropped(w, dropped_tag, slots.dropped + e.left_out)
    for i in range(slots.count):
        slot = &slots.at[i]
        if put_short_slot(w, tag, slot):
            continue
        if not room(w, 16):
            return NO_MEMORY
        put_byte(w, tag)
        start = begin(w, 1)
        if not put_text(w, 0x0A, slot.key) or not room(w, 16):
            return NO_MEMORY
        put_byte(w, 0x12)
        if slot.kind == IN_OBJECT:
            outcome = put_any(e, slot.held.object, depth)
            if outcome != OK:
                return outcome
        else:
            w.pos = number_at(w.data + w.pos, slot) - w.data
        if not end(w, start, 1):
            return NO_MEMORY
    return put_dropped(w, dropped_tag, slots.dropped)
